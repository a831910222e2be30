"""A worker's environment is ready when its process group begins, which is when torch and NCCL read it."""

import os
import time
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist

from arctic_model.kernels.precision import cpu_multiplies_bfloat16
from arctic_model.training.process import prepare_process
from infra.groups.group import Member
from pipelines.train.job import WorkerGroup
from pipelines.train.workers import launch, worker
from pipelines.train.workers.worker import work_in_group

NAMES = ("PYTORCH_CUDA_ALLOC_CONF", "TORCH_NCCL_HIGH_PRIORITY", "NCCL_MAX_CTAS")


class BegunError(Exception):
    """Instead of a process group."""


def begin(job: Any, how: str) -> None:
    if how == "in a group":
        work_in_group(job, None, Member())  # type: ignore[arg-type]
    else:
        launch._in_this_process(job, None)  # type: ignore[arg-type]


def environment(monkeypatch: pytest.MonkeyPatch, how: str, **settings: Any) -> list[str | None]:
    """The variables when the group begins, none of them set before except those that the test sets."""

    def begun(*_: object, **__: object) -> None:
        seen.extend(os.environ.get(name) for name in NAMES)
        raise BegunError

    seen: list[str | None] = []
    monkeypatch.setattr(dist, "init_process_group", begun)
    monkeypatch.setattr(dist, "FileStore", lambda *_: SimpleNamespace(set_timeout=lambda _: None))
    monkeypatch.setattr(os, "environ", {name: os.environ[name] for name in NAMES if name in os.environ})
    with pytest.raises(BegunError):
        begin(SimpleNamespace(group=WorkerGroup(**settings)), how)
    return seen


@pytest.mark.parametrize("how", ["in a group", "in the stage's task"])
def test_a_gpu_worker_has_the_variables_and_a_cpu_worker_has_none(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    assert environment(monkeypatch, how, gpus_per_worker=0.0, nccl_max_ctas=8) == [None] * 3
    assert environment(monkeypatch, how, gpus_per_worker=1.0) == ["expandable_segments:True", "1", None]
    monkeypatch.undo()
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    assert environment(monkeypatch, how, gpus_per_worker=1.0, nccl_max_ctas=8)[2] == "8"


def test_a_variable_that_the_user_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "max_split_size_mb:512")
    monkeypatch.setenv("NCCL_MAX_CTAS", "4")
    seen = environment(monkeypatch, "in a group", gpus_per_worker=1.0, nccl_max_ctas=8)
    assert [seen[0], seen[2]] == ["max_split_size_mb:512", "4"]


def test_kernels_without_a_fixed_order_are_refused_unless_the_recipe_allows_them() -> None:
    before = torch.get_deterministic_debug_mode()
    try:
        for deterministic in (True, False, True):
            prepare_process(0, deterministic=deterministic)
            assert torch.are_deterministic_algorithms_enabled() == deterministic
            values, indices = torch.zeros(4), torch.tensor([0, 0])
            if deterministic:
                with pytest.raises(RuntimeError, match="deterministic"):
                    values.put_(indices, torch.ones(2), accumulate=False)
            else:
                values.put_(indices, torch.ones(2), accumulate=False)
    finally:
        torch.set_deterministic_debug_mode(before)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("num_gpus", [0.0, 1.0])
@pytest.mark.parametrize("has_instructions", [True, False])
def test_a_dtype_that_the_processor_only_imitates_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, dtype: str, num_gpus: float, has_instructions: bool
) -> None:
    monkeypatch.setattr(worker, "cpu_multiplies_bfloat16", lambda: has_instructions)
    segment = SimpleNamespace(optimization=SimpleNamespace(dtype=dtype))
    job: Any = SimpleNamespace(group=WorkerGroup(gpus_per_worker=num_gpus), segments=[segment])
    notice = worker.slow_products(job)
    assert (notice is not None) == (dtype == "bfloat16" and not num_gpus and not has_instructions)


def test_the_processor_has_instructions_for_bfloat16_if_its_products_are_fast() -> None:
    """Without them they take some forty times as long as in float32, with them hardly longer."""
    matrices = {dtype: torch.ones(512, 512, dtype=dtype) for dtype in (torch.float32, torch.bfloat16)}
    seconds = {dtype: min(timed(matrix) for _ in range(5)) for dtype, matrix in matrices.items()}
    assert (seconds[torch.bfloat16] < 6 * seconds[torch.float32]) == cpu_multiplies_bfloat16()


def timed(matrix: torch.Tensor) -> float:
    started = time.perf_counter()
    matrix @ matrix
    return time.perf_counter() - started
