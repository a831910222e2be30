"""Memory of one worker by part, by formula: what stays through a step, and what a step adds. No torch here.

docs/explanation/sizing.md derives every formula; the tests hold them against what torch and DeepSpeed really allocate.
"""

import math
from dataclasses import astuple, dataclass, replace

from arctic_model.config import ArcticConfig
from arctic_model.sizing.flops import count_parameters
from arctic_model.sizing.muon_cost import MuonGroup, muon_groups
from arctic_model.sizing.parallel import ParallelConfig
from arctic_model.sizing.reserve import Reserve, reserve

REDUCE_BUCKET_ELEMENTS = 500_000_000
"""DeepSpeed's own `reduce_bucket_size`: gradients on the way at once. It allocates the bucket whole."""
LOGITS_PER_CHUNK = 2**26
"""Logits that the fused loss holds at once on a GPU (`arctic_model.training.loss`)."""


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
class Host:
    """Bytes of one worker's machine beside its GPU: the float32 weights while the model is made, and from the first
    checkpoint on the copy that one is written from. On a CPU the first are the weights themselves."""

    first_weights: int
    checkpoint_copy: int

    @property
    def peak(self) -> int:
        """The first are gone before the copy is made."""
        return max(self.first_weights, self.checkpoint_copy)


@dataclass(frozen=True)
class Memory:
    """Bytes of one worker: its tensors by part, its machine's, and what its GPU must leave free beside the tensors."""

    states: States
    working: Working
    host: Host
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
    beside = reserve(held.total + added.peak, parallel.num_workers, parallel.expert_parallel_size)
    return Memory(held, added, host(config, parallel), beside)


def states(config: ArcticConfig, parallel: ParallelConfig) -> States:
    """Weights, gradients, float32 master weights and moments (Rajbhandari et al. 2019, arXiv 1910.02054, 3.1): two of
    each value with AdamW, one of those that Muon steps.

    ZeRO splits dense states over all workers and experts' over the workers that hold the same experts. At stage 0
    nothing is split, and the float32 weights are their own masters.
    """
    dense, experts = local_parameters(config, parallel)
    own_dense, own_experts = owned_parameters(config, parallel)
    gradient_dense, gradient_experts = (own_dense, own_experts) if parallel.zero_stage == 2 else (dense, experts)
    size = parallel.element_bytes
    return States(
        dense_weights=size * dense,
        expert_weights=size * experts,
        dense_gradients=parallel.gradient_bytes * gradient_dense,
        expert_gradients=parallel.gradient_bytes * gradient_experts,
        master_weights=4 * (own_dense + own_experts) if parallel.zero_stage else 0,
        moments=8 * (own_dense + own_experts) - 4 * sum(group.owned for group in muon(config, parallel)),
    )


def muon(config: ArcticConfig, parallel: ParallelConfig) -> tuple[MuonGroup, ...]:
    """The groups that Muon updates, none with AdamW."""
    if parallel.optimizer == "adamw":
        return ()
    parts = (parallel.num_workers, parallel.expert_replicas) if parallel.zero_stage else (1, 1)
    return muon_groups(config, config.num_experts // parallel.expert_parallel_size, parts)


def host(config: ArcticConfig, parallel: ParallelConfig) -> Host:
    """A checkpoint copies weights and moments in float32, every value once over all workers."""
    dense, experts = local_parameters(config, parallel)
    owned = math.ceil(dense / parallel.num_workers) + math.ceil(experts / parallel.expert_replicas)
    stepped = muon(config, replace(parallel, zero_stage=2))
    return Host(
        first_weights=4 * (dense + experts),
        checkpoint_copy=12 * owned - 4 * sum(group.owned for group in stepped),
    )


def local_parameters(config: ArcticConfig, parallel: ParallelConfig) -> tuple[int, int]:
    """Dense parameters and experts' that one worker computes with."""
    count = count_parameters(config)
    return count.dense, count.experts // parallel.expert_parallel_size


def owned_parameters(config: ArcticConfig, parallel: ParallelConfig) -> tuple[int, int]:
    """Dense parameters and experts' that one worker updates, padded to equal parts."""
    dense, experts = local_parameters(config, parallel)
    if parallel.zero_stage == 0:
        return dense, experts
    return math.ceil(dense / parallel.num_workers), math.ceil(experts / parallel.expert_replicas)


def working(config: ArcticConfig, parallel: ParallelConfig) -> Working:
    """Memory of a pass and of the update, beside the states."""
    return Working(
        activations=activation_bytes(config, parallel),
        logits_chunk=_logits_chunk(config, parallel),
        layer_backward=_layer_backward(config, parallel),
        communication_buffers=_reduce_buckets(config, parallel) + _exchange_buffers(config, parallel),
        update=_update(config, parallel),
    )


def activation_bytes(config: ArcticConfig, parallel: ParallelConfig) -> int:
    """Bytes stored for backward at the end of forward, at an even load of the experts.

    With checkpointed layers: the inputs of all layers, and everything of the one layer that is recomputed.
    """
    if parallel.activation_checkpointing != "layer":
        return config.num_layers * layer_activation_bytes(config, parallel) + shared_activation_bytes(config, parallel)
    return checkpointed_bytes(config, parallel) + layer_activation_bytes(config, parallel) - _hidden(config, parallel)


def checkpointed_bytes(config: ArcticConfig, parallel: ParallelConfig) -> int:
    """Bytes stored between forward and backward if each layer stores its input only."""
    return config.num_layers * _hidden(config, parallel) + shared_activation_bytes(config, parallel)


def layer_activation_bytes(config: ArcticConfig, parallel: ParallelConfig) -> int:
    """Bytes that one layer stores for backward.

    In units of N * D elements: input, normed input, queries, output of attention, sum after attention, normed sum, gate
    and up of the dense MLP: 8. Keys and values are G / H of that each. An assignment stores the row it sends and the
    row it gets back (2 * D), and 2 * F inside its expert. Selective checkpointing leaves some out.
    """
    tokens, size, width = parallel.tokens, parallel.element_bytes, config.hidden_size
    assignments = tokens * config.top_k
    dense = 8 * tokens * width + 2 * tokens * config.num_kv_heads * config.head_dim
    experts = assignments * (2 * width + 2 * config.expert_size)
    return (
        size * (dense + experts)
        + _router_bytes(config, parallel)
        + _attention_bytes(config, parallel)
        - _left_out(config, parallel)
    )


def _left_out(config: ArcticConfig, parallel: ParallelConfig) -> int:
    """Bytes that selective checkpointing does not store: the two normed inputs of the dense path, the float32 tokens
    and weights of the router, and the rows of the experts, unless an exchange brought them."""
    if parallel.activation_checkpointing != "selective":
        return 0
    return 2 * _hidden(config, parallel) + _router_inputs(config, parallel) + _recomputed_rows(config, parallel)


def _recomputed_rows(config: ArcticConfig, parallel: ParallelConfig) -> int:
    if parallel.activation_checkpointing != "selective" or parallel.expert_parallel_size > 1:
        return 0
    return config.top_k * _hidden(config, parallel)


def _router_bytes(config: ArcticConfig, parallel: ParallelConfig) -> int:
    """Beside what the gate reads: the token of each row and the row of each assignment, and with expert parallelism
    the two permutations of the arriving rows twice, are int64."""
    assignments = parallel.tokens * config.top_k
    permutations = 4 if parallel.expert_parallel_size > 1 else 2
    weights_and_choices = assignments * (4 + 8)
    return _router_inputs(config, parallel) + permutations * 8 * assignments + weights_and_choices


def _router_inputs(config: ArcticConfig, parallel: ParallelConfig) -> int:
    """The gate reads its tokens in float32, and its weights if they are in another dtype."""
    gate_weight = 0 if parallel.dtype == "float32" else 4 * config.num_experts * config.hidden_size
    return 4 * parallel.tokens * config.hidden_size + gate_weight


def _attention_bytes(config: ArcticConfig, parallel: ParallelConfig) -> int:
    """The three norms' scales and the scores' log-sums, in float32."""
    return 4 * parallel.tokens * (3 + config.num_heads)


def shared_activation_bytes(config: ArcticConfig, parallel: ParallelConfig) -> int:
    """Bytes stored once: the token ids, the rotation, the document mask [B, 1, T, T], the last norm, the two
    gradients that the fused loss has already made, and the router's logits and probabilities of all layers."""
    tokens, size = parallel.tokens, parallel.element_bytes
    rotation = 4 * tokens * config.head_dim
    final_norm = _hidden(config, parallel) + 4 * tokens
    head = _hidden(config, parallel) + size * config.vocab_size * config.hidden_size
    router = 4 * config.num_layers * (2 * tokens * config.num_experts + tokens + config.num_experts) + 4 * tokens
    mask = size * tokens * parallel.sequence_length
    return 8 * tokens + rotation + mask + final_norm + head + router


def _hidden(config: ArcticConfig, parallel: ParallelConfig) -> int:
    return parallel.element_bytes * parallel.tokens * config.hidden_size


def _logits_chunk(config: ArcticConfig, parallel: ParallelConfig) -> int:
    """One chunk of the fused loss: logits and float32 probabilities, below float32 the logits in float32 and the
    residual too; and the last hidden states with their copy for the loss."""
    rows = min(parallel.tokens, max(16, LOGITS_PER_CHUNK // config.vocab_size))
    if parallel.dtype == "float32":
        return rows * config.vocab_size * 8 + 2 * _hidden(config, parallel)
    # The gradient of the head is in float32 until it is complete, and counted in the dtype that it is rounded to.
    widened = (4 - parallel.element_bytes) * config.vocab_size * config.hidden_size
    return rows * config.vocab_size * 12 + 2 * _hidden(config, parallel) + widened


def _layer_backward(config: ArcticConfig, parallel: ParallelConfig) -> int:
    """The larger of two: a norm's backward in float32 with the gradients around it, about 20 bytes per token and
    width, and the gradients of all rows inside the experts, with the rows if they are recomputed."""
    norm = 20 * parallel.tokens * config.hidden_size
    rows = parallel.tokens * config.top_k * (3 * config.hidden_size + 2 * config.expert_size)
    return max(norm, parallel.element_bytes * rows + _recomputed_rows(config, parallel))


def _reduce_buckets(config: ArcticConfig, parallel: ParallelConfig) -> int:
    """DeepSpeed's bucket, no larger than the model, and the flat copy of what is in it that is sent. The bucket of
    stage 2 is in the dtype of the weights, and so there may be another copy in that of the gradients."""
    if parallel.zero_stage == 0:
        return 0
    size = parallel.gradient_bytes if parallel.zero_stage == 1 else parallel.element_bytes
    widened = parallel.gradient_bytes if size != parallel.gradient_bytes else 0
    return (2 * size + widened) * min(REDUCE_BUCKET_ELEMENTS, sum(local_parameters(config, parallel)))


def _exchange_buffers(config: ArcticConfig, parallel: ParallelConfig) -> int:
    """The rows that leave and those that arrive, of the one exchange that is in flight."""
    return 2 * config.top_k * _hidden(config, parallel) if parallel.expert_parallel_size > 1 else 0


def _update(config: ArcticConfig, parallel: ParallelConfig) -> int:
    """ZeRO's float32 gradient of one group of parameters at a time, with the flat copy it is made from, or with what
    Muon makes of it. Gradients that are added up in float32 below it are flat already, and counted among the states.
    Without ZeRO gradients are there already, and Muon takes one parameter after the other."""
    size, groups = parallel.element_bytes, muon(config, parallel)
    if parallel.zero_stage == 0:
        stack = [(config.expert_size, config.hidden_size)] * (config.num_experts // parallel.expert_parallel_size)
        largest = (MuonGroup(shapes, 1) for shapes in ([(config.hidden_size, config.hidden_size)], stack) if groups)
        return max((parameter.working_bytes(size) for parameter in largest), default=0)
    if parallel.gradient_dtype != parallel.dtype:
        return max((group.working_bytes(size) for group in groups), default=0)
    making = (4 + size) * max(owned_parameters(config, parallel))
    return max([making, *(4 * group.owned + group.working_bytes(size) for group in groups)])
