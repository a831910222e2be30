"""Fine-tuning of a checkpoint on conversations: its data and its settings."""

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from data_recipes.section import Fraction, NonNegativeFloat, PositiveFloat, PositiveInt, Section, Text
from data_recipes.sections.training import TrainSection

SubjectName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9._-]{0,63}$")]
"""A name that is not a number, since phases have numbers."""


class LoraSection(Section):
    """Low-rank adapters (LoRA): pairs of small matrices that are trained on frozen weights, with AdamW. The result
    holds them in PEFT's format, and a checkpoint in which they are merged."""

    rank: Annotated[int, Field(gt=0, le=4096)] = 16
    """Rank of the adapters."""
    alpha: PositiveFloat = 32.0
    """Scale of the adapters, times the rank."""
    rslora: bool = False
    """Scale by alpha / sqrt(rank) instead of alpha / rank."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Probability that an element of an adapter's input is left out in training. PEFT has none for experts."""
    targets: Annotated[list[Literal["attention", "dense", "experts"]], Field(min_length=1)] = ["attention", "dense"]
    """Parts of each layer whose matrices get an adapter: attention and the dense MLP, which every token passes, and the
    experts, each with separate adapters."""
    quantize_base: bool = False
    """Hold the frozen matrices of the layers in FP8 (e4m3 with a scale per block of 128 x 128, as `to = "fp8"` exports
    them): a byte per weight. The result is the adapters merged into the quantized matrices."""
    trained_tokens: list[Text] = []
    """Tokens whose rows of the embedding and of the head are trained as well, such as `"<|im_start|>"` and
    `"<|im_end|>"`, which a base has never read."""

    @model_validator(mode="after")
    def _peft_has_the_format(self) -> Self:
        if self.dropout and "experts" in self.targets:
            raise ValueError(
                f'dropout = {self.dropout:g} with "experts" in targets: PEFT has no dropout for experts, so it could '
                "not load the adapter. Set dropout = 0, or remove the target."
            )
        for field, names in (("targets", self.targets), ("trained_tokens", self.trained_tokens)):
            if twice := [name for number, name in enumerate(names) if name in names[:number]]:
                raise ValueError(f"{field} = {names}: {twice[0]!r} occurs twice. Remove one.")
        return self


class DpoSection(Section):
    """Direct preference optimization (DPO): the preferred answer of a pair is made more probable, and the other one
    less, compared with the checkpoint that the fine-tune starts from."""

    beta: PositiveFloat = 0.1
    """How strongly the result is held near its start: a smaller value lets answers move further away."""
    label_smoothing: Annotated[float, Field(ge=0.0, lt=0.5)] = 0.0
    """Probability that a pair is labelled the wrong way round."""


class FinetuneSection(Section):
    """One fine-tune: a checkpoint that goes on from another one with conversations. Fields of `[train]` that are not
    listed here apply to it as well; its steps and tokens count from 0, and its optimizer starts with fresh state."""

    model_config = ConfigDict(serialize_by_alias=True, validate_by_name=False)

    name: SubjectName
    """Name of the fine-tune in plans, in MLflow and in the store, such as "instruct"."""
    base: Annotated[Text, Field(alias="from")]
    """Checkpoint to start from: the name of a phase or of a fine-tune above, or a folder, written with a slash and
    relative to the recipe: a checkpoint, a result of `train` or `finetune` in any store, or a Hugging Face directory of
    an Arctic model or a dense one (llama, mistral, qwen2, qwen3). `[model]` and `tokenizer.path` must be those of the
    weights in it."""
    weights: dict[str, Fraction] = {}
    """Fraction of the fine-tune's tokens per corpus; the fractions sum to 1. Needs `tokens`. In addition to
    conversations, you may name a corpus that a phase reads: its documents are trained on again, so that less of them is
    forgotten."""
    tokens: PositiveInt | None = None
    """Tokens to train on, those of prompts and padding included: a multiple of sequence_length x
    global_batch_sequences. Needs `weights`."""
    epochs: dict[str, PositiveFloat] = {}
    """Number of epochs per corpus, instead of `tokens` and `weights`; all are rounded to whole steps."""
    peak_lr: PositiveFloat
    """Peak learning rate."""
    schedule: Literal["cosine", "wsd"] = "cosine"
    """Learning-rate schedule: a cosine from the end of warm-up ("cosine"), or constant with a linear decay over the
    last fifth ("wsd")."""
    warmup_fraction: Fraction = 0.03
    """Fraction of the tokens over which the learning rate rises linearly from zero."""
    final_lr_fraction: Fraction = 0.1
    """Learning rate at the end as a fraction of `peak_lr`."""
    weight_decay: NonNegativeFloat = 0.0
    """Decoupled weight decay of matrices."""
    objective: Literal["sft", "dpo"] = "sft"
    """Learn to write the answers of conversations ("sft"), or to prefer the better of two answers ("dpo"). "dpo" reads
    corpora of preference pairs."""
    dpo: DpoSection | None = None
    """Settings of the objective "dpo", if they are not the defaults."""
    lora: LoraSection | None = None
    """Train low-rank adapters and freeze all weights. If unset, every weight is trained."""
    global_batch_sequences: PositiveInt | None = None
    """Sequences per optimizer step. By default, as in `[train]`."""

    @property
    def is_from_folder(self) -> bool:
        """Whether it starts from weights in a folder."""
        return "/" in self.base

    @property
    def corpora(self) -> list[str]:
        """Names of the corpora that it reads, sorted."""
        return sorted(name for name, value in {**self.weights, **self.epochs}.items() if value)

    @property
    def preference(self) -> DpoSection | None:
        """Settings of the objective "dpo", None for another objective."""
        return (self.dpo or DpoSection()) if self.objective == "dpo" else None

    @property
    def trained_tokens(self) -> list[str]:
        """Tokens whose rows adapters leave free to learn."""
        return self.lora.trained_tokens if self.lora else []

    def tokens_name(self, corpus: str) -> str:
        """Subject of the stage `tokenize` of a corpus: pairs of answers are packed in their own way."""
        return f"{corpus}.pairs" if self.preference else corpus

    def train_section(self, train: TrainSection) -> TrainSection:
        """`[train]` as it applies to this fine-tune. Raises ValidationError."""
        changes: dict[str, Any] = {
            "peak_lr": self.peak_lr,
            "schedule": self.schedule,
            "final_lr_fraction": self.final_lr_fraction,
            "weight_decay": self.weight_decay,
            "warmup_tokens": 0,
            "profile_steps": "",
        }
        if self.lora:
            # Muon is made for matrices that map hidden states to hidden states, and the routers are frozen.
            changes |= {"optimizer": "adamw", "balance_bias_rate": 0.0, "freeze": [], "keep_weights_every_steps": 0}
            # Frozen matrices are multiplied in the dtype of the adapters.
            changes["fp8"] = False
        if self.global_batch_sequences is not None:
            changes["global_batch_sequences"] = self.global_batch_sequences
        return TrainSection.model_validate({**train.as_params(), **changes})

    @model_validator(mode="after")
    def _settings_have_their_objective(self) -> Self:
        if self.dpo and self.objective != "dpo":
            raise ValueError(f'dpo is set, but objective = "{self.objective}". Set objective = "dpo", or remove dpo.')
        return self

    @model_validator(mode="after")
    def _data_is_given_once(self) -> Self:
        by_weight = bool(self.weights) and self.tokens is not None
        if by_weight == bool(self.epochs) or bool(self.weights) != (self.tokens is not None):
            raise ValueError(
                f"weights = {self.weights}, tokens = {self.tokens}, epochs = {self.epochs}: data is given twice or not "
                "at all. Give weights and tokens, or epochs alone."
            )
        total = sum(self.weights.values())
        if self.weights and abs(total - 1.0) > 1e-9:
            raise ValueError(f"weights sum to {total:.4g}; they must sum to 1. Rescale them.")
        return self
