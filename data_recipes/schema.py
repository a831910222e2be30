"""The recipe pages as frozen models: a field that is not declared here is an error.

Sections carry the names of the stages they configure. Units are in the field names.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from data_recipes.section import (
    ExtensionSection,
    Fraction,
    FromHome,
    Location,
    Name,
    PathText,
    PositiveInt,
    Section,
    Seed,
)
from data_recipes.sections.annotation import AnnotateSection
from data_recipes.sections.curriculum import MixSection, PhaseSection
from data_recipes.sections.evaluation import EvaluateSection
from data_recipes.sections.finetuning import FinetuneSection
from data_recipes.sections.inputs import AnnotatedInput, Input
from data_recipes.sections.refining import FilterSection, ScoreSection
from data_recipes.sections.training import ModelSection, TrainSection
from data_recipes.steering import AmendmentSection, Segment, segments

# ---------------------------------------------------------------- corpus: source


class SourceSection(Section):
    """Sources of raw bytes, and extraction of text from them."""

    inputs: Annotated[list[Input], Field(min_length=1)]
    """Inputs of the corpus, read in order. The field `kind` selects the type of each."""
    extractor: Literal["cascade", "main_content", "all_text"] = "cascade"
    """How to extract text from HTML: the main content, with trafilatura as the second opinion in doubtful cases
    ("cascade"); resiliparse's main content alone ("main_content"); or all visible text ("all_text")."""
    text_format: Literal["text", "markdown"] = "text"
    """Format of the text of HTML pages: plain ("text"), or with headings, lists, tables, fenced code and formulas
    ("markdown"). Other inputs are read as they are."""
    read_pdf: bool = False
    """Read the text of PDF responses of crawls. Needs the extra `pdf`."""
    heldout_fraction: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.01
    """Fraction of documents held out from training to measure bits per byte, selected by the hash of their group."""
    max_quarantined_fraction: Fraction = 0.05
    """Fraction of unreadable records above which the stage fails. The fraction of unavailable files is checked
    separately against the same limit."""

    @property
    def read_corpora(self) -> dict[str, str]:
        """Names of the corpora whose results are read, each with the field that names it."""
        numbered = enumerate(self.inputs, start=1)
        return {each.corpus: f"source.inputs.{n}.corpus" for n, each in numbered if isinstance(each, AnnotatedInput)}


# ---------------------------------------------------------------- corpus: dedup


class SemanticSection(Section):
    """Duplicates in meaning: documents whose embeddings are near, as paraphrases are."""

    model: Annotated[PathText, Location()]
    """Folder with an embedding model, relative to the recipe. Static: `model.safetensors` and `tokenizer.json` as
    model2vec writes them, or as a StaticEmbedding of sentence-transformers. Or a sentence transformer, which needs the
    package transformers and takes hundreds of times as long. Nothing else in it is read."""
    cosine_threshold: Annotated[float, Field(gt=0.0, le=1.0)] = 0.95
    """Cosine similarity of the embeddings of two documents at which the lower-ranked one is a duplicate. Similarities
    of unlike documents depend on the model."""


class DedupSection(Section):
    """Exact digests, then MinHash over word n-grams, verified on the text."""

    ngram: Annotated[int, Field(gt=0, le=1000)] = 5
    """Length of a shingle in words."""
    num_bands: Annotated[int, Field(gt=0, le=10_000)] = 16
    """Number of LSH bands. Each band indexes every document once."""
    rows_per_band: Annotated[int, Field(gt=0, le=32)] = 8
    """Number of MinHash values per band. A larger value lists fewer, more similar pairs."""
    seed: Seed = 1
    """Random seed of the hash permutations."""
    jaccard_threshold: Fraction = 0.8
    """Jaccard similarity of the n-gram sets, verified on the text, at which the lower-ranked document is a
    duplicate."""
    containment_threshold: Fraction | None = None
    """Fraction of a document's n-grams that a better-ranked document contains, at which it is also a duplicate.
    Disabled if unset."""
    min_passage_words: Annotated[int, Field(ge=10, le=10_000)] | None = None
    """Minimum length in words of repeated passages: equal runs of at least this many words stay in the first kept
    document that has them and are cut from all others when text is read. Disabled if unset; Lee et al. (arXiv
    2107.06499) cut 50 tokens."""
    max_line_documents: PositiveInt | None = None
    """Maximum number of kept documents with the same line, of three words or more. Lines of more documents are cut from
    all but the first. Disabled if unset."""
    first_prompts: bool = False
    """Deduplicate conversations on their first prompts as well: of several whose first user turns are equal or near
    duplicates, the best stays. Documents that are no conversations are not affected."""
    semantic: SemanticSection | None = None
    """Duplicates in meaning among the documents that all comparisons of words keep. Disabled if unset."""
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

    @model_validator(mode="after")
    def _earlier_corpora_differ(self) -> Self:
        twice = [name for number, name in enumerate(self.against) if name in self.against[:number]]
        if twice:
            raise ValueError(f"against = {self.against}: {twice[0]!r} occurs twice. Remove one.")
        return self


class StageSection(ExtensionSection):
    """A stage of your own: a class that reads results of other stages and writes files (see
    `pipelines.graph.own_stages`). The class defines and validates all further fields."""

    name: Name
    """Name of the stage in plans, in MLflow and in the store."""
    inputs: Annotated[list[str], Field(min_length=1)]
    """Ids of the stages whose results it reads, such as "dedup[web]" or "train[2]"; stages of your own may read those
    above them."""


class CorpusRecipe(Section):
    """One corpus: source, score, annotate, filter, dedup."""

    name: Name
    """Name of the corpus: 1 to 64 lower-case letters, digits, dots, hyphens or underscores."""
    description: str
    """One line about the corpus, shown in the report and in MLflow."""
    source: SourceSection
    """Sources of raw bytes, and extraction of text from them."""
    score: ScoreSection = ScoreSection()
    """Measurements on every document."""
    annotate: list[AnnotateSection] = []
    """Labels and texts that a model behind a server makes of the documents."""
    filter: FilterSection = FilterSection()
    """Limits on the scores and labels."""
    dedup: DedupSection = DedupSection()
    """Exact and near-duplicate removal."""
    stages: list[StageSection] = []
    """Stages of your own that read results of this corpus."""

    @model_validator(mode="after")
    def _annotations_have_own_names(self) -> Self:
        names = [section.name for section in self.annotate]
        for number, name in enumerate(names, start=1):
            if name in names[: number - 1]:
                raise ValueError(f"annotate.{number}.name = {name!r}: another annotation has this name. Rename one.")
        return self

    @property
    def needed_corpora(self) -> list[str]:
        """Names of the corpora whose results this one reads."""
        return list(dict.fromkeys([*self.dedup.against, *self.source.read_corpora]))


# ---------------------------------------------------------------- run


class TokenizerSection(Section):
    """Byte-level BPE, trained on a sample of all corpora or loaded from a file."""

    vocab_size: Annotated[int, Field(ge=260, le=1_048_576)]
    """Number of token ids of the model. The tokenizer has at most this many."""
    sample_bytes_per_corpus: PositiveInt | None = None
    """UTF-8 bytes of training text to sample from each corpus. Required unless `path` is set."""
    path: Annotated[str, FromHome] = ""
    """Existing `tokenizer.json` to use instead of training one, relative to the recipe: byte-level, or of SentencePiece
    with byte fallback (BPE or Unigram). It is tested on adversarial text: a tokenizer that alters text is rejected,
    Unicode composition and SentencePiece's mark for a blank only raise a warning, and random encoding (BPE dropout) is
    switched off."""
    end_token: str = ""
    """Special token of the tokenizer at `path` that ends a text. Here, one also precedes each document."""

    @model_validator(mode="after")
    def _trained_or_taken(self) -> Self:
        if bool(self.path) == bool(self.sample_bytes_per_corpus):
            raise ValueError(
                f"path = {self.path!r} and sample_bytes_per_corpus = {self.sample_bytes_per_corpus}: give one of the "
                "two. Set path to take a tokenizer that exists, or sample_bytes_per_corpus to train one."
            )
        if bool(self.path) != bool(self.end_token):
            raise ValueError(
                f"end_token = {self.end_token!r} with path = {self.path!r}: a tokenizer that exists needs the name of "
                "its end token, such as <|endoftext|>, and one that is trained has its own. Set both or none."
            )
        return self


class TokenizeSection(Section):
    """Encoding and packing."""

    sequence_length: Annotated[int, Field(ge=8, lt=2**31)]
    """Number of tokens T that the model predicts per sequence. Stored sequences have T + 1 tokens."""
    long_conversations: Literal["drop", "truncate"] = "drop"
    """Conversations of a fine-tune that are longer than a sequence: leave them out ("drop"), or keep their beginning if
    it holds a part of an answer ("truncate"). Both are counted. Documents are split instead."""


class ExportSection(Section):
    """A checkpoint in the format of other engines, which must agree with the model."""

    name: Name
    """Name of the export in plans, in MLflow and in the report."""
    to: Literal["huggingface", "gguf", "fp8"]
    """Format: a directory that transformers and vLLM load ("huggingface"), the same with matrices in FP8 ("fp8"), or
    one file for llama.cpp ("gguf")."""
    dtype: Literal["", "float32", "bfloat16", "float16", "q8_0", "float8_e4m3"] = ""
    """Data type of the weights: float32 (default) or bfloat16 for huggingface; float16 (default), float32 or q8_0 for
    gguf; float8_e4m3 for fp8."""
    checkpoint: str = ""
    """Id of the stage whose checkpoint to export, such as "train[2]" or "finetune[instruct]". If unset, the last
    phase's."""


class RunRecipe(Section):
    """One model: corpora, tokenizer, curriculum, architecture, training, evaluation, exports."""

    name: Name
    """Name of the run: 1 to 64 lower-case letters, digits, dots, hyphens or underscores."""
    description: str
    """One line about the run, shown in the report and in MLflow."""
    corpora: Annotated[list[PathText], Field(min_length=1)]
    """Paths of the corpus recipes, relative to this recipe's folder."""
    tokenizer: TokenizerSection
    """Tokenizer to train or to load."""
    tokenize: TokenizeSection
    """Encoding and packing."""
    mix: MixSection = MixSection()
    """Settings that apply to the order of every phase."""
    phases: list[PhaseSection] = []
    """Phases of the curriculum, in order. A run without phases trains the fine-tunes alone, each from a folder or from
    another one."""
    model: ModelSection
    """Architecture."""
    train: TrainSection
    """Optimization and parallel layout."""
    finetune: list[FinetuneSection] = []
    """Fine-tunes on conversations, in order."""
    amendments: list[AmendmentSection] = []
    """Changes to a run in flight, each from a step on, in the order of their steps."""
    evaluate: EvaluateSection
    """Scores to measure after every phase and every fine-tune."""
    export: list[ExportSection] = []
    """Exports of checkpoints, each proven before it is committed."""
    stages: list[StageSection] = []
    """Stages of your own that read results of this run."""

    @property
    def tokens(self) -> int:
        """Training tokens of all phases."""
        return sum(phase.tokens for phase in self.phases)

    @property
    def segments(self) -> tuple[tuple[Segment, ...], ...]:
        """The segments of each phase: steps that share all settings of training."""
        return segments(self.train, self.phases, self.amendments, self.sequence_lengths)

    @property
    def sequence_lengths(self) -> tuple[int, ...]:
        """Tokens per sequence of each phase."""
        lengths = [self.tokenize.sequence_length]
        for phase in self.phases:
            lengths.append(phase.sequence_length or lengths[-1])
        return tuple(lengths[1:])

    @model_validator(mode="after")
    def _phases_are_whole_steps(self) -> Self:
        self.segments  # noqa: B018  It raises ValueError if overrides or amendments do not fit.
        for number, (phase, length) in enumerate(zip(self.phases, self.sequence_lengths, strict=True), start=1):
            for corpus, tokens in phase.tokens_per_corpus.items():
                if tokens % length:
                    raise ValueError(
                        f"phases.{number}.tokens_per_corpus.{corpus} = {tokens} is not a whole number of sequences of "
                        f"{length} tokens. Use a multiple."
                    )
        return self

    @model_validator(mode="after")
    def _phases_have_own_names(self) -> Self:
        names = [phase.name for phase in self.phases]
        for number, name in enumerate(names, start=1):
            if name in names[: number - 1]:
                raise ValueError(f"phases.{number}.name = {name!r}: an earlier phase has this name. Rename one.")
        return self

    @model_validator(mode="after")
    def _fine_tunes_have_own_names(self) -> Self:
        names = [phase.name for phase in self.phases]
        for number, section in enumerate(self.finetune, start=1):
            if section.name in names:
                raise ValueError(
                    f"finetune.{number}.name = {section.name!r}: a phase or a fine-tune above has this name. "
                    "Rename one."
                )
            if section.base not in names and not section.is_from_folder:
                there = f"There are {', '.join(names)}. " if names else ""
                raise ValueError(
                    f"finetune.{number}.from = {section.base!r}: no phase and no fine-tune above has this name. "
                    f"{there}Write a folder with a slash, such as ./{section.base}."
                )
            names.append(section.name)
        return self

    @model_validator(mode="after")
    def _something_is_trained(self) -> Self:
        if self.phases:
            return self
        if not self.finetune:
            raise ValueError("phases = []: there is nothing to train. Add a phase, or a fine-tune from a folder.")
        for name in ("init_from", "init_optimizer"):
            if value := getattr(self.model, name):
                raise ValueError(f"model.{name} = {value!r} without phases: nothing begins from it. Remove it.")
        for number, section in enumerate(self.export, start=1):
            if not section.checkpoint:
                raise ValueError(
                    f"export.{number}.checkpoint = '': there is no phase to export. Name a fine-tune, such as "
                    f"finetune[{self.finetune[-1].name}]."
                )
        return self

    @model_validator(mode="after")
    def _training_is_long_enough(self) -> Self:
        if not self.phases:
            return self
        num_steps = self.segments[-1][-1].last_step
        if self.train.warmup_tokens > self.tokens:
            raise ValueError(
                f"train.warmup_tokens = {self.train.warmup_tokens} is more than the {self.tokens} tokens of the run: "
                "the learning rate never reaches its peak. Lower it."
            )
        if self.train.profile_steps and int(self.train.profile_steps.split(":")[0]) > num_steps:
            raise ValueError(
                f"train.profile_steps = {self.train.profile_steps!r}: the run ends with step {num_steps}. Name earlier "
                "steps."
            )
        return self
