"""How training is divided over workers and passes, and the rules about which divisions can work. No torch here.

Each rule is one function: a recipe's check, `arctic size`, the engine and the exchange of tokens all call it.
"""

from dataclasses import dataclass
from typing import Literal

from arctic_model.config import ArcticConfig, ConfigError, require_divisor

Dtype = Literal["float32", "bfloat16"]
Engine = Literal["deepspeed", "flat"]
FP8_WIDTH_MULTIPLE = 16
"""Elements: the kernels read 16 bytes at once."""
ELEMENT_BYTES = {"float32": 4, "bfloat16": 2}


@dataclass(frozen=True)
class ParallelConfig:
    """Workers (one GPU each) and passes of one run.

    A step is `num_micro_batches` passes of `micro_batch_sequences` sequences of `sequence_length` tokens on every
    worker, or on every group of `context_parallel_size` workers. Raises ConfigError if the numbers contradict each
    other.
    """

    num_workers: int
    expert_parallel_size: int
    sequence_length: int
    micro_batch_sequences: int = 1
    num_micro_batches: int = 1
    engine: Engine = "deepspeed"
    zero_stage: Literal[0, 1, 2, 3] = 2
    shard_group_size: int = 0
    """Workers that split the dense part between them; 0: all of them."""
    dtype: Dtype = "bfloat16"
    gradient_dtype: Dtype = "float32"
    fp8: bool = False
    """Whether the layers multiply in FP8."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    activation_checkpointing: Literal["none", "selective", "layer"] = "none"
    """See `arctic_model.layer.ForwardPolicy`."""
    context_parallel_size: int = 1
    """Workers that share each sequence."""

    def __post_init__(self) -> None:
        sizes = ("num_workers", "expert_parallel_size", "context_parallel_size")
        for name in (*sizes, "sequence_length", "micro_batch_sequences"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{{{name}}}: must be at least 1.", **{name: getattr(self, name)})
        require_expert_groups(self.expert_parallel_size, self.num_workers)
        require_dtypes(self.dtype, self.gradient_dtype, self.zero_stage, fp8=self.fp8)
        require_engine(self.engine, self.zero_stage, self.shard_group_size)
        require_shard_groups(self.shard_group_size, self.num_workers)
        require_context_groups(self.context_parallel_size, self.num_workers)
        require_even_chunks(self.context_parallel_size, self.sequence_length)

    @property
    def tokens(self) -> int:
        """Tokens of one pass of one worker."""
        return self.micro_batch_sequences * self.sequence_length // self.context_parallel_size

    @property
    def tokens_per_step(self) -> int:
        """Tokens of one step of all workers."""
        return self.tokens * self.num_micro_batches * self.num_workers

    @property
    def element_bytes(self) -> int:
        """Bytes of one weight or activation."""
        return ELEMENT_BYTES[self.dtype]

    @property
    def gradient_bytes(self) -> int:
        """Of one element of the gradients that are added up."""
        return ELEMENT_BYTES[self.gradient_dtype]

    @property
    def dense_shards(self) -> int:
        """Workers that share the optimizer states of the dense part."""
        if self.zero_stage == 0:
            return 1
        return self.shard_group_size or self.num_workers

    @property
    def expert_shards(self) -> int:
        """Workers that share the optimizer states of the same experts."""
        return self.expert_replicas if self.zero_stage else 1

    @property
    def expert_replicas(self) -> int:
        """Workers that hold the same experts."""
        return self.num_workers // self.expert_parallel_size

    def validate(self, model: ArcticConfig) -> None:
        """Raises ConfigError if `model` cannot be trained like this."""
        require_divided_experts(self.expert_parallel_size, model.num_experts)
        require_fp8_widths(model, fp8=self.fp8)
        if self.sequence_length > model.max_positions:
            raise ConfigError(
                "{sequence_length} is more than {max_positions}. Shorten the sequences or raise max_positions.",
                sequence_length=self.sequence_length,
                max_positions=model.max_positions,
            )


def require_expert_groups(expert_parallel_size: int, num_workers: int) -> None:
    """Raises ConfigError unless the workers form whole groups that each hold every expert."""
    require_divisor(expert_parallel_size=expert_parallel_size, num_workers=num_workers)


def require_shard_groups(shard_group_size: int, num_workers: int) -> None:
    """Raises ConfigError unless the workers form whole groups that split the dense part; 0 is one group of all."""
    if shard_group_size:
        require_divisor(shard_group_size=shard_group_size, num_workers=num_workers)


def require_context_groups(context_parallel_size: int, num_workers: int) -> None:
    """Raises ConfigError unless the workers form whole groups that each read sequences together."""
    require_divisor(context_parallel_size=context_parallel_size, num_workers=num_workers)


def require_even_chunks(context_parallel_size: int, sequence_length: int) -> None:
    """Raises ConfigError unless a sequence can be cut into two chunks for each of the workers that share it."""
    if context_parallel_size > 1 and sequence_length % (2 * context_parallel_size):
        raise ConfigError(
            f"{{context_parallel_size}}: sequences are cut into {2 * context_parallel_size} chunks, which do not "
            "divide {sequence_length}. Change one of the two.",
            context_parallel_size=context_parallel_size,
            sequence_length=sequence_length,
        )


def num_passes(
    global_batch_sequences: int, micro_batch_sequences: int, num_workers: int, context_parallel_size: int
) -> int:
    """Passes of a worker per step."""
    return global_batch_sequences * context_parallel_size // (micro_batch_sequences * num_workers)


def require_engine(engine: Engine, zero_stage: int, shard_group_size: int) -> None:
    """Raises ConfigError if the engine cannot split like this."""
    if engine == "deepspeed" and zero_stage == 3:
        raise ConfigError(
            '{zero_stage} with {engine}: only the flat engine splits weights. Set engine = "flat".',
            zero_stage=zero_stage,
            engine=engine,
        )
    if engine == "deepspeed" and shard_group_size:
        raise ConfigError(
            "{shard_group_size} with {engine}: only the flat engine splits within groups of workers. "
            'Set engine = "flat".',
            shard_group_size=shard_group_size,
            engine=engine,
        )
    if zero_stage == 0 and shard_group_size:
        raise ConfigError(
            "{shard_group_size} with {zero_stage}: nothing is split. Raise zero_stage, or remove shard_group_size.",
            shard_group_size=shard_group_size,
            zero_stage=zero_stage,
        )


def require_divided_experts(expert_parallel_size: int, num_experts: int) -> None:
    """Raises ConfigError unless each worker of a group holds equally many experts."""
    if num_experts == 0 and expert_parallel_size > 1:
        raise ConfigError(
            "{expert_parallel_size} with {num_experts}: there are no experts to share. Set expert_parallel_size = 1.",
            expert_parallel_size=expert_parallel_size,
            num_experts=num_experts,
        )
    require_divisor(expert_parallel_size=expert_parallel_size, num_experts=num_experts)


def require_dtypes(dtype: Dtype, gradient_dtype: Dtype, zero_stage: int, *, fp8: bool = False) -> None:
    """Raises ConfigError if weights, gradients and products of these dtypes cannot be trained."""
    if fp8 and dtype != "bfloat16":
        raise ConfigError(
            '{fp8} with {dtype}: products in FP8 have results in bfloat16. Set dtype = "bfloat16", or remove fp8.',
            fp8=fp8,
            dtype=dtype,
        )
    if dtype == "bfloat16" and zero_stage == 0:
        raise ConfigError(
            "{zero_stage} with {dtype} has no float32 master weights. Set zero_stage = 1.",
            zero_stage=zero_stage,
            dtype=dtype,
        )
    if dtype == "float32" and gradient_dtype == "bfloat16":
        raise ConfigError(
            "{gradient_dtype} with {dtype}: gradients of float32 are float32. "
            'Remove gradient_dtype, or set dtype = "bfloat16".',
            gradient_dtype=gradient_dtype,
            dtype=dtype,
        )


def require_fp8_widths(model: ArcticConfig, *, fp8: bool) -> None:
    """Raises ConfigError if a matrix of the layers has a width that products in FP8 refuse."""
    sizes = {"hidden_size": model.hidden_size, "dense_size": model.mlp_size}
    if model.num_experts:
        sizes["expert_size"] = model.expert_size
    rule = f"products in FP8 take widths that are multiples of {FP8_WIDTH_MULTIPLE}. Change it, or remove fp8."
    for name, width in sizes.items() if fp8 else ():
        if width % FP8_WIDTH_MULTIPLE:
            raise ConfigError(f"{{fp8}} with {{{name}}}: {rule}", fp8=fp8, **{name: width})
    if fp8 and model.key_size % FP8_WIDTH_MULTIPLE:
        heads = {"num_kv_heads": model.num_kv_heads, "head_size": model.head_dim}
        raise ConfigError(f"{{fp8}} with {{num_kv_heads}} and {{head_size}}: {rule}", fp8=fp8, **heads)
