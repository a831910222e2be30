"""The recipe pages as frozen models: a field that is not declared here is an error.

Sections carry the names of the stages they configure. Units are in the field names.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from data_recipes.curriculum import MixSection, PhaseSection
from data_recipes.inputs import Input
from data_recipes.refining import FilterSection, ScoreSection
from data_recipes.section import Fraction, Name, PositiveFloat, PositiveInt, Section

# ---------------------------------------------------------------- corpus: source


class SourceSection(Section):
    """Where raw bytes come from and how text is extracted from them."""

    inputs: Annotated[list[Input], Field(min_length=1)]
    """Inputs of the corpus, read in order. The field `kind` selects the type of each."""
    extractor: Literal["cascade", "main_content", "all_text"] = "cascade"
    """How to extract text from HTML: the main content, with trafilatura as the second opinion in doubtful cases
    ("cascade"); resiliparse's main content alone ("main_content"); or all visible text ("all_text")."""
    heldout_fraction: Fraction = 0.01
    """Fraction of documents held out from training to measure bits per byte, selected by the hash of their group."""
    max_quarantined_fraction: Fraction = 0.05
    """Fraction of unreadable records above which the stage fails. The fraction of unavailable files is checked
    separately against the same limit."""


# ---------------------------------------------------------------- corpus: dedup


class DedupSection(Section):
    """Exact digests, then MinHash over word n-grams, verified on the text."""

    ngram: PositiveInt = 5
    """Length of a shingle in words."""
    num_bands: PositiveInt = 16
    """Number of LSH bands. Each band indexes every document once."""
    rows_per_band: Annotated[int, Field(gt=0, le=32)] = 8
    """Number of MinHash values per band. A larger value lists fewer, more similar pairs."""
    seed: int = 1
    """Random seed of the hash permutations."""
    jaccard_threshold: Fraction = 0.8
    """Jaccard similarity of the n-gram sets, verified on the text, at which the lower-ranked document is a
    duplicate."""
    containment_threshold: Fraction | None = None
    """Fraction of a document's n-grams that a better-ranked document contains, at which it is also a duplicate.
    Disabled if unset."""
    max_bucket: PositiveInt = 1000
    """Maximum number of kept documents compared per LSH bucket; beyond it, a second signature must also match."""
    against: list[Name] = []
    """Names of earlier corpora, best first. Their kept documents rank above every document of this corpus."""
    max_removed_fraction: Fraction = 0.5
    """Fraction of an origin's documents, or of all documents, above which their removal raises an alarm."""
    max_cluster_size: PositiveInt = 10_000
    """Number of documents in a cluster above which the cluster raises an alarm."""
    on_alarm: Literal["warn", "stop"] = "warn"
    """Effect of an alarm: report it ("warn") or also fail the stage ("stop")."""


class CorpusRecipe(Section):
    """One corpus: source, score, filter, dedup."""

    name: Name
    """Name of the corpus: 1 to 64 lower-case letters, digits, dots, hyphens or underscores."""
    description: str
    """One line about the corpus, shown in the report and in MLflow."""
    source: SourceSection
    """Where raw bytes come from and how text is extracted."""
    score: ScoreSection = ScoreSection()
    """Measurements on every document."""
    filter: FilterSection = FilterSection()
    """Limits on the scores."""
    dedup: DedupSection = DedupSection()
    """Exact and near-duplicate removal."""


# ---------------------------------------------------------------- run


class TokenizerSection(Section):
    """Byte-level BPE, trained on a sample of all corpora or loaded from a file."""

    vocab_size: Annotated[int, Field(ge=260, le=1_048_576)]
    """Number of token ids of the model. The tokenizer has at most this many."""
    sample_bytes_per_corpus: PositiveInt | None = None
    """UTF-8 bytes of training text to sample from each corpus. Required unless `path` is set."""
    path: str = ""
    """Existing byte-level `tokenizer.json` to use instead of training one, relative to the recipe. It is tested on
    adversarial text: a tokenizer that alters text is rejected, Unicode composition only raises a warning, and random
    encoding (BPE dropout) is switched off."""
    end_token: str = ""
    """Special token of the tokenizer at `path` that ends a text. Here, one also precedes each document."""

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
    """Number of tokens T that the model predicts per sequence. Stored sequences have T + 1 tokens."""


class ModelSection(Section):
    """The architecture: a preset of `arctic_model.presets` with individual fields replaced."""

    preset: Name
    """Name of the preset, such as `quickstart` or `arctic-480b`."""
    overrides: dict[str, int | float | bool] = {}
    """Fields of `ArcticConfig` to replace, such as `{num_layers = 8, num_experts = 16}`."""


class TrainSection(Section):
    """Optimization, and the parallel layout, which never enters a stage's key."""

    global_batch_sequences: PositiveInt
    """Sequences per optimizer step, over all workers."""
    micro_batch_sequences: PositiveInt
    """Sequences per worker and forward pass."""
    optimizer: Literal["adamw", "muon"] = "muon"
    """Optimizer of the layers' matrices: Muon, with each expert as a matrix of its own and AdamW for all other
    parameters ("muon"), or AdamW for everything ("adamw")."""
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
    warmup_tokens: Annotated[int, Field(ge=0)] = 0
    """Tokens over which the learning rate rises linearly from zero."""
    decay_fraction: Fraction = 0.2
    """Fraction of the run's tokens, at its end, over which the learning rate decays linearly. With `wsd` only."""
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.1
    """Decoupled weight decay of matrices. Norm gains do not decay."""
    beta1: Fraction = 0.9
    """Decay rate of AdamW's first moment."""
    beta2: Fraction = 0.95
    """Decay rate of AdamW's second moment."""
    gradient_clip: PositiveFloat = 1.0
    """Maximum norm of the gradient over all workers and experts; a larger gradient is scaled down to it."""
    spike_factor: Annotated[float, Field(gt=1.0)] = 10.0
    """Skip a step if its gradient norm exceeds `spike_factor` times the running median, or if the norm or the loss is
    not finite."""
    spike_window_steps: Annotated[int, Field(ge=4)] = 128
    """Number of recent accepted steps in the running median. No norm is too large until half of the window is
    filled."""
    max_skipped_steps: Annotated[int, Field(ge=0)] = 10
    """Maximum number of skipped steps among any `spike_window_steps` steps. One more stops the run."""
    balance_loss_coefficient: Annotated[float, Field(ge=0.0)] = 0.01
    """Weight of the router's load-balancing loss."""
    z_loss_coefficient: Annotated[float, Field(ge=0.0)] = 0.0
    """Weight of the router's z-loss (mean squared log-partition)."""
    balance_bias_rate: Fraction = 0.0
    """Loss-free balancing: amount by which each step moves every expert's selection bias against its load (the paper
    uses 0.001); 0 disables it. Set `balance_loss_coefficient` to 0 to rely on the bias alone."""
    capacity_factor: Annotated[float, Field(ge=0.0)] = 0.0
    """Expert capacity: of each sequence, an expert takes the first ceil(capacity_factor x sequence_length x top_k /
    num_experts) tokens that select it; later ones are dropped and counted. 0 drops no token. Evaluation never drops
    tokens."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Data type of the forward and backward passes."""
    gradient_dtype: Literal["float32", "bfloat16"] = "float32"
    """Data type in which gradients are summed over the passes of a step and over workers. bfloat16 halves the traffic
    but loses up to half of a sum that 1,024 workers agree on."""
    zero_stage: Literal[0, 1, 2] = 1
    """DeepSpeed ZeRO stage: partition nothing (0), optimizer states (1), or gradients as well (2)."""
    checkpoint_every_steps: PositiveInt = 100
    """Number of optimizer steps between two checkpoints."""
    keep_last_checkpoints: PositiveInt = 2
    """Number of most recent checkpoints to keep during a phase; its last checkpoint is kept for good. With 1, a damaged
    checkpoint has no predecessor to fall back on."""
    keep_best_checkpoints: Annotated[int, Field(ge=0)] = 0
    """Number of additional checkpoints to keep during a phase: those with the lowest mean training loss since the
    preceding checkpoint. They are deleted when the phase is done."""
    seed: int = 0
    """Random seed of the initial weights."""
    num_workers: PositiveInt = 1
    """Number of training workers. Each is a process with its own GPU or CPUs."""
    expert_parallel_size: PositiveInt = 1
    """Number of workers that share one copy of the experts."""
    cpus_per_worker: PositiveFloat = 1.0
    """CPUs that each worker reserves."""
    gpus_per_worker: Annotated[float, Field(ge=0.0)] = 0.0
    """GPUs that each worker reserves."""
    threads_per_worker: PositiveInt = 1
    """CPU threads per worker."""
    collective_timeout_s: PositiveFloat = 600.0
    """Seconds that a worker waits for another one before it stops and names it."""
    peak_tflops: PositiveFloat | None = None
    """Peak of one worker in TFLOP/s, the denominator of MFU. If unset, the data sheet of a recognized GPU is used;
    otherwise MFU is not reported."""
    price_per_worker_hour: PositiveFloat | None = None
    """Price per worker-hour in your currency, from which the report computes the cost of each checkpoint."""
    profile_steps: Annotated[str, Field(pattern=r"^(\d+:\d+)?$")] = ""
    """First and last step of a profiler trace of worker 0, such as "10:13", written beside the result and to MLflow.
    Empty disables it."""
    activation_checkpointing: Literal["none", "selective", "layer"] = "none"
    """Recomputation in backward: of norms, casts and gathers, but of no product and no exchange ("selective"), or of
    whole layers from their input, about a third more work ("layer"). Saves memory; results are identical to the bit."""

    @model_validator(mode="after")
    def _batch_divides(self) -> Self:
        per_pass = self.micro_batch_sequences * self.num_workers
        if self.global_batch_sequences % per_pass:
            raise ValueError(
                f"global_batch_sequences {self.global_batch_sequences} is not a multiple of micro_batch_sequences x "
                f"num_workers = {self.micro_batch_sequences} x {self.num_workers} = {per_pass}. "
                f"Use {-(-self.global_batch_sequences // per_pass) * per_pass}."
            )
        return self


class EvaluateSection(Section):
    """Scores of a checkpoint."""

    heldout_bytes_per_corpus: PositiveInt
    """Total size in bytes of the held-out documents per corpus on which bits per byte are measured."""
    heldout_bytes_per_document: PositiveInt = 4096
    """Maximum size in bytes of each held-out document. Of a longer one, evenly spaced sequences are scored: many
    documents give a narrower interval than a few whole ones."""
    text_to_sql_questions: Annotated[int, Field(ge=0)] = 0
    """Number of held-out text-to-SQL questions to answer. 0 disables the measure."""
    max_new_tokens: PositiveInt = 64
    """Maximum number of tokens of an answer to a text-to-SQL question. Tasks define their own limit."""
    tasks: list[Name] = []
    """Additional tasks and suites to measure (suites: enterprise, academic, smoke)."""
    data_root: str = "../../eval_data"
    """Folder of the evaluation data (see `arctic eval-data`), relative to the recipe."""
    items_per_task: PositiveInt | None = None
    """Maximum number of items per task, selected by the hash of their id. If unset, all items (32 in the suite
    smoke)."""
    num_actors: PositiveInt = 1
    """Number of model replicas that answer in parallel. A single one runs in the stage's own process."""
    cpus_per_actor: PositiveFloat = 0.5
    """CPUs that each replica reserves."""
    gpus_per_actor: Annotated[float, Field(ge=0.0)] = 0.0
    """GPUs that each replica reserves."""
    tokens_per_batch: PositiveInt = 8192
    """Tokens per batch of questions: the most work that a kill can lose per replica."""
    unsafe_execution: Literal["", "i accept unsafe execution"] = ""
    """Set to "i accept unsafe execution" to run model-written code on a machine that cannot sandbox it. Otherwise such
    a machine is refused."""


class RunRecipe(Section):
    """One model: corpora, tokenizer, curriculum, architecture, training, evaluation."""

    name: Name
    """Name of the run: 1 to 64 lower-case letters, digits, dots, hyphens or underscores."""
    description: str
    """One line about the run, shown in the report and in MLflow."""
    corpora: Annotated[list[str], Field(min_length=1)]
    """Paths of the corpus recipes, relative to this recipe's folder."""
    tokenizer: TokenizerSection
    """Tokenizer to train or to load."""
    tokenize: TokenizeSection
    """Encoding and packing."""
    mix: MixSection = MixSection()
    """Settings that apply to the order of every phase."""
    phases: Annotated[list[PhaseSection], Field(min_length=1)]
    """Phases of the curriculum, in order."""
    model: ModelSection
    """Architecture."""
    train: TrainSection
    """Optimization and parallel layout."""
    evaluate: EvaluateSection
    """Scores to measure after every phase."""

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
