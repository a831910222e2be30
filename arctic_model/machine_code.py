"""Functions compiled by numba, whose machine code is kept: only the first process on a machine compiles them.

numba keeps machine code too, with three gaps that this closes. It knows a function by its own file, so it would go on
with the constants of another module from before a change. Its index is shared by all signatures and processors, and two
processes that write it at once can each enter the other's machine code. A damaged file ends every process that needs
the function.

Kept in `__pycache__` beside the source, or else in the user's cache folder: whoever can write there can also write the
source, or the compiled modules that Python itself keeps there.
"""

import hashlib
import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from numba import njit
from numba.core import entrypoints
from numba.core.caching import FunctionCache, IndexDataCacheFile

_NAME_DIGITS, _DIGEST_BYTES = 16, 32


def compiler(*included: ModuleType, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """A decorator for functions of a module, which numba compiles with `options` for the types of each first call.

    `included`: the other modules of this project whose constants or functions these functions use.
    """

    stamp = [json.dumps(options, sort_keys=True, default=sorted), *(_digest(str(each.__file__)) for each in included)]

    def compile_(function: Callable[..., Any]) -> Any:
        dispatcher = njit(**options)(function)
        # Extensions are loaded when there is something to compile.
        dispatcher._compilation_chain_init_hook = _do_nothing
        try:
            dispatcher._cache = _MachineCode(function, [*stamp, _digest(function.__code__.co_filename)])
        except RuntimeError:
            return dispatcher  # numba finds no folder that it may write to
        return dispatcher

    return compile_


def _do_nothing() -> None: ...


@contextmanager
def _extensions_deferred() -> Iterator[None]:
    """Keeps numba from loading the extensions of installed packages, for which kept machine code has no use: awkward
    alone takes half a second."""
    loaded, entrypoints._already_initialized = entrypoints._already_initialized, True
    try:
        yield
    finally:
        entrypoints._already_initialized = loaded


@cache
def _digest(source: str) -> str:
    return hashlib.sha256(Path(source).read_bytes()).hexdigest()


class _MachineCode(FunctionCache):
    """The machine code of a function: a file for each signature and processor, which that of later sources replaces."""

    def __init__(self, function: Callable[..., Any], stamp: list[str]) -> None:
        super().__init__(function)
        self._function, self._stamp = function, stamp

    def load_overload(self, signature: Any, context: Any) -> Any:
        """The caller holds the compiler's lock."""
        kept = self._kept(signature, context)
        if kept is None:
            # Here and under the lock: numba takes its extensions for loaded as soon as one thread begins to, and the
            # compilation of another one fails when their functions appear in its midst.
            entrypoints.init_all()
        return kept

    def _kept(self, signature: Any, context: Any) -> Any:
        try:
            with _extensions_deferred():
                context.refresh()
                self._cache_file = self._file(signature, context.codegen())
                return super().load_overload(signature, context)
        except Exception as error:  # damaged bytes can raise anything
            warnings.warn(
                f"the kept machine code of {self._function.__name__} is damaged ({error!r}): it is compiled again.",
                RuntimeWarning,
                stacklevel=2,
            )
            return None

    def save_overload(self, signature: Any, result: Any) -> None:
        self._cache_file = self._file(signature, result.codegen)
        try:
            super().save_overload(signature, result)
        except OSError as error:
            warnings.warn(
                f"the machine code of {self._function.__name__} cannot be kept ({error}): each process will "
                "compile it again.",
                RuntimeWarning,
                stacklevel=2,
            )

    def _file(self, signature: Any, codegen: Any) -> "_SealedFile":
        key = repr((signature, codegen.magic_tuple()))
        name = f"{self._function.__name__}-{hashlib.sha256(key.encode()).hexdigest()[:_NAME_DIGITS]}"
        return _SealedFile(self._cache_path, name, self._stamp)


class _SealedFile(IndexDataCacheFile):
    """One machine code with all that it depends on, and the digest of both."""

    def save(self, key: Any, data: Any) -> None:
        self._save_data(self._data_name(1), (self._stamped(key), data))

    def load(self, key: Any) -> Any:
        try:
            stamp, data = self._load_data(self._data_name(1))
        except FileNotFoundError:
            return None
        return data if stamp == self._stamped(key) else None

    def _dump(self, content: Any) -> bytes:
        data: bytes = super()._dump(content)
        return data + hashlib.sha256(data).digest()

    def _load_data(self, name: str) -> Any:
        sealed = Path(self._data_path(name)).read_bytes()
        if hashlib.sha256(sealed[:-_DIGEST_BYTES]).digest() != sealed[-_DIGEST_BYTES:]:
            raise ValueError("its bytes are not those that were kept")
        return super()._load_data(name)  # reads up to the digest

    def _stamped(self, key: Any) -> Any:
        return self._version, self._source_stamp, key
