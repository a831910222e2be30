"""Optimizer states of a store that no further training starts from."""

from collections.abc import Collection, Iterator
from functools import partial

from infra.artifact import Artifact
from infra.housekeeping.released import release
from infra.store import Store
from infra.store.garbage import STATE, Garbage
from pipelines.artifacts.checkpoint import CHECKPOINT

FILES = f"{CHECKPOINT}/optimizer-"
REASON = "arctic prune --optimizer-states removed it"


def ended_optimizer_states(store: Store, needed: Collection[str]) -> Iterator[Garbage]:
    """The optimizer states of phases whose next phase is trained, and of fine-tunes, which hand on weights alone.

    Those of a last phase stay: a longer run starts from it. While any phase of the store is unfinished all stay.

    Args:
        store: on this machine's disk, refreshed.
        needed: results that stay, as "name/subject-key"; all others go whole.
    """
    if unfinished_training(store):
        return
    results = [each for each in store.artifacts() if _name(each) in needed]
    continued = {key for each in results if each.manifest.name == "train" for key in each.manifest.inputs.values()}
    for artifact in results:
        if artifact.manifest.name == "finetune" or artifact.manifest.key in continued:
            yield from optimizer_state(artifact, REASON)


def unfinished_training(store: Store) -> set[str]:
    """Phases that are being trained, or will be trained on, as "train/subject-key"."""
    return {f"train/{folder.name.removesuffix(STATE)}" for folder in store.root.glob(f"stages/train/*{STATE}")}


def optimizer_state(artifact: Artifact, reason: str) -> Iterator[Garbage]:
    """The optimizer state of a checkpoint, unless it is gone; whoever asks for it later gets the `reason`."""
    entries = [entry for entry in artifact.manifest.files if entry.path.startswith(FILES)]
    paths = [entry.path for entry in entries if (artifact.folder / entry.path).exists()]
    if paths:
        size = sum(entry.bytes for entry in entries if entry.path in paths)
        yield Garbage("optimizer state", _name(artifact), size, partial(release, artifact, paths, reason))


def _name(artifact: Artifact) -> str:
    return f"{artifact.folder.parent.name}/{artifact.folder.name}"
