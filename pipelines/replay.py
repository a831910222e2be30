"""Build a recipe a second time and compare with the committed results: data byte for byte; training on other hardware
within a stated band."""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from infra.artifact import Artifact, Manifest
from infra.plan import plan as plan_stages
from infra.plan import select
from infra.progress.outcome import Outcome
from infra.session import OnEvent, ignore
from infra.store import Store
from infra.store.garbage import temporary_store
from pipelines.artifacts.checkpoint import HISTORY_FILE
from pipelines.artifacts.evaluation import Scores
from pipelines.artifacts.exported import read_agreement
from pipelines.artifacts.formats.parquet import read_table
from pipelines.errors import NotInStoreError, OptionError
from pipelines.recipes import as_recipe
from pipelines.session import AnyRecipe, plan

LOSS_BAND = 0.005
"""Relative difference of the mean loss of a phase that other hardware's rounding may bring."""
SCORE_BAND = 0.02
"""Relative difference of bits per byte, likewise."""
FREE = frozenset({"report"})
"""Stages whose pages carry the seconds of the run."""


@dataclass(frozen=True)
class Comparison:
    """How the second build of a stage compares with the committed one."""

    stage: str
    is_same: bool
    verdict: str


def replay(
    recipe: AnyRecipe,
    store: Path | str,
    address: str | None = None,
    on_event: OnEvent | None = None,
    *,
    until: str | None = None,
) -> list[Comparison]:
    """Build a recipe in a fresh store and compare every file with that of `store`.

    The fresh store is a temporary folder of `store`, which all machines of a cluster share.

    Raises:
        NotInStoreError: `store` lacks a stage.
        OptionError: `store` is in object storage and the cluster has several machines: a folder of this one does not
            reach the others.
    """
    from infra.cluster.connection import connect
    from infra.events import EventLog
    from infra.resources.capacity import machines_up
    from infra.runner import run as run_on_cluster

    loaded = as_recipe(recipe)
    committed = plan(loaded, store, until=until)
    if committed.to_build:
        missing = ", ".join(stage.id for stage in committed.to_build)
        raise NotInStoreError(
            f"{loaded.path}: nothing to compare with: {missing} not committed in {store}. "
            f"Run it first: arctic run {loaded.path} --store {store}"
        )
    with (
        temporary_store(Store(store)) as fresh,
        closing(EventLog(fresh.root / "runs" / "replay")) as log,
        connect(address),
    ):
        if "://" in str(store) and len(machines_up()) > 1:
            raise OptionError(
                f"replay of {store}: it takes a cluster of one machine, since the stages of a replay meet in a folder. "
                "Leave --address out."
            )
        planned = plan_stages(fresh, select(committed.graph.stages, until))
        watch = on_event or ignore
        watch({"event": "run_started", "stages": [{"id": each.stage.id} for each in planned]})
        outcome = run_on_cluster(planned, fresh, log, watch)
        originals = {each.stage.id: each.artifact for each in committed.stages if each.artifact}
        return compare(originals, outcome)


def compare(originals: Mapping[str, Artifact], outcome: Outcome) -> list[Comparison]:
    """One comparison for each committed stage."""
    return [_comparison(stage, original, outcome) for stage, original in originals.items()]


def _comparison(stage: str, original: Artifact, outcome: Outcome) -> Comparison:
    again = outcome.artifacts.get(stage)
    if again is None:
        return Comparison(stage, False, outcome.failed.get(stage, "not built"))
    verdict, is_same = _verdict(original, again)
    return Comparison(stage, is_same, verdict)


def _verdict(original: Artifact, again: Artifact) -> tuple[str, bool]:
    before, after = original.manifest, again.manifest
    if before.name in FREE:
        return "rebuilt (its page states this run's own times)", True
    differing = sorted(
        path
        for path in {**before.digests(), **after.digests()}
        if before.digests().get(path) != after.digests().get(path)
    )
    if not differing:
        size = sum(entry.bytes for entry in before.files)
        return f"{len(before.files)} files, {size:,} bytes, identical", True
    if before.name in ("train", "finetune", "evaluate", "export") and not _same_machine(before, after):
        return _within_band(original, again)
    shown = ", ".join(differing[:3])
    return f"{len(differing)} of {len(before.files)} files differ: {shown}", False


def _same_machine(before: Manifest, after: Manifest) -> bool:
    return before.provenance.get("arithmetic") == after.provenance.get("arithmetic")


def _within_band(original: Artifact, again: Artifact) -> tuple[str, bool]:
    if original.manifest.name in ("train", "finetune"):
        before, after = _mean_loss(original.path), _mean_loss(again.path)
        difference = abs(after - before) / before
        return f"other hardware: mean loss {before:.5f} and {after:.5f}", difference <= LOSS_BAND
    if original.manifest.name == "export":
        before, after = (read_agreement(each.path)["bits_per_byte"] for each in (original, again))
        difference = abs(after - before) / before
        return f"other hardware: bits per byte {before:.4f} and {after:.4f}", difference <= SCORE_BAND
    pairs = [
        (score.value, Scores.read(again.path).scores[name].value)
        for name, score in Scores.read(original.path).scores.items()
        if name.startswith("bits_per_byte")
    ]
    worst = max(abs(after - before) / before for before, after in pairs)
    return f"other hardware: bits per byte differ by at most {worst:.3%}", worst <= SCORE_BAND


def _mean_loss(artifact: Path) -> float:
    losses: list[float] = read_table(artifact / HISTORY_FILE, columns=["loss"])["loss"].to_pylist()
    return sum(losses) / len(losses)
