"""The optimizer states that a run removes itself, as its recipe says."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from data_recipes import RunRecipe
from data_recipes.sections.training import TrainSection
from infra.housekeeping.roots import result_name, run_records
from infra.stage import Stage
from infra.store import Store
from infra.store.garbage import Garbage
from pipelines.lineage.optimizer_states import optimizer_state, unfinished_training

REASON = 'train.keep_optimizer_states = "last" removed it'


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
            with self._store.pruning_blocked(lambda _holder, _seconds: None):
                for each in list(self._free()):
                    each.remove()

    def _free(self) -> Iterator[Garbage]:
        own = {_path(stage) for stage in self._stages.values()}
        others = (each for each in run_records(self._store) if each.may_resume and each.run_id != self._run_id)
        used = set().union(*(each.results for each in others))
        if unfinished_training(self._store) - own:
            return
        for name in self._ids:
            stage = self._stages[name]
            artifact = self._store.find(stage)
            if artifact and _path(stage) not in used and (stage.name == "finetune" or self._is_continued(stage)):
                yield from optimizer_state(artifact, REASON)

    def _is_continued(self, stage: Stage) -> bool:
        after = [each for each in self._stages.values() if each.name == "train" and stage in each.inputs.values()]
        return bool(after) and all(self._store.find(each) for each in after)


def _releases(section: TrainSection) -> bool:
    return section.keep_optimizer_states == "last"


def _path(stage: Stage) -> str:
    return result_name(stage.name, stage.subject, stage.key)
