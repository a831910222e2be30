"""Training that is asked to stop writes a checkpoint of its latest step, and continues from it."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import pytest

from arctic_model.checkpoint.reading import checkpoints, step_of
from infra.budget import StoppedError
from infra.context import STOP
from pipelines.train.data import PhaseBatches
from pipelines.train.workers.heartbeat import WorkerLostError
from tests.kit.files import digests

PAIR = {"num_workers": 2, "expert_parallel_size": 2, "cpus_per_worker": 0.5}


def steps_saved(home: Path) -> list[int]:
    return [step_of(folder) for folder in checkpoints(home / "phase-state" / "checkpoints")]


@pytest.mark.parametrize("asked_at", [3, 4, 7])
def test_a_group_of_one_stops_after_the_step_and_the_result_is_the_same(workshops: Callable, asked_at: int) -> None:
    calm, stopped = workshops("calm"), workshops("stopped")
    expected, _ = calm.run("phase", calm.inputs(1), calm.stage())
    read = PhaseBatches.__call__

    def ask(batches: PhaseBatches, step: int) -> list:
        if step == asked_at + 1:
            # The data of the next step is read while a step is taken.
            (stopped.home / "phase-state" / STOP).write_text("--max-hours 2 is reached")
        return read(batches, step)

    with (
        patch.object(PhaseBatches, "__call__", ask),
        patch("pipelines.train.workers.stopping.LOOK_S", 0.0),
        pytest.raises(StoppedError, match="--max-hours 2 is reached"),
    ):
        stopped.run("phase", stopped.inputs(1), stopped.stage())
    # The checkpoint of step 4 is due anyway; batches are read one or two steps ahead.
    assert asked_at - 2 <= steps_saved(stopped.home)[-1] <= asked_at
    (stopped.home / "phase-state" / STOP).unlink()
    result, _ = stopped.run("phase", stopped.inputs(1), stopped.stage())
    assert digests(result) == digests(expected)


def test_a_warning_by_signal_makes_a_checkpoint_of_the_step_and_a_second_one_has_its_usual_effect(
    workshops: Callable,
) -> None:
    calm, warned = workshops("calm"), workshops("warned")
    expected, _ = calm.run("phase", calm.inputs(1), calm.stage())
    read, usual = PhaseBatches.__call__, signal.getsignal(signal.SIGTERM)

    def warn(batches: PhaseBatches, step: int) -> list:
        if step == 7:
            os.kill(os.getpid(), signal.SIGTERM)
        return read(batches, step)

    with patch.object(PhaseBatches, "__call__", warn), pytest.raises(WorkerLostError, match="is about to leave"):
        warned.run("phase", warned.inputs(1), warned.stage(checkpoint_every_steps=1000))
    assert signal.getsignal(signal.SIGTERM) is usual
    # Data is read a few steps ahead, so the warning came before step 7.
    [step] = steps_saved(warned.home)
    assert 1 < step < 7
    result, _ = warned.run("phase", warned.inputs(1), warned.stage())
    assert digests(result) == digests(expected)


@pytest.mark.slow
def test_all_workers_stop_after_the_same_step(workshops: Callable) -> None:
    calm, stopped = workshops("calm"), workshops("stopped")
    expected, _ = calm.run("phase", calm.inputs(1), calm.stage(**PAIR))
    (stopped.home / "phase-state").mkdir(parents=True)
    (stopped.home / "phase-state" / STOP).write_text("--max-cost 1 is reached")
    with pytest.raises(StoppedError, match="--max-cost 1 is reached"):
        stopped.run("phase", stopped.inputs(1), stopped.stage(**PAIR))
    assert steps_saved(stopped.home) == [1]
    (stopped.home / "phase-state" / STOP).unlink()
    result, _ = stopped.run("phase", stopped.inputs(1), stopped.stage(**PAIR))
    assert digests(result) == digests(expected)
