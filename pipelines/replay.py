"""Compare a second build with the committed one: data byte for byte, training within a stated band elsewhere."""

from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from infra.runner import Outcome
from infra.store import Artifact, Manifest
from pipelines.artifacts.checkpoint import HISTORY_FILE
from pipelines.artifacts.evaluation import Scores
from pipelines.artifacts.formats.parquet import read_table

LOSS_BAND = 0.005
"""Relative difference of the mean loss of a phase that other hardware's rounding may bring."""
SCORE_BAND = 0.02
"""Relative difference of bits per byte, likewise."""
FREE = frozenset({"report"})
"""Stages whose pages carry the seconds of the run."""


def compare(originals: Mapping[str, Artifact], outcome: Outcome, terminal: Console) -> bool:
    """Print one line per stage; True where nothing differs by more than it may."""
    verdicts = []
    for stage, original in originals.items():
        again = outcome.artifacts.get(stage)
        verdict, same = _verdict(original, again) if again else (outcome.failed.get(stage, "not built"), False)
        verdicts.append(same)
        terminal.print(f"{'same  ' if same else 'DIFFERS'} {stage}: {verdict}", markup=False, soft_wrap=True)
    terminal.print(f"\n{sum(verdicts)} of {len(verdicts)} stages replayed the same.")
    return all(verdicts)


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
    if before.name in ("train", "evaluate") and not _same_machine(before, after):
        return _within_band(original, again)
    shown = ", ".join(differing[:3])
    return f"{len(differing)} of {len(before.files)} files differ: {shown}", False


def _same_machine(before: Manifest, after: Manifest) -> bool:
    return before.provenance.get("arithmetic") == after.provenance.get("arithmetic")


def _within_band(original: Artifact, again: Artifact) -> tuple[str, bool]:
    if original.manifest.name == "train":
        before, after = _mean_loss(original.path), _mean_loss(again.path)
        difference = abs(after - before) / before
        return f"other hardware: mean loss {before:.5f} and {after:.5f}", difference <= LOSS_BAND
    pairs = [
        (score.value, Scores.read(again.path).scores[name].value)
        for name, score in Scores.read(original.path).scores.items()
        if name.startswith("bits_per_byte")
    ]
    worst = max(abs(after - before) / before for before, after in pairs)
    return f"other hardware: bits per byte differ by at most {worst:.3%}", worst <= SCORE_BAND


def _mean_loss(artifact: Path) -> float:
    losses = read_table(artifact / HISTORY_FILE, columns=["loss"])["loss"].to_pylist()
    return sum(losses) / len(losses)
