"""The space that the parts of a store take."""

from collections.abc import Iterator
from dataclasses import dataclass

from infra.store import MANIFEST, Store
from infra.store.files import folder_bytes


@dataclass(frozen=True)
class Usage:
    """Size of one part of a store, and the number of folders or objects in it."""

    part: str
    number: int
    bytes: int


def usage(store: Store) -> list[Usage]:
    """Parts of a store that is refreshed, on this machine first. Raises StoreError."""
    return [*_on_disk(store), *_in_object_storage(store)]


def _on_disk(store: Store) -> Iterator[Usage]:
    sizes: dict[str, list[int]] = {"results": [], "unfinished work": [], "scratch": []}
    for folder in store.root.glob("stages/*/*"):
        if (folder / MANIFEST).exists() and not folder.name.startswith("."):
            sizes["results"].append(folder_bytes(folder))
        else:
            sizes["unfinished work" if folder.name.endswith(".state") else "scratch"].append(folder_bytes(folder))
    sizes["runs"] = [folder_bytes(folder) for folder in (store.root / "runs").glob("*")]
    tracked = [path for path in (store.root / "mlflow.db", store.root / "mlartifacts") if path.exists()]
    sizes["MLflow"] = [path.stat().st_size if path.is_file() else folder_bytes(path) for path in tracked]
    place_note = " (working folder)" if store.remote else ""
    for part, numbers in sizes.items():
        if numbers:
            yield Usage(f"{part}{place_note}", len(numbers), sum(numbers))


def _in_object_storage(store: Store) -> Iterator[Usage]:
    if store.remote is None:
        return
    parts = {"files": "content of results", "states": "unfinished work", "manifests": "manifests", "runs": "runs"}
    for prefix, part in parts.items():
        sizes = [entry.bytes for entry in store.remote.objects.entries(prefix)]
        if sizes:
            yield Usage(f"{part} ({store.name})", len(sizes), sum(sizes))
