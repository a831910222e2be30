"""A program: pydoc's HTML page of each module named on standard input, as one JSON line a module on standard output.

It runs alone in a Python without site packages, so that its output depends on the standard library only, and it imports
all modules in its arguments. A line is {"module": ..., "html": ...} or {"module": ..., "error": ...}.
"""

import ast
import contextlib
import functools
import io
import json
import pydoc
import re
import sys
import sysconfig
import warnings
from pathlib import Path
from types import ModuleType

ADDRESS = re.compile(r"(?:&nbsp;| )at(?:&nbsp;| )0x[0-9a-f]+|, handle [0-9a-f]+", re.IGNORECASE)
"""The memory address of an object in its `repr`."""


def main() -> None:
    """Render every module of standard input."""
    warnings.simplefilter("ignore")
    # The page of `sys` shows them, and the import cache knows the path of this program.
    sys.argv = sys.orig_argv = ["pydoc"]
    sys.path_importer_cache.clear()
    # inspect parses a module's source again for every class without a docstring.
    ast.parse = functools.lru_cache(maxsize=8)(ast.parse)  # type: ignore[assignment]
    document, lines = _Document(), sys.stdout
    for module in sys.stdin.read().split():
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                resolved, name = pydoc.resolve(module)  # type: ignore[misc]
                page = document.page(pydoc.describe(resolved), document.document(resolved, name))
                result = {"html": strip_machine(page)}
        except (Exception, SystemExit) as error:
            result = {"error": f"{type(error).__name__}: {strip_machine(str(error))}"}
        lines.write(json.dumps({"module": module, **result}) + "\n")


def strip_machine(page: str) -> str:
    """`page` without object addresses and without the paths of the Python installation."""
    page = ADDRESS.sub("", page)
    environment = str(Path(sys.executable).parent.parent)
    here = {sysconfig.get_path("stdlib"), sys.base_prefix, sys.prefix, environment}
    for path in sorted(here, key=len, reverse=True):
        page = page.replace(path, "python")
    return page


class _Repr(pydoc.HTMLRepr):
    """pydoc's representation of values, without the files that modules come from."""

    def repr_module(self, module: ModuleType, level: int) -> str:  # noqa: ARG002 - the signature is pydoc's
        return self.escape(f"<module '{module.__name__}'>")


class _Document(pydoc.HTMLDoc):
    """pydoc's pages with that representation."""

    repr = _Repr().repr


if __name__ == "__main__":
    main()
