"""Optimizer states of a store that no further training starts from."""

from collections.abc import Collection, Iterator
from functools import partial

from infra.housekeeping.released import release
from infra.store import Store
from infra.store.garbage import Garbage
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
    if list(store.root.glob("stages/train/*.state")):
        return
    results = [each for each in store.artifacts() if f"{each.folder.parent.name}/{each.folder.name}" in needed]
    continued = {key for each in results if each.manifest.name == "train" for key in each.manifest.inputs.values()}
    for artifact in results:
        is_ended = artifact.manifest.name == "finetune" or artifact.manifest.key in continued
        entries = [entry for entry in artifact.manifest.files if entry.path.startswith(FILES)]
        paths = [entry.path for entry in entries if (artifact.folder / entry.path).exists()]
        if is_ended and paths:
            size = sum(entry.bytes for entry in entries if entry.path in paths)
            name = f"{artifact.folder.parent.name}/{artifact.folder.name}"
            yield Garbage("optimizer state", name, size, partial(release, artifact, paths, REASON))
