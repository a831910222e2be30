"""Memory of one worker by part, by formula: the part that stays through a step, and the part that a step adds. No torch
here.

docs/explanation/sizing.md derives every formula; the tests compare them with the memory that torch and DeepSpeed really
allocate.
"""

import math
from dataclasses import astuple, dataclass, replace

from arctic_model.config import ArcticConfig
from arctic_model.sizing.activations import activation_bytes, hidden_bytes, keys_bytes, recomputed_rows
from arctic_model.sizing.flops import count_parameters
from arctic_model.sizing.muon_cost import MuonGroup, muon_groups
from arctic_model.sizing.parallel import ParallelConfig
from arctic_model.sizing.reserve import Reserve, reserve

REDUCE_BUCKET_ELEMENTS = 500_000_000
"""DeepSpeed's own `reduce_bucket_size`: gradients on the way at once. It allocates the bucket whole."""
FLAT_BUCKETS = 3
"""Buckets of gradients that the flat engine holds at once: two on their way, and one that is filled."""
LOGITS_PER_CHUNK = 2**26
"""Logits that the fused loss holds at once on a GPU (`arctic_model.training.losses.cross_entropy`)."""


@dataclass(frozen=True)
class States:
    """Bytes that stay through a step on one worker."""

    dense_weights: int
    expert_weights: int
    dense_gradients: int
    expert_gradients: int
    master_weights: int
    moments: int

    @property
    def total(self) -> int:
        """Sum of all parts."""
        return sum(astuple(self))


@dataclass(frozen=True)
class Working:
    """Bytes that a step adds on one worker. Not all at once: see `peak`."""

    activations: int
    logits_chunk: int
    layer_backward: int
    communication_buffers: int
    update: int

    @property
    def peak(self) -> int:
        """The most of three moments: the loss at the end of forward, the last layer's backward, and the update."""
        in_loss = self.activations + self.logits_chunk
        in_backward = self.activations + self.layer_backward + self.communication_buffers
        return max(in_loss, in_backward, self.update)


@dataclass(frozen=True)
class Memory:
    """Bytes of one worker: its tensors by part, the reserve on its GPU, and in its machine's memory the copy that a
    checkpoint is written from. First weights are drawn or read one matrix at a time."""

    states: States
    working: Working
    checkpoint_copy: int
    reserve: Reserve

    @property
    def total(self) -> int:
        """The most that tensors take at one moment."""
        return self.states.total + self.working.peak

    def fits(self, memory_bytes: float) -> bool:
        """Whether a GPU of `memory_bytes` holds the tensors and the reserve."""
        return self.total + self.reserve.total <= memory_bytes


def memory_per_worker(config: ArcticConfig, parallel: ParallelConfig) -> Memory:
    """Bytes of one worker. Raises ConfigError if `config` cannot be trained like this."""
    parallel.validate(config)
    held, added = states(config, parallel), working(config, parallel)
    groups = parallel.num_workers, parallel.expert_parallel_size, parallel.context_parallel_size
    beside = reserve(held.total + added.peak, *groups)
    return Memory(held, added, checkpoint_copy(config, parallel), beside)


def states(config: ArcticConfig, parallel: ParallelConfig) -> States:
    """Weights, gradients, float32 master weights and moments (Rajbhandari et al. 2019, arXiv 1910.02054, 3.1): two of
    each value with AdamW, one of those that Muon steps.

    ZeRO splits dense states over all workers, or over each group of them, and experts' over the workers that hold the
    same experts. Float32 weights are their own masters in the flat engine, and at stage 0, which splits nothing.
    """
    dense, experts = local_parameters(config, parallel)
    own_dense, own_experts = owned_parameters(config, parallel)
    gradient_dense, gradient_experts = (own_dense, own_experts) if parallel.zero_stage >= 2 else (dense, experts)
    size = parallel.element_bytes
    return States(
        dense_weights=size * (dense - _sharded_weights(config, parallel)),
        expert_weights=size * experts,
        dense_gradients=parallel.gradient_bytes * gradient_dense,
        expert_gradients=parallel.gradient_bytes * gradient_experts,
        master_weights=4 * (own_dense + own_experts) if has_masters(parallel) else 0,
        moments=8 * (own_dense + own_experts) - 4 * sum(group.owned for group in muon(config, parallel)),
    )


def has_masters(parallel: ParallelConfig) -> bool:
    """Whether there are float32 weights in addition to those of the products."""
    return parallel.zero_stage > 0 and not (parallel.engine == "flat" and parallel.dtype == "float32")


def muon(config: ArcticConfig, parallel: ParallelConfig) -> tuple[MuonGroup, ...]:
    """The groups that Muon updates, none with AdamW."""
    if parallel.optimizer == "adamw":
        return ()
    parts = (parallel.dense_shards, parallel.expert_shards)
    by_layer = parallel.engine == "flat"
    return muon_groups(config, config.num_experts // parallel.expert_parallel_size, parts, by_layer=by_layer)


def checkpoint_copy(config: ArcticConfig, parallel: ParallelConfig) -> int:
    """A checkpoint copies weights and moments in float32, every value once over all workers."""
    dense, experts = local_parameters(config, parallel)
    owned = math.ceil(dense / parallel.num_workers) + math.ceil(experts / parallel.expert_replicas)
    stepped = muon(config, replace(parallel, zero_stage=2, shard_group_size=0))
    return 12 * owned - 4 * sum(group.owned for group in stepped)


def local_parameters(config: ArcticConfig, parallel: ParallelConfig) -> tuple[int, int]:
    """Dense parameters and experts' that one worker computes with."""
    count = count_parameters(config)
    return count.dense, count.experts // parallel.expert_parallel_size


def owned_parameters(config: ArcticConfig, parallel: ParallelConfig) -> tuple[int, int]:
    """Dense parameters and experts' that one worker updates, padded to equal parts."""
    dense, experts = local_parameters(config, parallel)
    return math.ceil(dense / parallel.dense_shards), math.ceil(experts / parallel.expert_shards)


def layers_dense(config: ArcticConfig) -> int:
    """Dense parameters of all layers: without embedding, last norm and head."""
    ends = (1 if config.tied_head else 2) * config.vocab_size * config.hidden_size + config.hidden_size
    return count_parameters(config).dense - ends


def _sharded_weights(config: ArcticConfig, parallel: ParallelConfig) -> int:
    """Dense weights that a worker leaves to others, between the passes of their layers."""
    if parallel.zero_stage < 3:
        return 0
    layers = layers_dense(config)
    return layers - math.ceil(layers / parallel.dense_shards)


def working(config: ArcticConfig, parallel: ParallelConfig) -> Working:
    """Memory of a pass and of the update, in addition to the states."""
    return Working(
        activations=activation_bytes(config, parallel),
        logits_chunk=_logits_chunk(config, parallel),
        layer_backward=_layer_backward(config, parallel),
        communication_buffers=_buffers(config, parallel) + _exchange_buffers(config, parallel),
        update=_update(config, parallel),
    )


def _logits_chunk(config: ArcticConfig, parallel: ParallelConfig) -> int:
    """One chunk of the fused loss: logits and float32 probabilities, below float32 the logits in float32 and the
    residual too; and the last hidden states with their copy for the loss."""
    rows = min(parallel.tokens, max(16, LOGITS_PER_CHUNK // config.vocab_size))
    if parallel.dtype == "float32":
        return rows * config.vocab_size * 8 + 2 * hidden_bytes(config, parallel)
    # The gradient of the head is in float32 until it is complete, and counted in the dtype that it is rounded to.
    widened = (4 - parallel.element_bytes) * config.vocab_size * config.hidden_size
    return rows * config.vocab_size * 12 + 2 * hidden_bytes(config, parallel) + widened


def _layer_backward(config: ArcticConfig, parallel: ParallelConfig) -> int:
    """The larger of two: a norm's backward in float32 with the gradients around it, about 20 bytes per token and
    width, and the gradients of all rows inside the experts, with the rows if they are recomputed."""
    norm = 20 * parallel.tokens * config.hidden_size
    if not config.moe_layers:
        return norm
    rows = parallel.tokens * config.top_k * (3 * config.hidden_size + 2 * config.expert_size)
    return max(norm, parallel.element_bytes * rows + recomputed_rows(config, parallel))


def _buffers(config: ArcticConfig, parallel: ParallelConfig) -> int:
    """Tensors on the way to other workers or from them."""
    if parallel.engine == "flat":
        return _flat_buffers(config, parallel)
    return reduce_buckets(sum(local_parameters(config, parallel)), parallel)


def _flat_buffers(config: ArcticConfig, parallel: ParallelConfig) -> int:
    """The gradients of one layer as backward leaves them, or of the embedding if they are more; at stages 2 and 3 those
    of three buckets on their way, and at stage 3 the weights of two layers, the second one ahead of its use."""
    layer, experts = math.ceil(layers_dense(config) / config.num_layers), 0
    if config.moe_layers:
        experts = local_parameters(config, parallel)[1] // len(config.moe_layers)
    end = config.vocab_size * config.hidden_size
    gradients = parallel.element_bytes * max(layer + experts, end)
    if parallel.zero_stage >= 2:
        buckets = [end, end, *[layer if parallel.dense_shards > 1 else 0] * 3]
        buckets += [experts if parallel.expert_shards > 1 else 0] * 3
        gradients += parallel.gradient_bytes * sum(sorted(buckets)[-FLAT_BUCKETS:])
    return gradients + (2 * parallel.element_bytes * layer if parallel.zero_stage == 3 else 0)


def reduce_buckets(num_trained: int, parallel: ParallelConfig) -> int:
    """DeepSpeed's bucket, no larger than a worker's trained parameters, and the flat copy of its content that is sent.
    The bucket of stage 2 is in the dtype of the weights, so there may be another copy in that of the gradients."""
    if parallel.zero_stage == 0:
        return 0
    size = parallel.gradient_bytes if parallel.zero_stage == 1 else parallel.element_bytes
    widened = parallel.gradient_bytes if size != parallel.gradient_bytes else 0
    return (2 * size + widened) * min(REDUCE_BUCKET_ELEMENTS, num_trained)


def _exchange_buffers(config: ArcticConfig, parallel: ParallelConfig) -> int:
    """The rows that leave and those that arrive, of the one exchange that is in flight; and of keys and values, whose
    sequences several workers share, the whole gradient and its copy by worker."""
    rows = 2 * config.top_k * hidden_bytes(config, parallel) if parallel.expert_parallel_size > 1 else 0
    shared = parallel.context_parallel_size
    return rows + (2 * shared * keys_bytes(config, parallel) if shared > 1 else 0)


def _update(config: ArcticConfig, parallel: ParallelConfig) -> int:
    """DeepSpeed's float32 gradient of one group of parameters at a time, with the flat copy it is made from, or with
    Muon's working memory. Gradients that are added up in float32 below it, and those without ZeRO, are counted among
    the states. The flat engine has float32 copies of gradients that it adds up in bfloat16, all at once."""
    size, groups = parallel.element_bytes, muon(config, parallel)
    batch = max((group.batch_bytes(size) for group in groups), default=0)
    if parallel.engine == "flat":
        copies = sum(owned_parameters(config, parallel)) if parallel.gradient_dtype == "bfloat16" else 0
        return 4 * copies + batch + size * sum(group.shared for group in groups)
    if parallel.zero_stage == 0 or parallel.gradient_dtype != parallel.dtype:
        return max((group.working_bytes(size) for group in groups), default=0)
    making = (4 + size) * max(owned_parameters(config, parallel))
    return max([making, *(4 * group.owned + group.working_bytes(size) for group in groups)])
