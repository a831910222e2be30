"""The provenance of a result: code, versions and machine, as plain data for manifests. Never part of a key."""

import hashlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import CodeType
from typing import Any

from infra.host.arithmetic import arithmetic
from infra.host.versions import version

DISTRIBUTIONS = (
    "arctic-pretraining",
    "ray",
    "torch",
    "deepspeed",
    "mlflow",
    "pyarrow",
    "datasketch",
    "tokenizers",
    "fastwarc",
    "resiliparse",
    "trafilatura",
    "numpy",
)
"""Those whose version can change a result."""
GIT_VARIABLE = "ARCTIC_GIT"
"""Carries the commit to a cluster, which gets the code without its repository."""
ROOT = Path(__file__).resolve().parents[2]


@cache
def provenance() -> dict[str, Any]:
    """The software of this process: git, versions of Python and of the libraries, platform. No host or user names."""
    return {
        "git": git_state(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in DISTRIBUTIONS},
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
        "arithmetic": arithmetic(),
        "num_cpus": os.cpu_count(),
    }


@cache
def git_state() -> dict[str, Any] | None:
    """Commit and whether files differ from it; None if the code is not a checkout and GIT_VARIABLE is not set."""
    if _git("rev-parse", "--show-toplevel") == str(ROOT):
        return {"commit": _git("rev-parse", "HEAD"), "dirty": bool(_git("status", "--porcelain"))}
    handed_over = os.environ.get(GIT_VARIABLE)
    return json.loads(handed_over) if handed_over else None


@cache
def code_digest(module_name: str) -> str:
    """sha256 over the names and bytes of the .py files of the package that holds the module (of the module alone, if it
    is in no package). Raises ModuleNotFoundError."""
    origin = getattr(sys.modules.get(module_name), "__file__", None) or _origin(module_name)
    file = Path(origin)
    sources = sorted(file.parent.rglob("*.py")) if (file.parent / "__init__.py").exists() else [file]
    hashed = hashlib.sha256()
    for source in sources:
        content = source.read_bytes()
        hashed.update(f"{source.relative_to(file.parent).as_posix()} {len(content)}\n".encode())
        hashed.update(content)
    return hashed.hexdigest()


def function_digest(function: Callable[..., Any]) -> str:
    """sha256 over the bytecode of a function and of those inside it, without names of files and line numbers."""
    hashed = hashlib.sha256()
    waiting: list[Any] = [function.__code__]
    while waiting:
        code = waiting.pop()
        constants = [value for value in code.co_consts if not isinstance(value, CodeType)]
        hashed.update(code.co_code + repr((constants, code.co_names)).encode())
        waiting += [value for value in code.co_consts if isinstance(value, CodeType)]
    return hashed.hexdigest()


def _origin(module_name: str) -> str:
    spec = find_spec(module_name)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"{module_name}: no such module to digest")
    return spec.origin


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
