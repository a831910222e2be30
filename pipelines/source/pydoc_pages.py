"""The standard library's documentation as a small crawl: pydoc's pages in WARC files."""

import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from pipelines.source.warc import write_responses

NUM_WARC_FILES = 8
PAGE_DATE = "1970-01-01T00:00:00Z"
"""WARC-Date of rendered pages: their content has no date, and a clock would make every build another one."""
NOT_DOCUMENTATION = {"test", "tests", "__main__", "site-packages", "lib2to3"}
"""Folders and modules without documentation for users: tests, programs, and lib2to3, which Python 3.13 removed."""
NOT_IMPORTABLE_EVERYWHERE = {"antigravity", "idlelib", "this", "tkinter", "turtle", "turtledemo"}
"""Modules that open windows or print when they are imported, or need Tk, which many builds of Python lack."""
RENDERER = Path(__file__).resolve().with_name("render_pydoc.py")
RENDER_TIMEOUT_S = 300


def standard_library() -> Path:
    """Folder of the running Python's standard library."""
    return Path(sysconfig.get_path("stdlib"))


def library_files() -> list[Path]:
    """`.py` files of the standard library in order, without tests, site packages and what needs a display."""
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


def module_shards() -> list[list[str]]:
    """`module_names` dealt out evenly, one list a WARC file."""
    names = module_names()
    return [names[start::NUM_WARC_FILES] for start in range(NUM_WARC_FILES)]


def write_pages(modules: Sequence[str], path: Path) -> int:
    """Render the pages of `modules` into the WARC file `path`: the same bytes on each run of one Python.

    Returns how many of them cannot be imported here.
    """
    results = [json.loads(line) for line in _render(modules).splitlines()]
    pages = [(page_url(result["module"]), result["html"].encode()) for result in results if "html" in result]
    write_responses(pages, path, PAGE_DATE)
    return len(results) - len(pages)


def page_url(module: str) -> str:
    """Where a module's page would stand if pydoc's own server ran."""
    return f"http://pydoc.invalid/{module}.html"


def _render(modules: Sequence[str]) -> str:
    """The renderer's output, from a process whose environment is the same everywhere."""
    environment = {"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8", "TZ": "UTC", "HOME": "/nonexistent", "PATH": "/usr/bin"}
    # -P and -S rather than -I, which would ignore PYTHONHASHSEED.
    command = [sys.executable, "-s", "-S", "-P", "-X", "utf8", str(RENDERER)]
    finished = subprocess.run(
        command,
        input="\n".join(modules),
        env=environment,
        cwd="/",
        capture_output=True,
        encoding="utf-8",
        timeout=RENDER_TIMEOUT_S,
        check=False,
    )
    if finished.returncode:
        raise RuntimeError(f"pydoc pages: {RENDERER.name} ended with {finished.returncode}: {finished.stderr[-500:]}")
    return finished.stdout
