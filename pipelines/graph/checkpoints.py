"""Resolve the folders that a user names to checkpoints, with the metadata of a store."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.artifact import Artifact
from infra.events import EVENTS, read_events
from infra.store import MANIFEST, Store
from pipelines.artifacts.checkpoint import CHECKPOINT, checkpoint_folder
from pipelines.errors import OptionError
from pipelines.lineage.stages import committed, find_stage
from pipelines.tokenize import TokenizeInputs
from pipelines.train import TrainInputs

CHECKPOINTS = "checkpoints"
"""Folder of the checkpoints of a phase that still trains, as the training loop names it."""
IN_TRAINING, KEPT, WEIGHTS = ".state", ".kept", ".weights"
"""Suffixes of the folders in which a train stage saves its checkpoints until it is finished, and of those that it
leaves next to its result: full checkpoints, and weights alone."""


@dataclass(frozen=True)
class ResolvedCheckpoint:
    """A checkpoint, with the metadata of a store.

    Attributes:
        folder: Folder of the checkpoint.
        label: The name that people know it by: of its train stage, or of its folder.
        tokenizer: Folder of the tokenizer that it was trained with, None if no store has it.
        key: Key of the result that holds it, "" if none does.
        run: Name of the run that trained it, and of its MLflow experiment, "" if no store knows one.
    """

    folder: Path
    label: str
    tokenizer: Path | None = None
    key: str = ""
    run: str = ""


def resolve_checkpoint(folder: Path) -> ResolvedCheckpoint:
    """The checkpoint in a folder.

    Args:
        folder: A checkpoint, the result of a train stage in a store, or a checkpoint that a stage saved next to it.

    Raises:
        OptionError: If the folder does not exist, or is the result of another stage.
    """
    folder = folder.resolve()
    if not folder.is_dir():
        raise OptionError(f"{folder}: no such folder. Give the folder of a checkpoint.")
    artifact = folder.parent if folder.name == CHECKPOINT else folder
    if (artifact / MANIFEST).is_file():
        return _committed(Store(artifact.parents[2]), folder, artifact)
    if folder.parent.name == CHECKPOINTS and folder.parents[1].name.endswith((IN_TRAINING, KEPT)):
        return _beside_result(Store(folder.parents[4]), folder, folder.parents[1])
    if folder.parent.name.endswith(WEIGHTS):
        return _beside_result(Store(folder.parents[3]), folder, folder.parent)
    return ResolvedCheckpoint(folder, folder.name)


def find_checkpoint(name: str, store: str) -> ResolvedCheckpoint:
    """As `resolve_checkpoint`, of a folder or of the id of a stage in `store`, such as "train[3]": its latest result.

    Raises:
        OptionError: If it is neither, or the stage makes no checkpoint.
        NotInStoreError: If the store holds no such stage.
        StoreError: If there is no store.
    """
    if Path(name).is_dir() or not name.endswith("]"):
        return resolve_checkpoint(Path(name))
    artifacts = find_stage(committed(store), name, store)
    return resolve_checkpoint(max(artifacts, key=lambda artifact: artifact.made).path)


def checkpoints_of(folder: Path, phase: int | None) -> list[Path]:
    """The folders of the checkpoints in `folder`: itself, or if it is a store, those of its latest run.

    Args:
        folder: A checkpoint as in `resolve_checkpoint`, or a store.
        phase: Phase of the run, None for all. For a phase that still trains, every saved checkpoint.

    Raises:
        OptionError: If the store has no checkpoint, or `phase` is given for a folder that is no store.
    """
    if not (folder / "stages").is_dir():
        if phase is not None:
            raise OptionError(f"--phase {phase}: {folder} is no store. Leave it out, or give a store.")
        return [folder]
    for started in _runs(folder):
        trained = [stage for stage in started["stages"] if stage["name"] == "train"]
        stages = [stage for stage in trained if phase is None or stage["subject"] == str(phase)]
        if checkpoints := [
            each for stage in stages for each in _of_stage(folder, f"{stage['subject']}-{stage['key']}")
        ]:
            return checkpoints
    which = "" if phase is None else f" of phase {phase}"
    raise OptionError(f"{folder}: this store has no checkpoint{which}. Run a recipe in it, or name another store.")


def _of_stage(store: Path, leaf: str) -> list[Path]:
    """Checkpoints of a train stage: its result, or those that it saves while it trains, by step."""
    stage = store / "stages" / "train" / leaf
    if (stage / MANIFEST).is_file():
        return [stage]
    return sorted((stage.with_name(f"{leaf}{IN_TRAINING}") / CHECKPOINTS).glob("step-*"))


def _committed(store: Store, folder: Path, artifact: Path) -> ResolvedCheckpoint:
    manifest = store.read(artifact).manifest
    if manifest.name not in ("train", "finetune", "weights"):
        raise OptionError(
            f"{folder}: the result of {manifest.id}, which is no checkpoint. Give one of a train or finetune stage."
        )
    label = f"{artifact.parent.name}-{artifact.name}"
    run = next((str(run["name"]) for run in _runs(store.root) if _stage_of(run, manifest.key)), "")
    return ResolvedCheckpoint(checkpoint_folder(artifact), label, _tokenizer(store, manifest.inputs), manifest.key, run)


def _beside_result(store: Store, folder: Path, retained: Path) -> ResolvedCheckpoint:
    """The checkpoint in `folder`, which a train stage keeps in the folder `retained`."""
    leaf = retained.stem
    label = f"train-{leaf}-{folder.name}"
    key = leaf.rpartition("-")[2]
    for run in _runs(store.root):
        if stage := _stage_of(run, key):
            return ResolvedCheckpoint(folder, label, _tokenizer(store, stage["inputs"]), "", str(run["name"]))
    return ResolvedCheckpoint(folder, label)


def _runs(store: Path) -> Iterator[Mapping[str, Any]]:
    """The first event of every run of a store, the latest run first."""
    logs = sorted(store.glob(f"runs/*/{EVENTS}"))
    started = [event for log in logs for event in [next(read_events(log.parent), None)] if event]
    yield from sorted(started, key=lambda event: float(event["time"]), reverse=True)


def _stage_of(run: Mapping[str, Any], key: str) -> Mapping[str, Any] | None:
    return next((stage for stage in run["stages"] if stage["key"] == key), None)


def _tokenizer(store: Store, inputs: Mapping[str, str]) -> Path | None:
    """The tokenizer of the tokens that a train stage with these inputs reads, if the store still has it."""
    by_key: dict[str, Artifact] = {each.manifest.key: each for each in store.artifacts()}
    tokens = [by_key[key] for key in TrainInputs.of(inputs).tokens.values() if key in by_key]
    tokenizers = (TokenizeInputs.of(each.manifest.inputs).tokenizer for each in tokens)
    return next((by_key[key].path for key in tokenizers if key in by_key), None)
