"""Stages and artifacts without a run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infra.artifact import Artifact, FileEntry, Manifest
from infra.context import StageContext
from infra.stage import Stage
from infra.store import file_digest


def idle_stage(
    name: str,
    subject: str = "",
    params: Mapping[str, Any] | None = None,
    inputs: Mapping[str, Stage] | None = None,
) -> Stage:
    """A node of a graph whose work writes nothing."""
    return Stage(name, subject, 1, params or {}, inputs or {}, do_nothing)


def do_nothing(*_: object) -> dict[str, float]:
    return {}


def committed(folder: Path) -> Artifact:
    """The files in `folder`, which a test wrote itself, as a result with the digests that a manifest has."""
    files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    entries = [FileEntry(file.relative_to(folder).as_posix(), 0, file_digest(file)) for file in files]
    return Artifact(folder, Manifest("", "", "", "", 1, {}, {}, tuple(entries), {}, (), 0.0, {}))


def write(context: StageContext, inputs: Mapping[str, Artifact]) -> dict[str, float]:
    """Work that writes the texts of its inputs and its own id into `sub/text`."""
    upstream = "".join((artifact.path / "sub" / "text").read_text() for artifact in inputs.values())
    (context.out / "sub").mkdir()
    (context.out / "sub" / "text").write_text(upstream + context.stage_id)
    return {"data/bytes": float(len(upstream))}
