"""The recipe pages as frozen models: a field that is not declared here is an error.

Sections carry the names of the stages they configure. Units are in the field names.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from data_recipes.inputs import Input
from data_recipes.refining import FilterSection
from data_recipes.section import Fraction, Name, PositiveFloat, PositiveInt, Section

# ---------------------------------------------------------------- corpus: source


class SourceSection(Section):
    """Where the raw bytes come from and how text is taken from them."""

    inputs: Annotated[list[Input], Field(min_length=1)]
    extractor: Literal["cascade", "main_content", "all_text"] = "cascade"
    """HTML to text: resiliparse's main content, trafilatura for pages that pass cheap checks ("cascade");
    resiliparse's main content alone; or all visible text."""
    heldout_fraction: Fraction = 0.01
    """Share of documents kept from training for bits per byte (drawn by the digest of their group)."""
    max_quarantined_fraction: Fraction = 0.05
    """Share of unreadable records above which the stage fails."""


# ---------------------------------------------------------------- corpus: dedup


class DedupSection(Section):
    """Exact digests, then MinHash of word n-grams with verification on text."""

    ngram: PositiveInt = 5
    num_bands: PositiveInt = 16
    rows_per_band: PositiveInt = 8
    jaccard_threshold: Fraction = 0.8
    """Verified Jaccard of n-gram sets from which the lower-ranked document is a duplicate."""
    seed: int = 1


class CorpusRecipe(Section):
    """One corpus: source, filter, dedup."""

    name: Name
    description: str
    source: SourceSection
    filter: FilterSection = FilterSection()
    dedup: DedupSection = DedupSection()


# ---------------------------------------------------------------- run


class TokenizerSection(Section):
    """Byte-level BPE trained on a sample of all corpora."""

    vocab_size: Annotated[int, Field(ge=260, le=65_536)]
    sample_bytes_per_corpus: PositiveInt


class TokenizeSection(Section):
    """Encoding and packing."""

    sequence_length: Annotated[int, Field(ge=8)]
    """T: tokens the model predicts per sequence; stored sequences have T + 1."""


class PhaseSection(Section):
    """One segment of the curriculum."""

    name: Name
    tokens: PositiveInt
    """Training tokens of the phase; a multiple of sequence_length x global_batch_sequences."""
    weights: Annotated[dict[str, Fraction], Field(min_length=1)]
    """Share of the phase's tokens per corpus; they sum to 1."""

    @model_validator(mode="after")
    def _weights_sum_to_one(self) -> Self:
        total = sum(self.weights.values())
        if abs(total - 1.0) > 1e-9:
            parts = ", ".join(f"{name} {weight:.2f}" for name, weight in self.weights.items())
            mend = f"Add {1 - total:.4g} or rescale" if total < 1 else f"Take away {total - 1:.4g} or rescale"
            raise ValueError(f"weights sum to {total:.4g} ({parts}); they must sum to 1. {mend}.")
        return self


class MixSection(Section):
    """Rules that hold for every phase's order."""

    max_epochs: PositiveFloat = 4.0
    """Passes over one corpus, all phases together, above which the plan is refused."""
    seed: int = 0


class ModelSection(Section):
    """The architecture: a preset of `arctic_model.presets`, with fields replaced by name."""

    preset: Name
    overrides: dict[str, int | float | bool] = {}


class TrainSection(Section):
    """Optimisation, and how the work is spread. The spread never enters a stage's key."""

    global_batch_sequences: PositiveInt
    micro_batch_sequences: PositiveInt
    """Sequences per worker and forward pass."""
    peak_lr: PositiveFloat
    final_lr_fraction: Fraction = 0.1
    warmup_tokens: Annotated[int, Field(ge=0)] = 0
    decay_fraction: Fraction = 0.2
    """Share of all tokens, at the end of the run, over which the rate falls linearly (WSD)."""
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.1
    beta1: Fraction = 0.9
    beta2: Fraction = 0.95
    gradient_clip: PositiveFloat = 1.0
    balance_loss_coefficient: Annotated[float, Field(ge=0.0)] = 0.001
    z_loss_coefficient: Annotated[float, Field(ge=0.0)] = 0.0
    dtype: Literal["float32", "bfloat16"] = "float32"
    zero_stage: Literal[0, 1, 2] = 1
    checkpoint_every_steps: PositiveInt = 100
    seed: int = 0
    num_workers: PositiveInt = 1
    expert_parallel_size: PositiveInt = 1
    cpus_per_worker: PositiveFloat = 1.0
    gpus_per_worker: Annotated[float, Field(ge=0.0)] = 0.0
    threads_per_worker: PositiveInt = 1

    @model_validator(mode="after")
    def _batch_divides(self) -> Self:
        per_pass = self.micro_batch_sequences * self.num_workers
        if self.global_batch_sequences % per_pass:
            raise ValueError(
                f"global_batch_sequences {self.global_batch_sequences} is not a multiple of micro_batch_sequences x "
                f"num_workers = {self.micro_batch_sequences} x {self.num_workers} = {per_pass}. "
                f"Use {-(-self.global_batch_sequences // per_pass) * per_pass}."
            )
        if self.num_workers % self.expert_parallel_size:
            raise ValueError(
                f"expert_parallel_size {self.expert_parallel_size} does not divide num_workers {self.num_workers}. "
                "Choose a divisor."
            )
        return self


class EvaluateSection(Section):
    """Scores of a checkpoint."""

    heldout_bytes_per_corpus: PositiveInt
    """Bits per byte are measured on held-out documents up to this size."""
    text_to_sql_questions: Annotated[int, Field(ge=0)] = 0
    """Held-out questions to answer; 0 leaves the measure out."""
    max_new_tokens: PositiveInt = 64


class RunRecipe(Section):
    """One model: corpora, tokenizer, curriculum, architecture, training, evaluation."""

    name: Name
    description: str
    corpora: Annotated[list[str], Field(min_length=1)]
    """Corpus recipes as paths relative to this recipe's folder."""
    tokenizer: TokenizerSection
    tokenize: TokenizeSection
    mix: MixSection = MixSection()
    phases: Annotated[list[PhaseSection], Field(min_length=1)]
    model: ModelSection
    train: TrainSection
    evaluate: EvaluateSection

    @model_validator(mode="after")
    def _phases_are_whole_steps(self) -> Self:
        step_tokens = self.tokenize.sequence_length * self.train.global_batch_sequences
        for number, phase in enumerate(self.phases, start=1):
            if phase.tokens % step_tokens:
                nearest = max(1, round(phase.tokens / step_tokens)) * step_tokens
                raise ValueError(
                    f"phases[{number}].tokens = {phase.tokens} is not a whole number of steps of {step_tokens} tokens "
                    f"(sequence_length x global_batch_sequences). Use {nearest}."
                )
        names = [phase.name for phase in self.phases]
        if len(set(names)) < len(names):
            raise ValueError(f"phases have the names {names}; each name may stand once. Rename one.")
        return self
