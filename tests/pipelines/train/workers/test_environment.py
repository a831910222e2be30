"""A worker's environment is ready when its process group begins, which is when torch and NCCL read it."""

import os
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist

from arctic_model.training.process import prepare_process
from pipelines.train.job import WorkerGroup
from pipelines.train.workers import launch
from pipelines.train.workers.worker import work_in_group

NAMES = ("PYTORCH_CUDA_ALLOC_CONF", "TORCH_NCCL_HIGH_PRIORITY", "NCCL_MAX_CTAS")


class BegunError(Exception):
    """Instead of a process group."""


def begin(job: Any, how: str) -> None:
    if how == "in a group":
        work_in_group(job, None, 0, 1, "", one_machine=True)  # type: ignore[arg-type]
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
