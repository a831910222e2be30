"""A training in its caller's process leaves the process as it was: the next library there looks for no group."""

import os

import pytest
import torch.distributed as dist

from pipelines.train.workers import worker

NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "GLOO_SOCKET_IFNAME", "DS_ACCELERATOR")
OF_OTHERS = ("PYTEST_CURRENT_TEST", "PYTORCH_NVML_BASED_CUDA_CHECK", "TORCHINDUCTOR_CACHE_DIR")
"""pytest's, and those that torch and DeepSpeed set once a process for their caches and their search for a driver."""
OF_THE_CALLER = {"LOCAL_RANK": "7", "NCCL_SOCKET_IFNAME": "eth9"}


@pytest.fixture(params=[{}, OF_THE_CALLER], ids=["none", "the caller's own"])
def variables(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The whole environment before a training, with some variables of a group or with none."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    for name, value in request.param.items():
        monkeypatch.setenv(name, value)
    return environment()


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in OF_OTHERS}


def test_a_training_in_the_callers_process_leaves_no_variable_and_no_group(workshop, variables) -> None:
    workshop.run("phase", workshop.inputs(1, steps=2), workshop.stage())
    assert environment() == variables
    assert not dist.is_initialized()


def test_so_does_one_that_fails(workshop, variables, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        assert os.environ["LOCAL_RANK"] == "0" and dist.is_initialized()
        raise RuntimeError("the disk is gone")

    monkeypatch.setattr(worker, "work", fail)
    with pytest.raises(RuntimeError, match="the disk is gone"):
        workshop.run("phase", workshop.inputs(1, steps=2), workshop.stage())
    assert environment() == variables
    assert not dist.is_initialized()
