"""`arctic show`: what a store holds, from the whole down to one document."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from infra.store import Artifact, Store, StoreError
from pipelines.artifacts.documents import shard_paths

TEXT_SHOWN = 600
"""Characters of a document's text."""


class ShowError(ValueError):
    """What was asked for is not there."""


def show(what: str, which: str | None, store_path: Path, terminal: Console) -> None:
    """Print all stages, one stage, one document or a recipe's lock. Raises ShowError, StoreError, RecipeError."""
    if what == "lock":
        from pipelines.commands import load_graph

        terminal.print(load_graph(Path(_needed(which, "a recipe"))).lock.to_json(), markup=False, soft_wrap=True)
        return
    artifacts = list(_store(store_path).artifacts())
    match what:
        case "stages":
            terminal.print(_stages(artifacts))
        case "document":
            _print_fields(_document(artifacts, _needed(which, "a document id"), store_path), terminal)
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


def _document(artifacts: list[Artifact], doc_id: str, store: Path) -> dict[str, Any]:
    """Everything known of a document: provenance, scores, decision."""
    fields: dict[str, Any] = {}
    for kind, stage in (("documents", "source"), ("scores", "filter"), ("decisions", "dedup")):
        for artifact in (artifact for artifact in artifacts if artifact.manifest.name == stage):
            row = _row(artifact.path, kind, doc_id)
            if row:
                fields |= {"corpus": artifact.manifest.subject}
                fields |= {name if kind == "documents" else f"{stage}.{name}": value for name, value in row.items()}
    if not fields:
        raise ShowError(
            f"store {store}: no document {doc_id!r}. Ids are 32 hex digits, as in the doc_id column of source."
        )
    text = fields.pop("text")
    return {**fields, "text": text if len(text) <= TEXT_SHOWN else f"{text[:TEXT_SHOWN]}... ({len(text):,} characters)"}


def _row(artifact: Path, kind: str, doc_id: str) -> Mapping[str, Any] | None:
    for shard in shard_paths(artifact, kind):
        ids = pq.read_table(shard, columns=["doc_id"])["doc_id"]
        index = pc.index(ids, doc_id).as_py()
        if index >= 0:
            row: Mapping[str, Any] = pq.read_table(shard).slice(index, 1).to_pylist()[0]
            return row
    return None


def _print_fields(fields: Mapping[str, Any], terminal: Console) -> None:
    width = max(len(name) for name in fields)
    for name, value in fields.items():
        terminal.print(f"{name:<{width}}  {value}", markup=False, highlight=False, soft_wrap=True)
