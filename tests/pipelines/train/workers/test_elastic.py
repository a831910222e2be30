"""The number of workers that train: as many as there is room for, again after each loss and growth, and never without
end."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_recipes.sections.training import TrainSection
from infra.budget import num_workers
from infra.context import StageContext
from infra.resources import Demand
from infra.resources.capacity import Pool
from infra.stage import Stage
from pipelines.train.job import WorkerGroup
from pipelines.train.stage import resources
from pipelines.train.workers import elastic
from pipelines.train.workers.elastic import next_larger, train_elastically, workers_that_fit
from pipelines.train.workers.failure import write_failure

BATCH = {"global_batch_sequences": 24, "micro_batch_sequences": 2, "peak_lr": 0.001}


def section(**fields: Any) -> TrainSection:
    return TrainSection(**BATCH | fields)


@pytest.mark.parametrize(
    ("fields", "counts"),
    [
        ({"num_workers": 3}, [3]),
        ({"num_workers": [1, 12]}, [1, 2, 3, 4, 6, 12]),
        ({"num_workers": [2, 12], "expert_parallel_size": 2}, [2, 4, 6, 12]),
        ({"num_workers": [4, 6], "micro_batch_sequences": 1}, [4, 6]),
        ({"num_workers": [2, 12], "engine": "flat", "shard_group_size": 4}, [4, 12]),
    ],
)
def test_numbers_of_workers_divide_the_batch_and_hold_the_experts(fields: dict[str, Any], counts: list[int]) -> None:
    assert section(**fields).worker_counts == counts


def test_the_number_of_workers_is_no_part_of_a_key_and_a_stage_starts_with_the_fewest() -> None:
    needs = resources(section(num_workers=[2, 12], cpus_per_worker=3.0))
    assert needs.demands == (Demand(1), Demand(2, 3.0))
    assert num_workers(Stage("train", resources=needs, work=lambda *_: {})) == 12, "the most that it can cost"


@given(
    st.sets(st.integers(1, 40), min_size=1, max_size=6),
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 4)), max_size=6),
    st.integers(1, 4),
    st.integers(0, 2),
)
def test_the_largest_number_that_fits_is_taken(
    counts: set[int], machines: list[tuple[int, int]], cpus: int, gpus: int
) -> None:
    room = sum(min(has // cpus, has_gpus // gpus if gpus else has) for has, has_gpus in machines)
    free = [Pool(has, has_gpus, 1) for has, has_gpus in machines]
    result = workers_that_fit(sorted(counts), Demand(1, cpus, gpus), free)
    assert result == max((count for count in counts if count <= room), default=None)
    larger = next_larger(sorted(counts), result or 0)
    assert larger is None or (larger in counts and not any((result or 0) < each < larger for each in counts))


class Phase:
    """A phase whose groups end as a list of functions decides, on a cluster with a given room for each of them."""

    def __init__(self, folder: Path, room: list[int], ends: list[Callable[["Phase"], None]]) -> None:
        self.failure, self.regroup = folder / "failure.json", folder / "regroup"
        self.group = WorkerGroup(4, (1, 2))
        self.room, self.ends = room, ends
        self.trained: list[int] = []
        self.events: list[dict[str, Any]] = []
        self.context = StageContext("train[1]", folder, folder, self.events.append, parallel=True)

    def free(self) -> list[Pool]:
        return [Pool(1.0, 0.0, 1)] * self.room[len(self.trained)]

    def train(self, count: int) -> None:
        self.trained.append(count)
        self.ends[len(self.trained) - 1](self)

    @property
    def warnings(self) -> list[str]:
        return [event["message"] for event in self.events if event["event"] == "warning"]


def done(_: Phase) -> None:
    """The phase is at its end."""


def lost(_: Phase) -> None:
    raise RuntimeError("a worker died")


def grown(phase: Phase) -> None:
    phase.regroup.touch()
    raise RuntimeError("stopped after step 7")


def failed(phase: Phase) -> None:
    write_failure(phase.failure, ValueError("a wrong number"))
    raise ValueError("a wrong number")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Phase]:
    def run(room: list[int], *ends: Callable[[Phase], None], error: type[Exception] | None = None) -> Phase:
        phase = Phase(tmp_path, room, list(ends))
        monkeypatch.setattr(elastic, "free_machines", phase.free)
        job: Any = SimpleNamespace(group=phase.group, failure=phase.failure, regroup=phase.regroup)
        waits = iter(range(3))

        def await_fewest() -> None:
            phase.room[len(phase.trained)] = next(waits) + 1

        with pytest.raises(error) if error else nullcontext():
            train_elastically(job, phase.context, phase.train, await_fewest)
        return phase

    monkeypatch.setattr(elastic, "_Growth", lambda *_: nullcontext())
    monkeypatch.setattr(elastic, "SETTLE_S", 0.0)
    monkeypatch.setattr(elastic, "POLL_S", 0.0)
    return run


def test_training_goes_on_with_fewer_workers_and_back(run: Callable[..., Phase]) -> None:
    phase = run([4, 3, 4], lost, grown, done)
    assert phase.trained == [4, 2, 4]
    assert phase.warnings == [
        "trains with 2 of train.num_workers = [1, 4] workers: the cluster has no room for more. More join at a "
        "checkpoint as soon as there is.",
        "there is room again: training goes on with 4 instead of 2 workers",
    ]


def test_training_waits_for_the_fewest(run: Callable[..., Phase]) -> None:
    assert run([0], done).trained == [1]


def test_an_error_that_another_group_would_meet_again_ends_the_phase(run: Callable[..., Phase]) -> None:
    assert run([4, 4], failed, error=ValueError).trained == [4]


def test_losses_end_the_phase_after_so_many_and_growth_is_no_loss(
    run: Callable[..., Phase], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(elastic, "WORKER_DEATHS", 2)
    assert len(run([4] * 9, lost, grown, lost, grown, grown, lost, done, error=RuntimeError).trained) == 6
