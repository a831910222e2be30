"""Memory and traffic by formula equal those of torch, DeepSpeed's allocations and traffic, and published figures."""

import itertools
import json
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from arctic_model.checkpoint.tensors.names import is_expert
from arctic_model.config import ArcticConfig
from arctic_model.model import ArcticModel
from arctic_model.moe.dispatch import ExpertGroup
from arctic_model.presets import preset
from arctic_model.sizing import memory as sizing
from arctic_model.sizing.activations import activation_bytes, checkpointed_bytes
from arctic_model.sizing.memory import memory_per_worker, muon, states, working
from arctic_model.sizing.muon_cost import MuonGroup, orthogonalization_flops
from arctic_model.sizing.parallel import ELEMENT_BYTES, ParallelConfig
from arctic_model.sizing.step_time import traffic
from arctic_model.training.losses import cross_entropy as loss
from arctic_model.training.losses.objective import Batch, Scale, training_loss
from arctic_model.training.optimization.muon import FlatMatrices, muon_step, orthogonalized, partition
from arctic_model.training.optimization.settings import Optimization

WORKER = Path(__file__).with_name("sizing_worker.py")


@pytest.fixture(autouse=True)
def kernels_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The formulas are for GPUs, whose experts pad no rows."""
    monkeypatch.setattr("arctic_model.kernels.row_groups.PADDED", set())


def pass_of(
    config: ArcticConfig, dtype: str, shape: tuple[int, int], settings: Optimization = Optimization()
) -> tuple[ArcticModel, Callable[[], Tensor]]:
    """A model, and its loss on a batch of [B, T] random ids."""
    model = ArcticModel(config, seed=0)
    model = model.to(getattr(torch, dtype))
    ids = torch.randint(0, config.vocab_size, shape, generator=torch.Generator().manual_seed(0))
    positions = torch.arange(shape[1]).repeat(shape[0], 1)
    batch = Batch(ids, positions, torch.zeros_like(ids, dtype=torch.int32), ids)
    scale = Scale(1.0, 1.0, torch.ones(len(config.moe_layers), config.num_experts))
    return model, lambda: training_loss(model, batch, scale, settings)[0]


def kept_bytes(model: ArcticModel, forward: Callable[[], Tensor]) -> int:
    """Storages that autograd keeps between forward and backward, each once, without the parameters."""
    remaining: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        remaining.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        forward()
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in remaining}
    for parameter in model.parameters():
        storages.pop(parameter.untyped_storage().data_ptr(), None)
    return sum(storages.values())


SHAPES = [
    ({}, (2, 64)),
    ({}, (1, 32)),
    ({"num_layers": 3, "expert_size": 40, "num_experts": 8, "top_k": 3}, (3, 16)),
    ({"hidden_size": 64, "num_kv_heads": 1, "vocab_size": 100}, (1, 128)),
    ({"num_experts": 0, "dense_size": 80, "tied_head": True}, (2, 64)),
    ({"layer_shape": "shared", "dense_size": 48, "qkv_bias": True}, (2, 64)),
    ({"layer_shape": "moe", "num_layers": 3, "moe_layer_frequency": 2, "qk_norm": True, "head_size": 16}, (1, 64)),
    ({"num_layers": 3, "moe_layer_frequency": 3}, (1, 64)),
    ({"learned_sinks": True}, (2, 64)),
]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(("overrides", "shape"), SHAPES)
def test_activations_are_what_autograd_keeps(overrides: dict, shape: tuple[int, int], dtype: Any) -> None:
    config = preset("tiny", overrides)
    parallel = ParallelConfig(1, 1, shape[1], shape[0], zero_stage=1, dtype=dtype)
    assert kept_bytes(*pass_of(config, dtype, shape)) == activation_bytes(config, parallel)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_checkpointed_layers_keep_their_inputs(dtype: Any) -> None:
    config = preset("tiny", {"num_layers": 4})
    model, forward = pass_of(config, dtype, (2, 64), Optimization(activation_checkpointing="layer"))
    parallel = ParallelConfig(1, 1, 64, 2, zero_stage=1, dtype=dtype, activation_checkpointing="layer")
    # A checkpoint stores the content of a tuple without calling the hooks.
    rotation = 4 * 2 * 64 * config.head_dim
    assert kept_bytes(model, forward) + rotation == checkpointed_bytes(config, parallel)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_peak_of_a_pass_is_within_one_percent(dtype: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all allocations in forward and backward, if gradients exist before."""
    monkeypatch.setitem(loss.LOGITS_PER_CHUNK, "cpu", sizing.LOGITS_PER_CHUNK)
    overrides = {"hidden_size": 128, "expert_size": 96, "vocab_size": 1024, "num_experts": 8}
    config = preset("tiny", overrides)
    model, forward = pass_of(config, dtype, (2, 128))
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    needed = working(config, ParallelConfig(1, 1, 128, 2, zero_stage=1, dtype=dtype))
    assert peak_bytes(lambda: forward().backward()) == pytest.approx(needed.activations + needed.logits_chunk, rel=0.01)


def peak_bytes(work: Callable[[], Any]) -> int:
    """The peak of the allocations of `work` above the initial ones."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        work()
    events = [event for event in profiled.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = torch.tensor([event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]).cumsum(0)
    return int(held.max())


def test_the_chunk_of_logits_is_the_one_of_a_gpu() -> None:
    assert loss.LOGITS_PER_CHUNK["cuda"] == sizing.LOGITS_PER_CHUNK


@pytest.fixture(scope="module")
def workers() -> Any:
    spec = spec_from_file_location("sizing_worker", WORKER)
    assert spec and spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> list[list[dict[str, Any]]]:
    """The measurements of two workers for each arrangement."""
    folder = tmp_path_factory.mktemp("measured")
    started = [
        subprocess.Popen([sys.executable, str(WORKER), str(rank), str(folder / "rendezvous"), str(folder / "found")])
        for rank in range(2)
    ]
    assert [worker.wait(timeout=300) for worker in started] == [0, 0]
    result = [json.loads((folder / f"found-{rank}.json").read_text(encoding="utf-8")) for rank in range(2)]
    return [list(pair) for pair in zip(*result, strict=True)]


def parallel_of(workers: Any, arrangement: tuple) -> ParallelConfig:
    engine, zero_stage, dtype, gradient_dtype, expert_parallel_size, optimizer, *context = arrangement
    sizes = (workers.LENGTH, workers.SEQUENCES, workers.PASSES)
    kinds = {"engine": engine, "dtype": dtype, "gradient_dtype": gradient_dtype, "optimizer": optimizer}
    shared = dict(zip(["context_parallel_size"], context, strict=False))
    return ParallelConfig(2, expert_parallel_size, *sizes, zero_stage=zero_stage, **kinds, **shared)


@pytest.mark.slow
def test_states_are_what_an_engine_allocates(workers: Any, measured: list[list[dict[str, Any]]]) -> None:
    """To the byte; DeepSpeed's ZeRO-2 keeps whole tensors if its part ends inside one, so up to a matrix more of each,
    and the flat engine pads every bucket."""
    for arrangement, result in zip(workers.ARRANGEMENTS, measured, strict=True):
        expected = states(workers.config(), parallel_of(workers, arrangement))
        gradients = expected.dense_gradients + expected.expert_gradients
        weights = expected.dense_weights + expected.expert_weights
        for one in result:
            if arrangement[0] == "flat":
                sizes = {"master_weights": expected.master_weights, "moments": expected.moments}
                for name, size in (sizes | {"weights": weights, "gradients": gradients}).items():
                    assert one[name] == pytest.approx(size, abs=2048), (arrangement, name)
                continue
            assert one["weights"] == weights
            assert one["master_weights"] == expected.master_weights
            assert one["moments"] == expected.moments
            if arrangement[1] < 2:
                assert one["gradients"] == gradients
            else:
                assert gradients <= one["gradients"] <= 1.1 * gradients


@pytest.mark.slow
def test_the_copy_for_a_checkpoint_is_what_a_saver_allocates(
    workers: Any, measured: list[list[dict[str, Any]]]
) -> None:
    """To the byte, as the mean: parts of an odd number of elements differ by one."""
    for arrangement, result in zip(workers.ARRANGEMENTS, measured, strict=True):
        expected = memory_per_worker(workers.config(), parallel_of(workers, arrangement)).checkpoint_copy
        assert sum(one["staged"] for one in result) / len(result) == expected


@pytest.mark.slow
def test_activations_hold_with_expert_parallelism(workers: Any, measured: list[list[dict[str, Any]]]) -> None:
    """The mean of both workers: their experts' loads differ, and add up to all assignments."""
    for arrangement, result in zip(workers.ARRANGEMENTS, measured, strict=True):
        remaining = sum(one["kept"] for one in result) / len(result)
        assert remaining == activation_bytes(workers.config(), parallel_of(workers, arrangement))


@pytest.mark.slow
def test_traffic_is_what_the_collectives_are_given(workers: Any, measured: list[list[dict[str, Any]]]) -> None:
    """Of a tensor of n bytes on two workers: an all-reduce sends n, an all-gather n, an all-to-all half of n. Experts
    that only one worker holds are reduced by it alone."""
    for arrangement, result in zip(workers.ARRANGEMENTS, measured, strict=True):
        engine, zero_stage, dtype, gradient_dtype, expert_parallel_size, *_ = arrangement
        parallel = parallel_of(workers, arrangement)
        expected = traffic(workers.config(), parallel)
        exchanged = expected.dispatch_forward + expected.combine_forward
        exchanged += expected.combine_backward + expected.dispatch_backward
        sent = [one["sent"].get(f"all_to_all_single {dtype}", 0) / 2 for one in result]
        assert sum(sent) / 2 == exchanged
        if engine == "flat":
            assert_flat_traffic(workers, arrangement, result)
            continue
        alone = 0
        if expert_parallel_size == 2:
            alone = sizing.local_parameters(workers.config(), parallel)[1] * parallel.gradient_bytes
            alone *= workers.PASSES if zero_stage == 2 else 1
        reduced = {gradient_dtype: expected.dense_gradients + expected.expert_gradients + alone}
        reduced[dtype] = reduced.get(dtype, 0) + expected.cut_matrices
        weights = expected.dense_weights + expected.expert_weights
        for one in result:
            for each, sent_bytes in reduced.items():
                assert one["sent"].get(f"all_reduce {each}", 0) == pytest.approx(sent_bytes, abs=16)
            assert one["sent"].get(f"all_gather_into_tensor {dtype}", 0) == weights
            assert one["sent"].get(f"all_gather_single {dtype}", 0) == expected.keys_forward
            assert one["sent"].get(f"reduce_scatter_single {dtype}", 0) / 2 == expected.keys_backward


def assert_flat_traffic(workers: Any, arrangement: tuple, found: list[dict[str, Any]]) -> None:
    """A reduce-scatter of n bytes on two workers sends half of n, an all-gather its input, and neither is called for
    parameters that one worker holds alone. In each layer the border may fall into one matrix more than by formula."""
    largest = 4 * workers.config().hidden_size ** 2
    _, _, dtype, gradient_dtype, *_ = arrangement
    expected = traffic(workers.config(), parallel_of(workers, arrangement))
    reduced = expected.dense_gradients + expected.expert_gradients
    for one in found:
        in_parts = one["sent"].get(f"reduce_scatter_single {gradient_dtype}", 0) / 2
        whole = one["sent"].get(f"all_reduce {gradient_dtype}", 0)
        cut = largest * workers.config().num_layers if arrangement[-1] == "muon" else 0
        assert in_parts + whole - expected.cut_matrices == pytest.approx(reduced, rel=0.02, abs=cut)
        weights = one["sent"].get(f"all_gather_single {dtype}", 0)
        assert weights == pytest.approx(expected.dense_weights + expected.expert_weights, rel=0.01)


@pytest.mark.parametrize(
    ("preset_name", "expert_parallel_size", "num_workers"), [("tiny", 2, 4), ("arctic-1.4b-a150m", 8, 8)]
)
def test_muon_keeps_one_moment_of_what_it_steps(preset_name: str, expert_parallel_size: int, num_workers: int) -> None:
    """Against the optimizer's own names and the same cuts, on the model's shapes."""
    config = preset(preset_name)
    with torch.device("meta"):
        model = ArcticModel(config, ExpertGroup(expert_parallel_size))
    stepped = [(name, p) for name, p in model.named_parameters() if Optimization("muon").uses_muon(name)]
    parallel = ParallelConfig(num_workers, expert_parallel_size, 64, optimizer="muon")
    for of_experts, group in zip((False, True), muon(config, parallel), strict=True):
        members = [parameter for name, parameter in stepped if is_expert(name) == of_experts]
        numel = sum(parameter.numel() for parameter in members)
        assert numel <= group.owned * group.num_parts < numel + 2 * group.num_parts
        offsets = itertools.accumulate((parameter.numel() for parameter in members), initial=0)
        cut = partition(zip(offsets, (parameter.shape for parameter in members), strict=False), group.owned, 0)
        assert cut.num_shared == group.shared
    saved = states(config, replace(parallel, optimizer="adamw")).moments - states(config, parallel).moments
    assert saved == 4 * sum(group.owned for group in muon(config, parallel))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("shapes", [[(256, 128)] * 10, [(512, 128), (128, 512), (256, 256)] * 6])
def test_the_peak_of_muons_update_is_within_ten_percent(shapes: list[tuple[int, int]], dtype: str) -> None:
    group = MuonGroup(shapes, 1)
    weights, gradient, momentum = torch.randn(3, group.owned).unbind()
    offsets = itertools.accumulate(map(math.prod, shapes), initial=0)
    whole = partition(zip(offsets, map(torch.Size, shapes), strict=False), group.owned, 0)
    step = {"learning_rate": 0.1, "weight_decay": 0.1, "dtype": getattr(torch, dtype)}
    peak = peak_bytes(lambda: muon_step([FlatMatrices(weights, gradient, momentum, whole)], **step))
    assert peak == pytest.approx(group.working_bytes(ELEMENT_BYTES[dtype]), rel=0.1)


@pytest.mark.parametrize("shape", [(48, 64), (64, 48)])
def test_muons_products_are_those_that_torch_counts(shape: tuple[int, int]) -> None:
    with FlopCounterMode(display=False) as counter:
        orthogonalized(torch.randn(1, *shape))
    assert counter.get_total_flops() == orthogonalization_flops(*shape)


def test_a_matrix_that_two_workers_share_is_made_orthogonal_by_both() -> None:
    """Three matrices over two workers: the second is cut in its middle."""
    group = MuonGroup([(8, 4)] * 3, 2)
    assert (group.owned, group.shared) == (48, 32)
    assert group.flops == 2 * orthogonalization_flops(4, 8)


@pytest.mark.parametrize(
    ("num_workers", "expert_parallel_size", "gradient_dtype", "gigabytes"),
    [
        (512, 64, "bfloat16", 47.7),
        (1024, 64, "bfloat16", 41.2),
        (1024, 128, "bfloat16", 33.9),
        (512, 64, "float32", 49.6),
        (1024, 64, "float32", 42.1),
        (1024, 128, "float32", 34.8),
    ],
)
def test_arctics_states_per_gpu(
    num_workers: int, expert_parallel_size: int, gradient_dtype: Any, gigabytes: float
) -> None:
    parallel = ParallelConfig(num_workers, expert_parallel_size, sequence_length=4096, gradient_dtype=gradient_dtype)
    assert states(preset("arctic-480b"), parallel).total / 1e9 == pytest.approx(gigabytes, abs=0.05)


@pytest.mark.parametrize("num_workers", [512, 1024, 4096])
def test_arctic_sixteen_ways_does_not_fit_80_gb(num_workers: int) -> None:
    memory = memory_per_worker(preset("arctic-480b"), ParallelConfig(num_workers, 16, sequence_length=4096))
    assert memory.states.total > 80e9
    assert not memory.fits(80e9)


def test_arctics_payload_per_token_layer_and_direction() -> None:
    config, parallel = preset("arctic-480b"), ParallelConfig(128, 128, sequence_length=4096)
    remote = 127 / 128
    per_token = traffic(config, parallel).dispatch_forward / (4096 * config.num_layers * remote)
    assert per_token == pytest.approx(28_672)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"num_workers": 6, "context_parallel_size": 4}, "context_parallel_size = 4 does not divide num_workers = 6"),
        ({"num_workers": 6, "context_parallel_size": 6}, "context_parallel_size = 6: sequences are cut into 12 chunks"),
        ({"num_workers": 6, "expert_parallel_size": 4}, "expert_parallel_size = 4 does not divide num_workers = 6"),
        ({"num_workers": 6, "expert_parallel_size": 3}, "expert_parallel_size = 3 does not divide num_experts = 4"),
        ({"num_workers": 0}, "num_workers = 0: must be at least 1"),
        ({"sequence_length": 256}, "sequence_length = 256 is more than max_positions = 128"),
        ({"zero_stage": 0}, "zero_stage = 0 with dtype = 'bfloat16' has no float32 master weights"),
        ({"dtype": "float32", "gradient_dtype": "bfloat16"}, "gradients of float32 are float32. Remove gradient_dtype"),
    ],
)
def test_what_cannot_be_is_refused(numbers: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        memory_per_worker(
            preset("tiny"),
            ParallelConfig(**{"num_workers": 2, "expert_parallel_size": 1, "sequence_length": 64} | numbers),
        )
