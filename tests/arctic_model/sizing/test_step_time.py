"""A step's time by formula: against numbers worked out by hand, and against published figures of Arctic."""

from dataclasses import replace

import pytest

from arctic_model.presets import preset
from arctic_model.sizing.flops import count_parameters, forward_flops_per_token, training_flops_per_token
from arctic_model.sizing.parallel import ParallelConfig
from arctic_model.sizing.step_time import GPUS, UPDATE_BYTES_PER_PARAMETER, bill, step_time, windows

ARCTIC = preset("arctic-480b")
H100 = GPUS["h100"]


def test_arctics_bound_is_a_fifth_of_an_h100() -> None:
    """At most 3,000 GPU-weeks for 3.5T tokens: about 20 % MFU, 1,929 tokens/s on each GPU."""
    gpu_seconds = 3000 * 7 * 86_400
    assert 3.5e12 / gpu_seconds == pytest.approx(1929, abs=0.5)
    by_parameters = 6 * count_parameters(ARCTIC).active * 3.5e12 / gpu_seconds / H100.bfloat16_flops
    by_products = training_flops_per_token(ARCTIC, 4096) * 3.5e12 / gpu_seconds / H100.bfloat16_flops
    assert by_parameters == pytest.approx(0.203, abs=0.001)
    assert by_products == pytest.approx(0.212, abs=0.001)


def test_a_fifth_of_the_peak_is_arctics_bill() -> None:
    tokens_per_s = 0.2 * H100.bfloat16_flops / training_flops_per_token(ARCTIC, 4096)
    total = bill(int(3.5e12), 1024 * tokens_per_s, 1024, price_per_hour=2.0)
    assert total.gpu_hours / 168 == pytest.approx(3000, rel=0.07)
    assert total.days == pytest.approx(total.gpu_hours / 1024 / 24)
    assert total.cost == pytest.approx(2.0 * total.gpu_hours)


@pytest.mark.parametrize(
    ("window", "gigabytes_per_s"),
    [("dispatch_forward", 49), ("combine_forward", 46.5), ("dispatch_backward", 24.4), ("combine_backward", 23.3)],
)
def test_a_network_card_of_arctics_time_hides_every_exchange(window: str, gigabytes_per_s: float) -> None:
    """At 500 TFLOP/s attention takes 0.59 us a token and layer, and the dense MLP 0.62 us, for 28,672 bytes."""
    parallel = ParallelConfig(1024, 128, sequence_length=4096)
    enough, short = (
        getattr(
            windows(ARCTIC, parallel, replace(H100, bfloat16_flops=500e12, network_bytes_per_s=share * 1e9), 1.0),
            window,
        )
        for share in (gigabytes_per_s, 0.9 * gigabytes_per_s)
    )
    assert enough.hidden_s == enough.exchange_s
    assert short.hidden_s == short.compute_s < short.exchange_s


def test_windows_are_attention_and_the_dense_mlp() -> None:
    result = windows(ARCTIC, ParallelConfig(1024, 128, sequence_length=4096), replace(H100, bfloat16_flops=500e12), 1.0)
    assert result.dispatch_forward.compute_s / 4096 == pytest.approx(0.59e-6, abs=0.005e-6)
    assert result.combine_forward.compute_s / 4096 == pytest.approx(0.62e-6, abs=0.005e-6)


def test_an_exchange_uses_nvlink_inside_a_node_and_the_network_outside() -> None:
    rows = 4096 * 2 * 7168 * 2
    for size, expected in ((1, 0), (8, 7 / 8 * rows / 450e9), (64, 56 / 64 * rows / 50e9)):
        result = windows(ARCTIC, ParallelConfig(64, size, sequence_length=4096), H100, 0.4)
        assert result.dispatch_forward.exchange_s == pytest.approx(expected)


def test_one_gpu_computes_and_updates_only() -> None:
    config = preset("arctic-1.4b-a150m")
    step = step_time(config, ParallelConfig(1, 1, 4096, micro_batch_sequences=4, num_micro_batches=2), H100, 0.5)
    flops = 8 * 4096 * training_flops_per_token(config, 4096)
    update = UPDATE_BYTES_PER_PARAMETER * count_parameters(config).total / 3.35e12
    assert step.compute_s == pytest.approx(flops / (0.5 * 989e12))
    assert step.update_s == pytest.approx(update)
    assert step.exposed_exchange_s == step.gradients_s == step.weights_s == 0
    assert step.mfu == pytest.approx(flops / 989e12 / (step.compute_s + update))
    assert step.tokens_per_s == pytest.approx(8 * 4096 / (step.compute_s + update))


def test_reductions_take_the_rings_that_they_have() -> None:
    """All eight cards of a node for parameters that all workers share; one card if the holders are in different
    nodes."""
    count = count_parameters(ARCTIC)
    dense, experts = 2 * count.dense, 2 * count.experts / 8
    narrow = ParallelConfig(8, 8, 4096, gradient_dtype="bfloat16")
    inside = step_time(ARCTIC, narrow, H100, 0.4)
    assert inside.gradients_s == pytest.approx(2 * 7 / 8 * dense / 450e9)
    outside = step_time(ARCTIC, replace(narrow, num_workers=16), H100, 0.4)
    assert outside.gradients_s == pytest.approx(2 * 15 / 16 * dense / 400e9 + experts / 50e9)
    assert outside.weights_s == pytest.approx(outside.gradients_s / 2)
    widened = step_time(ARCTIC, ParallelConfig(16, 8, 4096), H100, 0.4)
    assert widened.gradients_s == pytest.approx(2 * outside.gradients_s)
    assert widened.weights_s == outside.weights_s


def test_zero_two_reduces_in_every_pass() -> None:
    once, often = (step_time(ARCTIC, ParallelConfig(1024, 64, 4096, 1, 4, stage), H100, 0.4) for stage in (1, 2))
    assert often.gradients_s == pytest.approx(4 * once.gradients_s)
    assert often.weights_s == once.weights_s


def test_checkpointing_computes_and_exchanges_the_layers_once_more() -> None:
    slow = replace(H100, network_bytes_per_s=1e9)
    plain, selective, again = (
        step_time(ARCTIC, ParallelConfig(1024, 64, 4096, activation_checkpointing=policy), slow, 0.4)
        for policy in ("none", "selective", "layer")
    )
    assert selective == plain
    flops = forward_flops_per_token(ARCTIC, 4096)
    assert again.compute_s / plain.compute_s == pytest.approx(1 + (flops.total - flops.head) / (3 * flops.total))
    layer = windows(ARCTIC, ParallelConfig(1024, 64, 4096), slow, 0.4)
    exposed = [window.exchange_s - window.compute_s for window in layer.all]
    assert plain.exposed_exchange_s == pytest.approx(35 * sum(exposed))
    assert again.exposed_exchange_s == pytest.approx(35 * (sum(exposed) + sum(exposed[:2])))


@pytest.mark.parametrize("efficiency", [0.0, 1.5])
def test_an_efficiency_is_a_share(efficiency: float) -> None:
    with pytest.raises(ValueError, match="a share of the peak, above 0 and at most 1"):
        step_time(ARCTIC, ParallelConfig(64, 64, 4096), H100, efficiency)
