"""The error that ends a phase, on its way from the worker that met it to the process that started the workers."""

import json
from importlib import import_module
from pathlib import Path

from infra.store import write_durably

PACKAGES = ("arctic_model", "builtins", "data_recipes", "infra", "pipelines")
"""Their errors are raised again by their class."""


def write_failure(file: Path, error: Exception) -> None:
    """Write down an error: the module and name of its class, and its message."""
    kind = type(error)
    fields = {"module": kind.__module__, "class": kind.__qualname__, "message": str(error)}
    write_durably(file, json.dumps(fields, ensure_ascii=False))


def raise_failure(file: Path) -> None:
    """Raise the error that a worker wrote down, if one did: of its class, or RuntimeError with the name of a class that
    cannot be made from a message."""
    if file.exists():
        raise _error(**json.loads(file.read_text(encoding="utf-8")))


def _error(**fields: str) -> Exception:
    name, message = fields["class"], fields["message"]
    kind = getattr(import_module(fields["module"]), name, None) if _is_known(fields["module"]) else None
    try:
        if isinstance(kind, type) and issubclass(kind, Exception):
            return kind(message)
    except TypeError:
        # Such as UnicodeDecodeError, which takes more than a message.
        pass
    return RuntimeError(f"{name}: {message}")


def _is_known(module: str) -> bool:
    return module.partition(".")[0] in PACKAGES
