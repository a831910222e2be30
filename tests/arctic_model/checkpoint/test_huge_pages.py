"""Weights in one region of memory are ordinary weights."""

import copy
import gc
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from arctic_model.checkpoint.huge_pages import CACHE_LINE, HUGE_PAGE, move_to_huge_pages


@pytest.fixture
def module() -> nn.Module:
    """Of odd sizes, in two dtypes, with a weight that two modules share."""
    first, second = nn.Linear(7, 5), nn.Linear(7, 3).bfloat16()
    tied = nn.Linear(7, 5, bias=False)
    tied.weight = first.weight
    module = nn.ModuleList([first, second, tied])
    move_to_huge_pages(module)
    with torch.no_grad():
        for number, parameter in enumerate(module.parameters()):
            parameter.fill_(number)
    return module


def test_parameters_lie_side_by_side_and_no_two_overlap(module: nn.Module) -> None:
    spans = sorted((each.data_ptr(), each.data_ptr() + each.nbytes) for each in module.parameters())
    assert spans[0][0] % HUGE_PAGE == 0
    assert all(start % CACHE_LINE == 0 for start, _ in spans)
    assert all(0 <= after[0] - before[1] < CACHE_LINE for before, after in pairwise(spans))
    for number, parameter in enumerate(module.parameters()):
        assert parameter.eq(number).all()


def test_shapes_dtypes_and_ties_stay(module: nn.ModuleList) -> None:
    assert [(tuple(each.shape), each.dtype) for each in module.parameters()] == [
        ((5, 7), torch.float32),
        ((5,), torch.float32),
        ((3, 7), torch.bfloat16),
        ((3,), torch.bfloat16),
    ]
    assert module[0].weight is module[2].weight


def test_weights_are_trained_copied_and_stored_one_by_one(module: nn.ModuleList, tmp_path: Path) -> None:
    copied, state = copy.deepcopy(module), dict(module.named_parameters())
    save_file({name: tensor.detach() for name, tensor in state.items()}, tmp_path / "weights")
    optimizer = torch.optim.SGD(module.parameters(), lr=1.0)
    module[0](torch.ones(7)).sum().backward()
    optimizer.step()
    assert module[0].weight.eq(-1).all()
    del module, optimizer, state
    gc.collect()
    for name, tensor in load_file(tmp_path / "weights").items():
        assert tensor.equal(copied.get_parameter(name))
