"""Duration of a step on GPUs, by formula: computation, exchanges hidden behind it, and exposed communication. No torch
here.

docs/explanation/sizing.md derives every formula. A prediction assumes an even load of the experts and no waiting for
data.
"""

from collections.abc import Mapping
from dataclasses import astuple, dataclass

from arctic_model.config import ArcticConfig
from arctic_model.sizing.activations import keys_bytes
from arctic_model.sizing.flops import forward_flops_per_token, num_mlps, training_flops_per_token
from arctic_model.sizing.memory import layers_dense, local_parameters, muon, owned_parameters
from arctic_model.sizing.parallel import Dtype, ParallelConfig

GPUS_PER_NODE = 8
"""GPUs that NVLink joins, each with a separate network card: the HGX board. The L40S comes eight to a machine too."""
UPDATE_BYTES_PER_PARAMETER = 50
"""Read and written in bfloat16 training: weight and moments in float32 24; the reduced gradient added to this worker's
part 12, clipped 8, read 4; the weight in bfloat16 2. Muon reads and writes the same: its mixed momentum has the size of
the second moment."""


@dataclass(frozen=True)
class Gpu:
    """One kind of GPU: dense peaks without sparsity and without TF32, memory, and bytes per second in one direction;
    price in US dollars."""

    bfloat16_flops: float
    float32_flops: float
    memory_bytes: float
    memory_bytes_per_s: float
    nvlink_bytes_per_s: float
    network_bytes_per_s: float
    price_per_hour: float

    def peak_flops(self, dtype: Dtype) -> float:
        """FLOPs per second in `dtype`."""
        return self.bfloat16_flops if dtype == "bfloat16" else self.float32_flops


GPUS: Mapping[str, Gpu] = {
    "a100": Gpu(312e12, 19.5e12, 80e9, 2.04e12, 300e9, 25e9, 1.5),
    "h100": Gpu(989e12, 67e12, 80e9, 3.35e12, 450e9, 50e9, 2.5),
    "h200": Gpu(989e12, 67e12, 141e9, 4.8e12, 450e9, 50e9, 3.0),
    "b200": Gpu(2250e12, 75e12, 180e9, 7.7e12, 900e9, 50e9, 5.0),
    "l40s": Gpu(362e12, 91.6e12, 48e9, 0.864e12, 32e9, 6.25e9, 1.0),
}
"""NVIDIA's data sheets of the SXM boards; HDR InfiniBand for the A100, NDR for the others. The L40S has PCIe 4.0
instead of NVLink, and an eighth of the 400 Gb/s of a machine of eight. The prices are assumptions to start from, not
quotations."""


def gpu_named(name: str) -> Gpu | None:
    """The GPU of a driver's name such as "NVIDIA H100 80GB HBM3". None if it is not one of GPUS, or a weaker board of
    the same chip (PCIe and NVL have other clocks)."""
    words = name.lower().replace("-", " ").split()
    if {"pcie", "nvl"} & set(words):
        return None
    return next((gpu for kind, gpu in GPUS.items() if kind in words), None)


@dataclass(frozen=True)
class Traffic:
    """Bytes that one worker sends in a step, to other workers, by kind."""

    dispatch_forward: float
    combine_forward: float
    combine_backward: float
    dispatch_backward: float
    dense_gradients: float
    expert_gradients: float
    dense_weights: float
    expert_weights: float
    cut_matrices: float
    keys_forward: float
    keys_backward: float

    @property
    def total(self) -> float:
        """Sum of all kinds."""
        return sum(astuple(self), 0.0)


@dataclass(frozen=True)
class Window:
    """One exchange of one pass through one layer, and the computation that runs meanwhile."""

    compute_s: float
    exchange_s: float

    @property
    def hidden_s(self) -> float:
        """The part of the exchange that the computation hides."""
        return min(self.compute_s, self.exchange_s)


@dataclass(frozen=True)
class Windows:
    """Dispatch behind attention and combine behind the dense MLP; in backward the reverse exchanges behind theirs."""

    dispatch_forward: Window
    combine_forward: Window
    combine_backward: Window
    dispatch_backward: Window

    @property
    def all(self) -> tuple[Window, ...]:
        """Forward, then backward."""
        return (self.dispatch_forward, self.combine_forward, self.combine_backward, self.dispatch_backward)

    @property
    def hidden_share(self) -> float:
        """Share of the time of all exchanges; 1 without exchanges."""
        total = sum(window.exchange_s for window in self.all)
        return sum(window.hidden_s for window in self.all) / total if total else 1.0


@dataclass(frozen=True)
class StepTime:
    """Seconds of one step by part, and their derived figures. `mfu` counts the operations of `training_flops_per_token`
    only, not the recomputation of checkpointing (Chowdhery et al. 2022, arXiv 2204.02311)."""

    compute_s: float
    exposed_exchange_s: float
    gradients_s: float
    weights_s: float
    update_s: float
    shared_keys_s: float
    tokens: int
    mfu: float

    @property
    def total_s(self) -> float:
        """Seconds of the whole step."""
        collectives_s = self.gradients_s + self.weights_s + self.shared_keys_s
        return self.compute_s + self.exposed_exchange_s + collectives_s + self.update_s

    @property
    def tokens_per_s(self) -> float:
        """Throughput of all workers together."""
        return self.tokens / self.total_s


@dataclass(frozen=True)
class Bill:
    """Time and cost of a number of tokens."""

    days: float
    gpu_hours: float
    cost: float


def traffic(config: ArcticConfig, parallel: ParallelConfig) -> Traffic:
    """Bytes sent per step and worker. Raises ConfigError if `config` cannot be trained like this.

    An assignment's row travels out and back, D elements each, unless its expert is here: 1 / expert_parallel_size of
    them at an even load. DeepSpeed reduces gradients by all-reduce, which sends 2 (n - 1) / n of them in a ring of n,
    at stage 2 in every pass; the weights' all-gather sends (n - 1) / n. The flat engine's reduce-scatter sends
    (n - 1) / n of them, and groups of workers all-reduce their parts once a step. Muon all-reduces the matrices that
    ZeRO cuts. Workers that share sequences gather each other's keys and values in every layer, and reduce-scatter the
    gradients.
    """
    parallel.validate(config)
    size, peers = parallel.element_bytes, 1 - 1 / parallel.expert_parallel_size
    rows = parallel.tokens * config.top_k * parallel.num_micro_batches * len(config.moe_layers)
    exchange = rows * config.hidden_size * size * peers
    forward = exchange * _forwards(parallel)
    dense, experts = local_parameters(config, parallel)
    owners = parallel.dense_shards, parallel.expert_shards
    keys = keys_bytes(config, parallel) * (parallel.context_parallel_size - 1)
    keys *= config.num_layers * parallel.num_micro_batches
    return Traffic(
        dispatch_forward=forward,
        combine_forward=forward,
        combine_backward=exchange,
        dispatch_backward=exchange,
        dense_gradients=dense * _gradient_bytes(parallel, parallel.num_workers, owners[0]),
        expert_gradients=experts * _gradient_bytes(parallel, parallel.expert_replicas, owners[1]),
        dense_weights=_ring(owners[0]) * size * (dense + _gathered_again(config, parallel)),
        expert_weights=_ring(owners[1]) * size * experts,
        cut_matrices=sum((2 * _ring(group.num_parts) * size * group.shared for group in muon(config, parallel)), 0.0),
        keys_forward=keys * _forwards(parallel),
        keys_backward=keys,
    )


def windows(config: ArcticConfig, parallel: ParallelConfig, gpu: Gpu, efficiency: float) -> Windows:
    """The exchanges of one layer with experts and one pass, and the computation that hides them, at `efficiency` of the
    peak.

    A shared expert hides only the dispatch to the experts; without a parallel dense MLP nothing is hidden.
    """
    flops = forward_flops_per_token(config, parallel.sequence_length)
    scale = parallel.tokens / (efficiency * gpu.peak_flops(parallel.dtype))
    attention, mlp = flops.attention * scale / config.num_layers, flops.dense_mlp * scale / max(1, num_mlps(config))
    exchange = _exchange_s(parallel.tokens * config.top_k * config.hidden_size * parallel.element_bytes, parallel, gpu)
    dispatch, combine = {"hybrid": (attention, mlp), "shared": (mlp, 0.0), "moe": (0.0, 0.0)}[config.layer_shape]
    return Windows(
        dispatch_forward=Window(dispatch, exchange),
        combine_forward=Window(combine, exchange),
        combine_backward=Window(2 * combine, exchange),
        dispatch_backward=Window(2 * dispatch, exchange),
    )


def step_time(config: ArcticConfig, parallel: ParallelConfig, gpu: Gpu, efficiency: float) -> StepTime:
    """One step, if computation reaches `efficiency` of the peak while it runs. Raises ValueError.

    DeepSpeed runs with `overlap_comm` off: reductions and all-gathers wait for nothing and hide behind nothing. The
    flat engine's reductions hide behind backward, and the gathers of stage 3 behind all computation. The update with
    Muon has its products too, and the exchange of the matrices that ZeRO cuts.
    """
    if not 0 < efficiency <= 1:
        raise ValueError(f"mfu = {efficiency:g}: a share of the peak, above 0 and at most 1.")
    parallel.validate(config)
    passes = parallel.tokens * parallel.num_micro_batches
    peak_flops = gpu.peak_flops(parallel.dtype)
    model_s = passes * training_flops_per_token(config, parallel.sequence_length) / peak_flops
    again = _layers_forward_flops(config, parallel) * passes * (_forwards(parallel) - 1)
    compute_s = (model_s + again / peak_flops) / efficiency
    gradients_s, weights_s = _exposed_collectives_s(config, parallel, gpu, compute_s)
    parts = {
        "compute_s": compute_s,
        "exposed_exchange_s": _exposed_s(config, parallel, windows(config, parallel, gpu, efficiency)),
        "gradients_s": gradients_s,
        "weights_s": weights_s,
        "update_s": _update_s(config, parallel, gpu, efficiency),
        "shared_keys_s": shared_keys_s(config, parallel, gpu),
    }
    return StepTime(**parts, tokens=parallel.tokens_per_step, mfu=model_s / sum(parts.values()))


def bill(tokens: int, tokens_per_s: float, num_workers: int, price_per_hour: float) -> Bill:
    """Days, GPU-hours and dollars of `tokens` at `tokens_per_s` of all workers together."""
    hours = tokens / tokens_per_s / 3600
    return Bill(hours / 24, hours * num_workers, hours * num_workers * price_per_hour)


def shared_keys_s(config: ArcticConfig, parallel: ParallelConfig, gpu: Gpu) -> float:
    """Seconds of a step in which attention waits for the keys and values of the workers that share its sequences."""
    sent = traffic(config, parallel)
    ring = _ring_bytes_per_s(parallel.context_parallel_size, GPUS_PER_NODE, gpu)
    return (sent.keys_forward + sent.keys_backward) / ring


def _reductions(parallel: ParallelConfig) -> int:
    """How often gradients are reduced in a step: stages 2 and 3 keep no whole gradients from pass to pass."""
    return parallel.num_micro_batches if parallel.zero_stage >= 2 else 1


def _gradient_bytes(parallel: ParallelConfig, holders: int, owners: int) -> float:
    """Bytes that each of `holders` sends in a step for one parameter, of whose gradient `owners` own a part each."""
    whole = parallel.gradient_bytes * _reductions(parallel)
    if parallel.engine == "deepspeed":
        return 2 * _ring(holders) * whole
    return _ring(owners) * whole + 2 * _ring(holders // owners) * parallel.gradient_bytes / owners


def _gathered_again(config: ArcticConfig, parallel: ParallelConfig) -> float:
    """Dense weights that stage 3 gathers beyond once a step: in forward and in backward of every pass, except the last
    layer, with which backward begins."""
    if parallel.zero_stage < 3:
        return 0.0
    gathers = parallel.num_micro_batches * (2 * config.num_layers - 1)
    return layers_dense(config) * (gathers / config.num_layers - 1)


def _forwards(parallel: ParallelConfig) -> int:
    """How often a layer's forward is computed; selective checkpointing makes no product and no exchange again."""
    return 2 if parallel.activation_checkpointing == "layer" else 1


def _ring(members: int) -> float:
    return (members - 1) / members


def _layers_forward_flops(config: ArcticConfig, parallel: ParallelConfig) -> int:
    """Per token; the head is no part of a layer."""
    flops = forward_flops_per_token(config, parallel.sequence_length)
    return flops.total - flops.head


def _exposed_s(config: ArcticConfig, parallel: ParallelConfig, layer: Windows) -> float:
    """Exposed time of the exchanges of a step. Checkpointing runs forward, and its exchanges, twice."""
    exposed = [window.exchange_s - window.hidden_s for window in layer.all]
    per_layer = _forwards(parallel) * sum(exposed[:2]) + sum(exposed[2:])
    return per_layer * len(config.moe_layers) * parallel.num_micro_batches


def _exchange_s(row_bytes: int, parallel: ParallelConfig, gpu: Gpu) -> float:
    """An all-to-all: traffic within the node uses NVLink while the rest goes through the network."""
    members = parallel.expert_parallel_size
    near = min(members, GPUS_PER_NODE)
    inside, outside = (near - 1) / members * row_bytes, (members - near) / members * row_bytes
    return max(inside / gpu.nvlink_bytes_per_s, outside / gpu.network_bytes_per_s)


def _update_s(config: ArcticConfig, parallel: ParallelConfig, gpu: Gpu, efficiency: float) -> float:
    memory_s = UPDATE_BYTES_PER_PARAMETER * sum(owned_parameters(config, parallel)) / gpu.memory_bytes_per_s
    products = sum(group.flops for group in muon(config, parallel)) / (efficiency * gpu.peak_flops(parallel.dtype))
    rings = _gradient_rings(parallel, gpu)
    cut = sum(
        2 * _ring(group.num_parts) * parallel.element_bytes * group.shared / rings[group.of_experts]
        for group in muon(config, parallel)
    )
    return memory_s + products + cut


def _collectives_s(config: ArcticConfig, parallel: ParallelConfig, gpu: Gpu) -> tuple[float, float]:
    """Seconds of a step's gradient reductions, and of its weights' all-gather."""
    sent = traffic(config, parallel)
    dense, experts = _gradient_rings(parallel, gpu)
    return (
        sent.dense_gradients / dense + sent.expert_gradients / experts,
        sent.dense_weights / dense + sent.expert_weights / experts,
    )


def _exposed_collectives_s(
    config: ArcticConfig, parallel: ParallelConfig, gpu: Gpu, compute_s: float
) -> tuple[float, float]:
    """The exposed part of `_collectives_s` in a step of `compute_s`, a third of which is forward."""
    gradients_s, weights_s = _collectives_s(config, parallel, gpu)
    if parallel.engine == "deepspeed":
        return gradients_s, weights_s
    backward_s = compute_s * 2 / 3 * _reductions(parallel) / parallel.num_micro_batches
    exposed_s = max(0.0, gradients_s - backward_s)
    if parallel.zero_stage < 3:
        return exposed_s, weights_s
    return exposed_s, max(0.0, weights_s - (compute_s - min(gradients_s, backward_s)))


def _gradient_rings(parallel: ParallelConfig, gpu: Gpu) -> tuple[float, float]:
    """Bytes per second and member of the rings over all workers, and over those that hold the same experts: expert
    groups are neighbours, so the members of such a ring are expert_parallel_size apart."""
    near = max(1, GPUS_PER_NODE // parallel.expert_parallel_size)
    return (
        _ring_bytes_per_s(parallel.shard_group_size or parallel.num_workers, GPUS_PER_NODE, gpu),
        _ring_bytes_per_s(parallel.expert_replicas, near, gpu),
    )


def _ring_bytes_per_s(members: int, members_per_node: int, gpu: Gpu) -> float:
    """Bytes that each member of a ring sends per second: a node's rings leave it through the cards of all its
    members."""
    if members <= members_per_node:
        return gpu.nvlink_bytes_per_s
    return min(gpu.nvlink_bytes_per_s, members_per_node * gpu.network_bytes_per_s)
