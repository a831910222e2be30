"""`arctic show`: what a store holds, from the whole down to one document."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from arctic_errors import UserError
from infra.host.masking import masked
from infra.store import Artifact, Store, StoreError
from pipelines.show_cluster import DuplicatesError, show_cluster
from pipelines.show_document import describe, find_document
from pipelines.show_token import TokenError, find_token


class ShowError(UserError, ValueError):
    """What was asked for is not there."""


def show(what: str, which: str | None, position: int | None, store_path: Path, terminal: Console) -> None:
    """Print all stages, one stage, one document, one cluster of duplicates, one token or a recipe's lock.

    Raises ShowError, StoreError, RecipeError.
    """
    if what == "lock":
        from pipelines.commands import load_graph

        lock = load_graph(Path(_needed(which, "a recipe"))).lock
        terminal.print(masked(lock.to_json()), markup=False, soft_wrap=True)
        return
    artifacts = list(_store(store_path).artifacts())
    match what:
        case "stages":
            terminal.print(_stages(artifacts))
        case "document":
            for fields in _documents(artifacts, _needed(which, "a document id"), store_path):
                _print_fields(fields, terminal)
                terminal.print()
        case "cluster":
            try:
                found = show_cluster(_needed(which, "the id of a cluster"), Store(store_path))
            except DuplicatesError as error:
                raise ShowError(str(error)) from None
            terminal.print(found, markup=False, highlight=False, soft_wrap=True)
        case "token":
            if position is None:
                raise ShowError("name a corpus and a position as well")
            try:
                place = find_token(artifacts, _needed(which, "a corpus"), position)
            except TokenError as error:
                raise ShowError(str(error)) from None
            _print_fields(place.as_fields(), terminal)
        case stage_id:
            for artifact in _stage(artifacts, stage_id, store_path):
                _print_stage(artifact, terminal)


def _store(path: Path) -> Store:
    if not (path / "stages").is_dir():
        raise StoreError(f"store {path}: nothing there. Run a recipe first, or name another folder with --store.")
    return Store(path)


def _needed(which: str | None, noun: str) -> str:
    if which is None:
        raise ShowError(f"name {noun} as well")
    return which


def _stages(artifacts: list[Artifact]) -> Table:
    table = Table(box=None, pad_edge=False)
    for title, justify in (
        ("stage", "left"),
        ("key", "left"),
        ("files", "right"),
        ("bytes", "right"),
        ("seconds", "right"),
    ):
        table.add_column(title, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for artifact in artifacts:
        manifest = artifact.manifest
        size = sum(entry.bytes for entry in manifest.files)
        stage = manifest.id.replace("[", "\\[")
        table.add_row(stage, manifest.key, str(len(manifest.files)), f"{size:,}", f"{manifest.seconds:.1f}")
    return table


def _stage(artifacts: list[Artifact], stage_id: str, store: Path) -> list[Artifact]:
    found = [artifact for artifact in artifacts if stage_id in (artifact.manifest.id, artifact.manifest.key)]
    if not found:
        known = ", ".join(dict.fromkeys(artifact.manifest.id for artifact in artifacts))
        raise ShowError(f"store {store}: no committed stage {stage_id!r}. It has {known or 'none'}.")
    return found


def _print_stage(artifact: Artifact, terminal: Console) -> None:
    manifest = artifact.manifest
    fields: dict[str, Any] = {"stage": manifest.id, "key": manifest.key, "folder": str(artifact.path)}
    fields |= {f"params.{name}": value for name, value in manifest.params.items()}
    fields |= {f"input.{name}": key for name, key in manifest.inputs.items()}
    fields |= dict(manifest.metrics)
    fields |= {f"file.{entry.path}": f"{entry.bytes:,} bytes, sha256 {entry.sha256[:16]}" for entry in manifest.files}
    fields |= {"quarantined": len(manifest.quarantined), "seconds": manifest.seconds}
    _print_fields(fields, terminal)
    terminal.print()


def _documents(artifacts: list[Artifact], doc_id: str, store: Path) -> Iterator[dict[str, Any]]:
    """Everything known of a document, once for each build of its corpus that has it."""
    places = find_document(artifacts, doc_id)
    if not places:
        raise ShowError(
            f"store {store}: no document {doc_id!r}. Ids are 32 hex digits, as in the doc_id column of source."
        )
    for place in places:
        yield describe(place, doc_id, artifacts)


def _print_fields(fields: Mapping[str, Any], terminal: Console) -> None:
    width = max(len(name) for name in fields)
    for name, value in fields.items():
        terminal.print(f"{name:<{width}}  {value}", markup=False, highlight=False, soft_wrap=True)
