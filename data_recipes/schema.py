"""The recipe pages as frozen models: a field that is not declared here is an error.

Sections carry the names of the stages they configure. Units are in the field names.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from data_recipes.inputs import Input
from data_recipes.refining import FilterSection, ScoreSection
from data_recipes.section import Fraction, Name, PositiveFloat, PositiveInt, Section

# ---------------------------------------------------------------- corpus: source


class SourceSection(Section):
    """Where the raw bytes come from and how text is taken from them."""

    inputs: Annotated[list[Input], Field(min_length=1)]
    extractor: Literal["cascade", "main_content", "all_text"] = "cascade"
    """HTML to text: the page's main part without what surrounds it, by trafilatura where that is in doubt ("cascade");
    resiliparse's main content alone; or all visible text."""
    heldout_fraction: Fraction = 0.01
    """Share of documents kept from training for bits per byte (drawn by the digest of their group)."""
    max_quarantined_fraction: Fraction = 0.05
    """Share of unreadable records above which the stage fails; the share of whole files that cannot be had is held
    against it too."""


# ---------------------------------------------------------------- corpus: dedup


class DedupSection(Section):
    """Exact digests, then MinHash of word n-grams with verification on text."""

    ngram: PositiveInt = 5
    num_bands: PositiveInt = 16
    rows_per_band: Annotated[int, Field(gt=0, le=32)] = 8
    seed: int = 1
    jaccard_threshold: Fraction = 0.8
    """Verified Jaccard of n-gram sets from which the lower-ranked document is a duplicate."""
    containment_threshold: Fraction | None = None
    """Share of a document's n-grams that a better-ranked one has, from which it is a duplicate too; none: no share."""
    max_bucket: PositiveInt = 1000
    """Kept documents of one band bucket that are compared; further ones only where a second signature agrees."""
    against: list[Name] = []
    """Earlier corpora, best first, whose kept documents rank before all of this one."""
    max_removed_fraction: Fraction = 0.5
    """Share of the documents of an origin, or of all, above which their removal raises an alarm."""
    max_cluster_size: PositiveInt = 10_000
    """Members above which a cluster raises an alarm."""
    on_alarm: Literal["warn", "stop"] = "warn"
    """What an alarm does: it stands in the report ("warn"), or fails the stage as well ("stop")."""


class CorpusRecipe(Section):
    """One corpus: source, score, filter, dedup."""

    name: Name
    description: str
    source: SourceSection
    score: ScoreSection = ScoreSection()
    filter: FilterSection = FilterSection()
    dedup: DedupSection = DedupSection()


# ---------------------------------------------------------------- run


class TokenizerSection(Section):
    """Byte-level BPE, trained on a sample of all corpora or taken as it is."""

    vocab_size: Annotated[int, Field(ge=260, le=1_048_576)]
    """Ids that the model has; the tokenizer has as many or fewer."""
    sample_bytes_per_corpus: PositiveInt | None = None
    """UTF-8 bytes of training text of each corpus to train on; needed without `path`."""
    path: str = ""
    """An existing byte-level `tokenizer.json` to take instead of training one; relative to the recipe. It is tried on
    hostile texts: one that changes them is refused, Unicode's composition of letters is only warned of, and random
    encoding (BPE-dropout) is switched off."""
    end_token: str = ""
    """The special token of the tokenizer at `path` that ends a text; here one stands before each document too."""

    @model_validator(mode="after")
    def _trained_or_taken(self) -> Self:
        if bool(self.path) == bool(self.sample_bytes_per_corpus):
            raise ValueError(
                f"path = {self.path!r} and sample_bytes_per_corpus = {self.sample_bytes_per_corpus}: give one of the "
                "two, a tokenizer that exists or the bytes to train one on."
            )
        if bool(self.path) != bool(self.end_token):
            raise ValueError(
                f"end_token = {self.end_token!r} with path = {self.path!r}: a tokenizer that exists needs the name of "
                "its end token, such as <|endoftext|>, and one that is trained has its own. Set both or none."
            )
        return self


class TokenizeSection(Section):
    """Encoding and packing."""

    sequence_length: Annotated[int, Field(ge=8)]
    """T: tokens the model predicts per sequence; stored sequences have T + 1."""


class PhaseSection(Section):
    """One segment of the curriculum: `weights` of `tokens`, or `tokens_per_corpus`."""

    name: Name
    tokens: PositiveInt
    """Training tokens of the phase; a multiple of sequence_length x global_batch_sequences. With `tokens_per_corpus`
    it is their sum and may be left out."""
    weights: dict[str, Fraction] = {}
    """Share of the phase's tokens per corpus; they sum to 1."""
    weights_to: dict[str, Fraction] = {}
    """Shares at the phase's end: they move in a straight line from `weights`, by tokens read. Empty: they stay."""
    tokens_per_corpus: dict[str, Annotated[int, Field(ge=0)]] = {}
    """Exact training tokens per corpus, each a multiple of sequence_length; instead of `weights`."""
    order: Literal["shuffled", "easy_to_hard"] = "shuffled"
    """Order of a corpus' sequences: a keyed permutation, or by the score `order_by`, lowest first, pass by pass."""
    order_by: str = ""
    """Numeric column of the stage `score`, such as `words`; a sequence has the mean over its tokens."""

    @property
    def corpora(self) -> list[str]:
        """Names of the corpora that the phase reads, sorted."""
        shares = (self.weights, self.weights_to, self.tokens_per_corpus)
        return sorted({name for share in shares for name, value in share.items() if value})

    @model_validator(mode="before")
    @classmethod
    def _tokens_are_the_sum(cls, page: Any) -> Any:
        if isinstance(page, dict) and "tokens" not in page and isinstance(page.get("tokens_per_corpus"), dict):
            return page | {"tokens": sum(page["tokens_per_corpus"].values())}
        return page

    @model_validator(mode="after")
    def _budgets_are_given_once(self) -> Self:
        if bool(self.weights) == bool(self.tokens_per_corpus):
            given = "both" if self.weights else "neither"
            raise ValueError(f"weights or tokens_per_corpus: {given} is given. Give one of them.")
        if self.weights_to and not self.weights:
            raise ValueError("weights_to: there is no weights for it to start from. Add weights.")
        total = sum(self.tokens_per_corpus.values())
        if self.tokens_per_corpus and total != self.tokens:
            raise ValueError(f"tokens = {self.tokens}, but tokens_per_corpus sum to {total}. Leave tokens out.")
        if (self.order == "easy_to_hard") != bool(self.order_by):
            raise ValueError(
                f"order_by = {self.order_by!r} with order = {self.order!r}: a column belongs to easy_to_hard. "
                "Give both or neither."
            )
        return self

    @model_validator(mode="after")
    def _weights_sum_to_one(self) -> Self:
        for field, weights in (("weights", self.weights), ("weights_to", self.weights_to)):
            total = sum(weights.values())
            if weights and abs(total - 1.0) > 1e-9:
                parts = ", ".join(f"{name} {weight:.2f}" for name, weight in weights.items())
                mend = f"Add {1 - total:.4g} or rescale" if total < 1 else f"Take away {total - 1:.4g} or rescale"
                raise ValueError(f"{field} sum to {total:.4g} ({parts}); they must sum to 1. {mend}.")
        return self


class MixSection(Section):
    """Rules that hold for every phase's order."""

    max_epochs: PositiveFloat = 4.0
    """Passes over one corpus, all phases together, above which the plan is refused."""
    max_epochs_per_corpus: dict[str, PositiveFloat] = {}
    """The same for single corpora, by name."""
    quality_power: dict[str, PositiveFloat] = {}
    """By corpus: how often a pass reads a sequence, in whole times, follows the power p of its quality (the score
    `quality`, mean over tokens); a pass stays as long as it is, so the worst sequences are left out."""
    rehydrate: list[str] = []
    """Corpora whose sequences a pass reads as often as `copies_by_cluster_size` says of their documents."""
    copies_by_cluster_size: list[Annotated[list[PositiveInt], Field(min_length=2, max_length=2)]] = [
        [1, 1],
        [2, 2],
        [3, 3],
        [5, 5],
        [100, 8],
        [1000, 1],
    ]
    """Pairs of a cluster's size, before dedup, and copies from that size on (FineWeb-2, arXiv 2506.20920)."""
    seed: int = 0

    @model_validator(mode="after")
    def _sizes_ascend_from_one(self) -> Self:
        sizes = [size for size, _ in self.copies_by_cluster_size]
        if sizes != sorted(set(sizes)) or sizes[:1] != [1]:
            raise ValueError(f"copies_by_cluster_size has the sizes {sizes}; they must ascend from 1. Sort them.")
        return self

    def epochs_of(self, corpus: str) -> float:
        """Passes over a corpus above which the plan is refused."""
        return self.max_epochs_per_corpus.get(corpus, self.max_epochs)


class ModelSection(Section):
    """The architecture: a preset of `arctic_model.presets`, with fields replaced by name."""

    preset: Name
    overrides: dict[str, int | float | bool] = {}


class TrainSection(Section):
    """Optimisation, and how the work is spread. The spread never enters a stage's key."""

    global_batch_sequences: PositiveInt
    micro_batch_sequences: PositiveInt
    """Sequences per worker and forward pass."""
    optimizer: Literal["adamw", "muon"] = "muon"
    """Muon for the layers' matrices (each expert one) and AdamW for the rest, or AdamW for everything."""
    peak_lr: PositiveFloat
    embedding_lr_factor: PositiveFloat = 1.0
    """With Muon: rate of the embeddings, which AdamW steps, as a share of the schedule's."""
    head_lr_factor: PositiveFloat = 1.0
    """The same of the head."""
    gate_lr_factor: PositiveFloat = 1.0
    """The same of the routers' gates."""
    norm_lr_factor: PositiveFloat = 1.0
    """The same of the norms' gains."""
    schedule: Literal["wsd", "cosine"] = "wsd"
    """Stay at the peak and fall at the end, or fall by a cosine from the end of warm-up on. The cosine depends on the
    run's length from its first phase on: a later phase that grows builds every phase anew."""
    final_lr_fraction: Fraction = 0.1
    """The rate at the end of the run as a share of peak_lr."""
    warmup_tokens: Annotated[int, Field(ge=0)] = 0
    decay_fraction: Fraction = 0.2
    """WSD: share of all tokens, at the end of the run, over which the rate falls linearly."""
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.1
    beta1: Fraction = 0.9
    beta2: Fraction = 0.95
    gradient_clip: PositiveFloat = 1.0
    spike_factor: Annotated[float, Field(gt=1.0)] = 10.0
    """A step is skipped where its gradient norm is above this many times the median, or it or the loss is no number."""
    spike_window_steps: Annotated[int, Field(ge=4)] = 128
    """Taken steps that the median is over; nothing is above it before half of them are taken."""
    max_skipped_steps: Annotated[int, Field(ge=0)] = 10
    """Steps that may be skipped among any spike_window_steps; one more stops the run."""
    balance_loss_coefficient: Annotated[float, Field(ge=0.0)] = 0.01
    """Weight of the router's balance loss."""
    z_loss_coefficient: Annotated[float, Field(ge=0.0)] = 0.0
    balance_bias_rate: Fraction = 0.0
    """Balance without a loss: each step moves every expert's bias in the choice of experts by this much, against its
    load (the paper: 0.001). 0: no bias. Set balance_loss_coefficient = 0 to leave the balance to it alone."""
    capacity_factor: Annotated[float, Field(ge=0.0)] = 0.0
    """Of each sequence an expert takes the first ceil(capacity_factor x sequence_length x top_k / num_experts) tokens
    that choose it; later ones are dropped, and counted. 0: no token is dropped. Evaluation drops none."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    gradient_dtype: Literal["float32", "bfloat16"] = "float32"
    """In which gradients are added up, over the passes of a step and over workers. bfloat16 halves their traffic, and
    loses up to half of a sum that 1,024 workers agree on."""
    zero_stage: Literal[0, 1, 2] = 1
    checkpoint_every_steps: PositiveInt = 100
    keep_last_checkpoints: PositiveInt = 2
    """While a phase trains; at its end its last one is kept for good. With 1 there is none to fall back on."""
    keep_best_checkpoints: Annotated[int, Field(ge=0)] = 0
    """Beside the last: those with the lowest mean training loss over the steps since the checkpoint before."""
    seed: int = 0
    num_workers: PositiveInt = 1
    expert_parallel_size: PositiveInt = 1
    cpus_per_worker: PositiveFloat = 1.0
    gpus_per_worker: Annotated[float, Field(ge=0.0)] = 0.0
    threads_per_worker: PositiveInt = 1
    collective_timeout_s: PositiveFloat = 600.0
    """Workers that wait longer for another one stop, and name it."""
    peak_tflops: PositiveFloat | None = None
    """Peak of one worker in TFLOP/s, which MFU is a share of. Without it that of the GPU, if it is known; else there
    is no MFU."""
    price_per_worker_hour: PositiveFloat | None = None
    """What a worker costs an hour, in your currency: with it the report says what each checkpoint cost."""
    profile_steps: Annotated[str, Field(pattern=r"^(\d+:\d+)?$")] = ""
    """First and last step (10:13) of a profiler's trace of worker 0, written beside the result and to MLflow."""
    activation_checkpointing: Literal["none", "selective", "layer"] = "none"
    """"selective" makes norms, casts and gathers again in backward, no product and no exchange; "layer" keeps each
    layer's input only and computes the layer again, about a third more work. Less memory, the same bits."""

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
    """Bits per byte are measured on held-out documents up to this size in all."""
    heldout_bytes_per_document: PositiveInt = 4096
    """Of a longer document only sequences spread evenly over it are scored, up to this size: many documents make a
    score surer than a few whole ones."""
    text_to_sql_questions: Annotated[int, Field(ge=0)] = 0
    """Held-out questions to answer; 0 leaves the measure out."""
    max_new_tokens: PositiveInt = 64
    """Of an answer to such a question; tasks have their own."""
    tasks: list[Name] = []
    """Tasks and suites (enterprise, academic, smoke) to measure as well."""
    data_root: str = "../../eval_data"
    """Folder of their data (see `arctic eval-data`); relative to the recipe."""
    items_per_task: PositiveInt | None = None
    """At most so many items of each task, drawn by the digest of their id; none: all (32 in the suite smoke)."""
    num_actors: PositiveInt = 1
    """Copies of the model that answer side by side; one alone works in the stage's own process."""
    cpus_per_actor: PositiveFloat = 0.5
    gpus_per_actor: Annotated[float, Field(ge=0.0)] = 0.0
    tokens_per_batch: PositiveInt = 8192
    """Of what an actor is given at a time: what a kill costs at most."""
    unsafe_execution: Literal["", "i accept unsafe execution"] = ""
    """These words let answers run on a machine that cannot confine them; without them it is refused there."""


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
            for corpus, tokens in phase.tokens_per_corpus.items():
                if tokens % self.tokenize.sequence_length:
                    raise ValueError(
                        f"phases[{number}].tokens_per_corpus.{corpus} = {tokens} is not a whole number of sequences of "
                        f"{self.tokenize.sequence_length} tokens. Use a multiple."
                    )
        names = [phase.name for phase in self.phases]
        if len(set(names)) < len(names):
            raise ValueError(f"phases have the names {names}; each name may stand once. Rename one.")
        return self
