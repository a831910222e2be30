"""FLOPs by formula equal torch's count of a real pass, product by product."""

from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from arctic_model.config import ArcticConfig
from arctic_model.model import ArcticModel
from arctic_model.presets import preset
from arctic_model.sizing.flops import count_parameters, forward_flops_per_token, training_flops_per_token
from arctic_model.training.losses.objective import Batch, Scale, training_loss
from arctic_model.training.optimization.settings import Optimization

FIELDS = {"vocab_size": 512, "expert_size": 40, "top_k": 3, "num_layers": 3}
CONFIGS = {
    "arctic": preset("tiny", FIELDS),
    "dense": preset("tiny", FIELDS | {"num_experts": 0, "dense_size": 80, "head_size": 16}),
    "every second layer": preset("tiny", FIELDS | {"layer_shape": "moe", "moe_layer_frequency": 2, "tied_head": True}),
    "shared expert": preset("tiny", FIELDS | {"layer_shape": "shared", "qk_norm": True, "qkv_bias": True}),
    "learned sinks": preset("tiny", FIELDS | {"learned_sinks": True}),
}
SEQUENCES, LENGTH = 2, 64


def rows_times_matrices(rows: Any, matrices: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    """Forward: rows [M, D] and a matrix [E, D, F] for each group. The gradient of matrices: [D, M] and [M, F]."""
    return 2 * rows[0] * rows[1] * matrices[-1]


def addmm_in_place(_: Any, left: Any, right: Any, **__: Any) -> int:
    return 2 * left[0] * left[1] * right[1]


def attention_forward(queries: Any, keys: Any, *_: Any, **__: Any) -> int:
    """Scores and their use over the full square."""
    batch, heads, length, size = queries
    return 2 * 2 * batch * heads * length * keys[2] * size


def attention_backward(_: Any, queries: Any, keys: Any, *__: Any, **___: Any) -> int:
    """The gradients of scores, queries, keys and values. The kernel computes the scores again, which is no part of
    the model's work."""
    return 2 * attention_forward(queries, keys)


UNKNOWN_TO_TORCH = {
    torch.ops.arctic.grouped_product: rows_times_matrices,
    torch.ops.aten.addmm_: addmm_in_place,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention_forward,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: attention_backward,
}
"""Operations that torch's counter ignores."""


@pytest.fixture(scope="module", params=CONFIGS.values(), ids=CONFIGS)
def config(request: pytest.FixtureRequest) -> ArcticConfig:
    selected: ArcticConfig = request.param
    return selected


@pytest.fixture(scope="module")
def counted(config: ArcticConfig) -> tuple[Counter[str], Counter[str]]:
    """Operations by kind in forward (which makes the head's gradients too) and in backward."""
    model = ArcticModel(config, seed=0)
    ids = torch.randint(0, 512, (SEQUENCES, LENGTH), generator=torch.Generator().manual_seed(0))
    positions = torch.arange(LENGTH).repeat(SEQUENCES, 1)
    batch = Batch(ids, positions, torch.zeros_like(ids, dtype=torch.int32), ids)
    scale = Scale(1.0, 1.0, torch.ones(len(config.moe_layers), config.num_experts))
    loss, forward = count(lambda: training_loss(model, batch, scale, Optimization())[0])
    _, backward = count(loss.backward)
    return forward, backward


def count(work: Any) -> tuple[Tensor, Counter[str]]:
    with FlopCounterMode(display=False, custom_mapping=UNKNOWN_TO_TORCH) as counter:
        result = work()
    kinds: Counter[str] = Counter()
    for name, flops in counter.get_flop_counts()["Global"].items():
        kinds[kind_of(str(name))] += flops
    return result, kinds


def kind_of(operation: str) -> str:
    """The router's sums, for losses and telemetry, are the only batched product."""
    for word, kind in (("grouped", "experts"), ("attention", "attention"), ("bmm", "router sums")):
        if word in operation:
            return kind
    return "dense"


def test_experts_are_counted_exactly(config: ArcticConfig, counted: tuple[Counter[str], Counter[str]]) -> None:
    expected = forward_flops_per_token(config, LENGTH).experts * SEQUENCES * LENGTH
    assert [part["experts"] for part in counted] == [expected, 2 * expected]


def test_attention_is_half_of_the_full_square(config: ArcticConfig, counted: tuple[Counter[str], Counter[str]]) -> None:
    projections = forward_flops_per_token(config, 0).attention
    scores = (forward_flops_per_token(config, LENGTH).attention - projections) * SEQUENCES * LENGTH
    assert [part["attention"] for part in counted] == [2 * scores, 4 * scores]


def test_everything_else_is_counted_exactly(config: ArcticConfig, counted: tuple[Counter[str], Counter[str]]) -> None:
    """Projections, dense MLP, router and head; the fused loss makes the head's gradients in forward already."""
    flops = forward_flops_per_token(config, 0)
    layers = (flops.attention + flops.dense_mlp + flops.router) * SEQUENCES * LENGTH
    head = flops.head * SEQUENCES * LENGTH
    assert [part["dense"] for part in counted] == [layers + 3 * head, 2 * layers]


def test_training_is_three_times_forward_and_six_per_matrix_parameter() -> None:
    config = preset("arctic-480b")
    gains = (3 * config.num_layers + 1) * config.hidden_size
    matrices = count_parameters(config).active - config.vocab_size * config.hidden_size - gains
    attention = config.num_layers * 6 * 4096 * config.hidden_size
    assert training_flops_per_token(config, 4096) == 6 * matrices + attention
    assert training_flops_per_token(config, 4096) == 3 * forward_flops_per_token(config, 4096).total


def test_arctics_dense_path_is_longer_than_its_experts() -> None:
    """2.47 against 1.71 TFLOP for 4,096 tokens of one layer: long enough to hide both exchanges."""
    config = preset("arctic-480b")
    flops = forward_flops_per_token(config, 4096)
    per_layer = 4096 / config.num_layers / 1e12
    assert (flops.attention + flops.dense_mlp) * per_layer == pytest.approx(2.47, abs=0.005)
    assert flops.experts * per_layer == pytest.approx(1.71, abs=0.005)
