"""The model that a run trains, and how."""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Discriminator, Field, Tag, field_validator, model_validator
from pydantic_core import PydanticCustomError

from data_recipes.section import (
    LARGEST,
    NUMBER,
    RANGE,
    Count,
    Fraction,
    Name,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    Section,
    Seed,
    require_whole_gpus,
)


class ModelSection(Section):
    """The architecture: a preset of `arctic_model.presets` with individual fields replaced."""

    preset: Name
    """Name of the preset, such as `quickstart` or `arctic-480b`."""
    overrides: dict[str, int | Annotated[float, Field(allow_inf_nan=True)] | bool | str] = {}
    """Fields of `ArcticConfig` to replace, such as `{num_layers = 8, num_experts = 16}`. Other shapes are
    `{num_experts = 0}` (dense), `{layer_shape = "shared"}` (a shared expert) and `{layer_shape = "moe"}` (experts
    instead of the dense MLP)."""
    init_from: str = ""
    """Folder of the weights before the first step, relative to the recipe: a checkpoint, a result of `train` in any
    store, or a Hugging Face directory of an Arctic model or a dense one (llama, mistral, qwen2, qwen3). With
    `num_experts` above 0 a dense model is made into experts and scores the same at step 0. If empty, weights are
    drawn."""
    init_optimizer: bool = False
    """Whether the optimizer state comes from the checkpoint at `init_from` too. Otherwise it begins at zero."""

    @model_validator(mode="after")
    def _optimizer_comes_with_weights(self) -> Self:
        if self.init_optimizer and not self.init_from:
            raise ValueError(
                "init_optimizer = true without init_from: there is no optimizer state to take. Set init_from, or "
                "remove it."
            )
        return self


LAYOUT_FIELDS = frozenset(
    (
        *("num_workers", "expert_parallel_size", "context_parallel_size"),
        *("cpus_per_worker", "gpus_per_worker", "threads_per_worker"),
        *("micro_batch_sequences", "activation_checkpointing", "collective_timeout_s"),
        *("engine", "zero_stage", "shard_group_size", "deterministic", "nccl_max_ctas"),
        *("checkpoint_every_steps", "keep_last_checkpoints", "keep_best_checkpoints", "keep_every_steps"),
        *("keep_weights_every_steps", "keep_optimizer_states"),
        *("peak_tflops", "price_per_worker_hour", "profile_steps"),
    )
)
"""How the work is divided, saved and watched. It changes nothing but rounding, and is part of no key."""


def _each_once(parts: list[str]) -> list[str]:
    twice = [part for number, part in enumerate(parts) if part in parts[:number]]
    if twice:
        raise PydanticCustomError("repeated", "{part} occurs twice", {"part": twice[0]})
    return sorted(parts)


ModelPart = Literal["embeddings", "attention", "dense", "router", "experts", "norms", "head"]
"""A part of a model that can be frozen."""


def _number_or_range(value: Any) -> str:
    return RANGE if isinstance(value, list | tuple) else NUMBER


NumberOrRange = Annotated[
    Annotated[PositiveInt, Tag(NUMBER)] | Annotated[list[PositiveInt], Field(min_length=2, max_length=2), Tag(RANGE)],
    Discriminator(_number_or_range),
]
"""A fixed number, or the fewest and the most."""


class TrainSection(Section):
    """Optimization, and the parallel layout, which never enters a stage's key."""

    global_batch_sequences: PositiveInt
    """Sequences per optimizer step, over all workers."""
    micro_batch_sequences: PositiveInt
    """Sequences per worker and forward pass, or per group of `context_parallel_size` workers."""
    optimizer: Literal["adamw", "muon"] = "muon"
    """Optimizer of the layers' matrices: Muon, with each expert as a separate matrix and AdamW for all other parameters
    ("muon"), or AdamW for everything ("adamw")."""
    peak_lr: PositiveFloat
    """Peak learning rate. Muon's updates are scaled to the size of AdamW's, so the value means the same for both."""
    embedding_lr_factor: PositiveFloat = 1.0
    """Learning rate of the embeddings relative to the schedule. With Muon only; AdamW updates them."""
    head_lr_factor: PositiveFloat = 1.0
    """Learning rate of the output head relative to the schedule. With Muon only."""
    gate_lr_factor: PositiveFloat = 1.0
    """Learning rate of the router gates relative to the schedule. With Muon only."""
    norm_lr_factor: PositiveFloat = 1.0
    """Learning rate of the norm gains relative to the schedule. With Muon only."""
    schedule: Literal["wsd", "cosine"] = "wsd"
    """Learning-rate schedule: constant with a linear decay at the end ("wsd"), or a cosine from the end of warm-up
    ("cosine"). The cosine depends on the length of the whole run: extending a later phase rebuilds every phase."""
    final_lr_fraction: Fraction = 0.1
    """Learning rate at the end of the run as a fraction of `peak_lr`."""
    warmup_tokens: Count = 0
    """Tokens over which the learning rate rises linearly from zero."""
    decay_fraction: Fraction = 0.2
    """Fraction of the run's tokens, at its end, over which the learning rate decays linearly. With `wsd` only."""
    weight_decay: NonNegativeFloat = 0.1
    """Decoupled weight decay of matrices. Norm gains do not decay."""
    beta1: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.9
    """Decay rate of AdamW's first moment."""
    beta2: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.95
    """Decay rate of AdamW's second moment."""
    gradient_clip: PositiveFloat = 1.0
    """Maximum norm of the gradient over all workers and experts; a larger gradient is scaled down to it."""
    spike_factor: Annotated[float, Field(gt=1.0)] = 10.0
    """Skip a step if its gradient norm exceeds `spike_factor` times the running median, or if the norm or the loss is
    not finite."""
    spike_window_steps: Annotated[int, Field(ge=4, le=LARGEST)] = 128
    """Number of recent accepted steps in the running median. No norm is too large until half of the window is
    filled."""
    max_skipped_steps: Count = 10
    """Maximum number of skipped steps among any `spike_window_steps` steps. One more stops the run."""
    balance_loss_coefficient: NonNegativeFloat = 0.01
    """Weight of the router's load-balancing loss."""
    z_loss_coefficient: NonNegativeFloat = 0.0
    """Weight of the router's z-loss (mean squared log-partition)."""
    balance_bias_rate: Fraction = 0.0
    """Loss-free balancing: amount by which each step moves every expert's selection bias against its load (the paper
    uses 0.001); 0 disables it. Set `balance_loss_coefficient` to 0 to rely on the bias alone."""
    capacity_factor: Annotated[float, Field(ge=0.0, le=1e6)] = 0.0
    """Expert capacity: of each sequence, an expert takes the first ceil(capacity_factor x sequence_length x top_k /
    num_experts) tokens that select it; later ones are dropped and counted. 0 drops no token. Evaluation never drops
    tokens."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Data type of the forward and backward passes."""
    gradient_dtype: Literal["float32", "bfloat16"] = "float32"
    """Data type in which gradients are summed over the passes of a step and over workers. bfloat16 halves the traffic
    but loses up to half of a sum that 1,024 workers agree on."""
    fp8: bool = False
    """Whether attention, dense MLP and experts multiply in FP8 (e4m3) with a scale per row, forward and for the
    gradients of inputs; everything else stays in bfloat16. Needs `dtype = "bfloat16"`, layers whose widths are
    multiples of 16, and H100 or H200 GPUs. CPUs round to the same numbers, only slower."""
    engine: Literal["deepspeed", "flat"] = "deepspeed"
    """Engine that holds and reduces gradients: DeepSpeed, or flat buffers that are reduced layer by layer during
    backward. Both write the same checkpoints."""
    zero_stage: Literal[0, 1, 2, 3] = 1
    """ZeRO stage: partition nothing (0), optimizer states (1), gradients as well (2), or the weights of the layers'
    dense part as well (3, with `engine = "flat"`)."""
    shard_group_size: Count = 0
    """Number of neighbouring workers that partition the dense part between them, such as the GPUs of one machine
    (HSDP). 0 partitions it over all workers. With `engine = "flat"` only."""
    checkpoint_every_steps: PositiveInt = 100
    """Number of optimizer steps between two checkpoints."""
    keep_last_checkpoints: PositiveInt = 2
    """Number of most recent checkpoints to keep during a phase; its last checkpoint is kept for good. With 1, a damaged
    checkpoint has no predecessor to fall back on."""
    keep_best_checkpoints: Count = 0
    """Number of additional checkpoints to keep during a phase: those with the lowest mean training loss over the
    100 steps before. They are deleted when the phase is done."""
    keep_every_steps: Count = 0
    """Keep each checkpoint whose step is a multiple of this, also after its phase is done, so that an amendment can go
    on from it: a multiple of `checkpoint_every_steps`. 0 keeps none."""
    keep_weights_every_steps: Count = 0
    """Keep the weights alone, in bfloat16 and without optimizer state, of each checkpoint whose step is a multiple of
    this, as a Hugging Face directory next to the result: for evaluation and export. A multiple of
    `checkpoint_every_steps`. 0 keeps none."""
    keep_optimizer_states: Literal["all", "last"] = "all"
    """Optimizer states that stay: of every phase ("all"), or, once the next phase is trained, of that one alone
    ("last"). Weights stay, and fine-tunes keep nothing else then. To train a next phase again, the phase before must
    be trained again first. "last" needs a store on a disk."""
    freeze: Annotated[list[ModelPart], AfterValidator(_each_once)] = []
    """Parts of the model that are not trained: their weights and optimizer state stay as they are, and no gradient of
    theirs is computed. "router" includes its selection biases, "norms" all norms. Mostly of a phase:
    `phases.N.train.freeze`. `[]` there trains everything again."""
    seed: Seed = 0
    """Random seed of the initial weights."""
    num_workers: NumberOrRange = 1
    """Number of training workers. Each is a process with its own GPU or CPUs. With `[fewest, most]`, training continues
    with fewer workers after a node is lost, and with more when the cluster has room for them again; the batch stays the
    same, and the loss too except for rounding. Numbers in between are used if they divide the batch."""
    expert_parallel_size: PositiveInt = 1
    """Number of workers that share one copy of the experts."""
    context_parallel_size: PositiveInt = 1
    """Number of neighbouring workers that share each sequence, for sequences that are too long for one: each has a part
    of the tokens, and attention gathers the keys and values of all. Twice this number divides the sequence length."""
    cpus_per_worker: PositiveFloat = 1.0
    """CPUs that each worker reserves."""
    gpus_per_worker: Fraction = 0.0
    """GPUs that each worker reserves."""
    threads_per_worker: Annotated[int, Field(gt=0, le=4096)] = 1
    """CPU threads per worker."""
    collective_timeout_s: Annotated[float, Field(gt=0.0, le=31_536_000.0)] = 600.0
    """Seconds that a worker waits for another one before it stops and names it."""
    deterministic: bool = True
    """Whether every sum has a fixed order, so that a run that was killed and continued has the same bits as one that
    was not. On a GPU false allows faster kernels, such as flash attention's usual backward."""
    nccl_max_ctas: Annotated[int, Field(ge=0, le=64)] = 0
    """Limit to the multiprocessors of a GPU that one collective may take from computation (`NCCL_MAX_CTAS`). 0 leaves
    it to NCCL."""
    peak_tflops: PositiveFloat | None = None
    """Peak of one worker in TFLOP/s, the denominator of MFU. If unset, the data sheet of a recognized GPU is used;
    otherwise MFU is not reported."""
    price_per_worker_hour: PositiveFloat | None = None
    """Price per worker-hour in your currency, from which the report computes the cost of each checkpoint, and a plan
    that of every stage: one that has no workers counts as one."""
    profile_steps: Annotated[str, Field(pattern=r"^(\d+:\d+)?$")] = ""
    """First and last step of a profiler trace of worker 0, such as "10:13", written next to the result and to MLflow.
    Empty disables it."""
    activation_checkpointing: Literal["none", "selective", "layer"] = "none"
    """Recomputation in backward: of norms, casts and gathers, but of no product and no exchange ("selective"), or of
    whole layers from their input, about a third more work ("layer"). Saves memory; results are identical to the bit."""

    @field_validator("zero_stage", mode="before")
    @classmethod
    def _stage_is_a_number(cls, value: Any) -> Any:
        # True equals 1, and would be another value in a stage's key.
        if isinstance(value, bool):
            raise PydanticCustomError("literal_error", "input should be 0, 1, 2 or 3")
        return value

    @property
    def worker_range(self) -> tuple[int, int]:
        """The fewest and the most workers."""
        if isinstance(self.num_workers, int):
            return self.num_workers, self.num_workers
        fewest, most = self.num_workers
        return fewest, most

    @property
    def worker_counts(self) -> list[int]:
        """All numbers of workers that divide the batch and are whole groups, ascending."""
        fewest, most = self.worker_range
        most_passes = self.global_batch_sequences // self.micro_batch_sequences * self.context_parallel_size
        multiples = self.expert_parallel_size, self.context_parallel_size, self.shard_group_size or 1
        return [
            count
            for count in range(fewest, most + 1)
            if most_passes % count == 0 and not any(count % multiple for multiple in multiples)
        ]

    @model_validator(mode="after")
    def _fewest_workers_are_fewer(self) -> Self:
        fewest, most = self.worker_range
        if fewest > most or (fewest == most and not isinstance(self.num_workers, int)):
            raise ValueError(
                f"num_workers = {self.num_workers}: the first number must be below the second. Set {most} for a fixed "
                "number."
            )
        return self

    @model_validator(mode="after")
    def _batch_divides(self) -> Self:
        context = self.context_parallel_size
        for num_workers in self.worker_range:
            per_pass = self.micro_batch_sequences * num_workers // context
            # Another rule refuses workers that do not form whole groups.
            if num_workers % context == 0 and self.global_batch_sequences % per_pass:
                product = f"{self.micro_batch_sequences} x {num_workers}" + (f" / {context}" if context > 1 else "")
                shared = " / context_parallel_size" if context > 1 else ""
                raise ValueError(
                    f"global_batch_sequences = {self.global_batch_sequences} is not a multiple of "
                    f"micro_batch_sequences x num_workers{shared} = {product} = {per_pass}. "
                    f"Use {-(-self.global_batch_sequences // per_pass) * per_pass}."
                )
        return self

    @model_validator(mode="after")
    def _capacity_counts_whole_sequences(self) -> Self:
        if self.capacity_factor and self.context_parallel_size > 1:
            raise ValueError(
                f"context_parallel_size = {self.context_parallel_size} with capacity_factor = "
                f"{self.capacity_factor:g}: a capacity counts the tokens of whole sequences, and a worker has parts of "
                "them. Set one to its default."
            )
        return self

    @model_validator(mode="after")
    def _workers_have_whole_gpus(self) -> Self:
        if self.worker_range[1] > 1:
            require_whole_gpus("gpus_per_worker", self.gpus_per_worker, "num_workers", self.num_workers)
        return self

    @model_validator(mode="after")
    def _skipped_steps_stop_the_run(self) -> Self:
        if self.max_skipped_steps >= self.spike_window_steps:
            raise ValueError(
                f"max_skipped_steps = {self.max_skipped_steps} of spike_window_steps = {self.spike_window_steps}: one "
                "that skips every step would never stop. Lower it."
            )
        return self

    @model_validator(mode="after")
    def _kept_checkpoints_are_written(self) -> Self:
        every = self.checkpoint_every_steps
        for name in ("keep_every_steps", "keep_weights_every_steps"):
            steps = getattr(self, name)
            if steps % every:
                raise ValueError(
                    f"{name} = {steps} is not a multiple of checkpoint_every_steps = {every}, so no such checkpoint is "
                    f"written. Use {-(-steps // every) * every}."
                )
        return self

    @model_validator(mode="after")
    def _profile_has_steps(self) -> Self:
        first, last = map(int, (self.profile_steps or "1:1").split(":"))
        if not 1 <= first <= last:
            raise ValueError(
                f"profile_steps = {self.profile_steps!r}: steps count from 1, first to last. Use 10:13, for example."
            )
        return self
