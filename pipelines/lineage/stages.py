"""The committed stages of a store."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from infra.artifact import Artifact
from infra.store import Store, StoreError
from pipelines.errors import NotInStoreError


def committed(location: Path | str) -> list[Artifact]:
    """Every committed result of the store at a folder or an address. Raises StoreError if there is no store."""
    return list(require_store(location).artifacts())


def require_store(location: Path | str) -> Store:
    """The store at a folder or an address. Raises StoreError if there is none: a mistyped name is no empty store."""
    store = Store(location)
    store.refresh()
    if not any((store.root / folder).is_dir() for folder in ("stages", "runs")):
        raise StoreError(f"store {store.name}: nothing there. Run a recipe first, or name another with --store.")
    return store


def find_stage(artifacts: Sequence[Artifact], stage: str, store: Path | str) -> list[Artifact]:
    """The results whose stage id, name or key is `stage`. Raises NotInStoreError if there is none."""
    matching = [
        artifact
        for artifact in artifacts
        if stage in (artifact.manifest.id, artifact.manifest.name, artifact.manifest.key)
    ]
    if not matching:
        ids = ", ".join(dict.fromkeys(artifact.manifest.id for artifact in artifacts))
        raise NotInStoreError(f"store {store}: no committed stage {stage!r}. It has {ids or 'none'}.")
    return matching


def describe_stage(artifact: Artifact) -> dict[str, Any]:
    """A committed result by field: its params, inputs, metrics and files."""
    manifest = artifact.manifest
    fields: dict[str, Any] = {"stage": manifest.id, "key": manifest.key, "folder": str(artifact.folder)}
    fields |= {f"params.{name}": value for name, value in manifest.params.items()}
    fields |= {f"input.{name}": key for name, key in manifest.inputs.items()}
    fields |= dict(manifest.metrics)
    fields |= {f"file.{entry.path}": f"{entry.bytes:,} bytes, sha256 {entry.sha256[:16]}" for entry in manifest.files}
    return fields | {"quarantined": len(manifest.quarantined), "seconds": manifest.seconds}
