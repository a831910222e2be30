"""A program: what the docstrings of each module named on standard input say, as one JSON line a module on standard
output.

It runs alone in a Python without site packages, as `render_pydoc` does. A line is {"module": ..., "members": [{"name":
..., "signature": ..., "summary": ...}]} or {"module": ..., "error": ...}.
"""

import ast
import contextlib
import importlib
import inspect
import io
import json
import sys
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import Any


def main() -> None:
    """Read the docstrings of every module of standard input."""
    warnings.simplefilter("ignore")
    lines = sys.stdout
    for module in sys.stdin.read().split():
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                result: dict[str, Any] = {"members": list(members(importlib.import_module(module)))}
        except (Exception, SystemExit) as error:
            result = {"error": type(error).__name__}
        lines.write(json.dumps({"module": module, **result}) + "\n")


def members(module: ModuleType) -> Iterator[dict[str, str]]:
    """The public functions and classes of a module, and the methods of these, that have a docstring of their own."""
    for name, value in _public(module):
        if (inspect.isroutine(value) or inspect.isclass(value)) and getattr(value, "__module__", "") == module.__name__:
            yield from _described(f"{module.__name__}.{name}", value)
            if inspect.isclass(value):
                for method, function in vars(value).items():
                    if not method.startswith("_") and inspect.isroutine(function):
                        yield from _described(f"{module.__name__}.{name}.{method}", function)


def _public(module: ModuleType) -> Iterator[tuple[str, object]]:
    names = getattr(module, "__all__", None) or [name for name in vars(module) if not name.startswith("_")]
    return ((name, getattr(module, name)) for name in sorted(names) if hasattr(module, name))


def _described(name: str, value: object) -> Iterator[dict[str, str]]:
    text = value.__doc__ if isinstance(value.__doc__, str) else ""
    summary = " ".join(inspect.cleandoc(text).split("\n\n")[0].split())
    if summary:
        yield {"name": name, "signature": _signature(value), "summary": summary}


def _signature(value: object) -> str:
    """The arguments, "" if they are unknown or a default is no literal: others show this machine."""
    try:
        signature = inspect.signature(value)  # type: ignore[arg-type]
        for parameter in signature.parameters.values():
            if parameter.default is not parameter.empty:
                ast.literal_eval(repr(parameter.default))
    except (TypeError, ValueError, SyntaxError):
        return ""
    return str(signature.replace(return_annotation=signature.empty))


if __name__ == "__main__":
    main()
