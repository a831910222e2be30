"""The running Python's standard library: its files, its modules, and its fingerprint."""

import hashlib
import os
import platform
import sys
import sysconfig
from functools import cache
from pathlib import Path

NOT_DOCUMENTATION = {"test", "tests", "__main__", "site-packages", "lib2to3"}
"""Folders and modules without documentation for users: tests, programs, and lib2to3, which Python 3.13 removed."""
NOT_IMPORTABLE_EVERYWHERE = {"antigravity", "idlelib", "this", "tkinter", "turtle", "turtledemo"}
"""Modules that open windows or print when they are imported, or need Tk, which many builds of Python lack."""


@cache
def standard_library() -> Path:
    """Folder of the running Python's standard library."""
    return Path(sysconfig.get_path("stdlib"))


def library_files() -> list[Path]:
    """`.py` files of the standard library in order, without tests, site packages and modules that need a display."""
    skipped = NOT_DOCUMENTATION | NOT_IMPORTABLE_EVERYWHERE
    files: list[Path] = []
    for folder, subfolders, names in os.walk(standard_library()):
        subfolders[:] = [name for name in subfolders if name not in skipped and not name.startswith("config-")]
        files += [Path(folder, name) for name in names if name.endswith(".py") and name[:-3] not in skipped]
    return sorted(files)


def module_names() -> list[str]:
    """Importable names of the standard library's modules, compiled ones included, in order."""
    root = standard_library()
    from_files = {".".join(file.relative_to(root).with_suffix("").parts) for file in library_files()}
    names = {name.removesuffix(".__init__") for name in from_files} | sys.stdlib_module_names
    return sorted(names - NOT_IMPORTABLE_EVERYWHERE - NOT_DOCUMENTATION - {"__init__"})


@cache
def fingerprint_library() -> dict[str, str]:
    """Python's version and a digest over the standard library's files."""
    digest = hashlib.sha256()
    for file in library_files():
        digest.update(f"{file.relative_to(standard_library()).as_posix()}\n".encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return {"python": platform.python_version(), "sha256": digest.hexdigest()}
