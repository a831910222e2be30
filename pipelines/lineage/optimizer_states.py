"""Optimizer states of a store that no further training starts from."""

from collections.abc import Collection, Iterator, Mapping
from functools import partial
from typing import Any

from data_recipes import RunRecipe
from data_recipes.sections.training import TrainSection
from infra.artifact import Artifact
from infra.housekeeping.released import release
from infra.housekeeping.roots import result_name, run_records
from infra.stage import Stage
from infra.store import Store
from infra.store.garbage import STATE, Garbage
from pipelines.artifacts.checkpoint import CHECKPOINT

FILES = f"{CHECKPOINT}/optimizer-"
REASON = "arctic prune --optimizer-states removed it"
REASON_OF_POLICY = 'train.keep_optimizer_states = "last" removed it'


def ended_optimizer_states(store: Store, needed: Collection[str]) -> Iterator[Garbage]:
    """The optimizer states of phases whose next phase is trained, and of fine-tunes, which hand on weights alone.

    Those of a last phase stay: a longer run starts from it. While any phase of the store is unfinished all stay.

    Args:
        store: on this machine's disk, refreshed.
        needed: results that stay, as "name/subject-key"; all others go whole.
    """
    if _unfinished(store):
        return
    results = [each for each in store.artifacts() if _name(each) in needed]
    continued = {key for each in results if each.manifest.name == "train" for key in each.manifest.inputs.values()}
    for artifact in results:
        if artifact.manifest.name == "finetune" or artifact.manifest.key in continued:
            yield from _state_of(artifact, REASON)


def releasing_stages(run: RunRecipe) -> list[str]:
    """Ids of the phases and fine-tunes whose optimizer states `run` does not keep."""
    phases = [segments[0].train for segments in run.segments]
    ids = [f"train[{number}]" for number, section in enumerate(phases, start=1) if _releases(section)]
    return ids + [f"finetune[{section.name}]" for section in run.finetune if _releases(run.train)]


class ReleasedStates:
    """Removes optimizer states while a run goes on, as soon as the next phase is trained: called with every event.

    A state stays if another run may start from it: one that goes on and names its result, or unfinished training that
    is not of this run.

    Args:
        store: on this machine's disk, open for writing.
        stages: of the run, by id.
        ids: the phases and fine-tunes whose states are to go.
    """

    def __init__(self, store: Store, stages: Mapping[str, Stage], ids: Collection[str]) -> None:
        self._store, self._stages, self._ids = store, stages, ids
        self._run_id = ""

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Remove what has become free."""
        if event["event"] == "run_started":
            self._run_id = event["run_id"]
        elif event["event"] in ("stage_finished", "run_finished") and self._ids:
            with self._store.unpruned(lambda _holder, _seconds: None):
                for each in list(self._free()):
                    each.remove()

    def _free(self) -> Iterator[Garbage]:
        own = {_path(stage) for stage in self._stages.values()}
        others = (each for each in run_records(self._store) if each.may_go_on and each.run_id != self._run_id)
        used = set().union(*(each.results for each in others))
        if _unfinished(self._store) - own:
            return
        for name in self._ids:
            stage = self._stages[name]
            artifact = self._store.find(stage)
            if artifact and _path(stage) not in used and (stage.name == "finetune" or self._is_continued(stage)):
                yield from _state_of(artifact, REASON_OF_POLICY)

    def _is_continued(self, stage: Stage) -> bool:
        after = [each for each in self._stages.values() if each.name == "train" and stage in each.inputs.values()]
        return bool(after) and all(self._store.find(each) for each in after)


def _releases(section: TrainSection) -> bool:
    return section.keep_optimizer_states == "last"


def _unfinished(store: Store) -> set[str]:
    """Phases that are being trained or will be trained on."""
    return {f"train/{folder.name.removesuffix(STATE)}" for folder in store.root.glob(f"stages/train/*{STATE}")}


def _state_of(artifact: Artifact, reason: str) -> Iterator[Garbage]:
    entries = [entry for entry in artifact.manifest.files if entry.path.startswith(FILES)]
    paths = [entry.path for entry in entries if (artifact.folder / entry.path).exists()]
    if paths:
        size = sum(entry.bytes for entry in entries if entry.path in paths)
        yield Garbage("optimizer state", _name(artifact), size, partial(release, artifact, paths, reason))


def _name(artifact: Artifact) -> str:
    return f"{artifact.folder.parent.name}/{artifact.folder.name}"


def _path(stage: Stage) -> str:
    return result_name(stage.name, stage.subject, stage.key)
