"""numpy for programs: where it is installed, its files that programs may read, and its import before there are any.

Other installed packages remain out of reach: numpy is imported by the process that all programs descend from, and its
folder is on nobody's path afterwards.
"""

import importlib
import importlib.util
import sys
from pathlib import Path

from pipelines.sandbox.confinement import landlock

PACKAGE, LIBRARIES = "numpy", "numpy.libs"
"""Folders of numpy's wheel: the package, and the libraries that it brings."""
PRELOADED = ("numpy", "numpy.fft", "numpy.linalg", "numpy.ma", "numpy.polynomial", "numpy.random")
ENVIRONMENT = dict.fromkeys(("MKL_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
"""Programs are forked, which threads do not survive; and their CPU time is limited, not their wall time."""


def home() -> Path | None:
    """The folder in which this interpreter finds numpy; None if it finds none."""
    spec = importlib.util.find_spec(PACKAGE)
    return Path(spec.origin).parents[1] if spec and spec.origin else None


def version() -> str:
    """Of the numpy that programs would import, or "missing"."""
    # Programs are forked from a process that imports this module: it must stay small.
    from importlib import metadata

    try:
        return metadata.version(PACKAGE)
    except metadata.PackageNotFoundError:
        return "missing"


def preload(folder: Path) -> None:
    """Imports numpy from `folder`, with its global random numbers in the same state for every program.

    Raises ImportError if there is none, or it is for another interpreter.
    """
    sys.path.append(str(folder))
    try:
        modules = [importlib.import_module(name) for name in PRELOADED]
    finally:
        sys.path.remove(str(folder))
    modules[-1].seed(0)


def readable(folder: Path) -> dict[Path, int]:
    """Rights to read numpy, for the parts of it that a program imports later, and nothing else of `folder`."""
    return {folder / PACKAGE: landlock.READ_FILE | landlock.READ_DIR, folder / LIBRARIES: landlock.READ_FILE}
