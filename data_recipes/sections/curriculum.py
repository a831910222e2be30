"""The curriculum: phases, and the settings that apply to the order of all of them."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from data_recipes.section import Count, Fraction, Name, PositiveFloat, PositiveInt, Section, Seed


def _tokens_may_be_left_out(schema: dict[str, Any]) -> None:
    """An editor accepts a phase without `tokens`, as `PhaseSection` does if `tokens_per_corpus` gives their sum."""
    schema["required"].remove("tokens")


def require_sum_of_one(field: str, weights: Mapping[str, float]) -> None:
    """Raise ValueError if the fractions of corpora in `field`, if there are any, do not sum to 1."""
    total = sum(weights.values())
    if weights and abs(total - 1.0) > 1e-9:
        parts = ", ".join(f"{name} {weight:.2f}" for name, weight in weights.items())
        remedy = f"Add {1 - total:.4g} or rescale" if total < 1 else f"Take away {total - 1:.4g} or rescale"
        raise ValueError(f"{field} sum to {total:.4g} ({parts}); they must sum to 1. {remedy}.")


class RopeSection(Section):
    """Rotary positions for a longer context: a larger base, or YaRN."""

    kind: Literal["abf", "yarn"]
    """Raise the base of the frequencies and train on ("abf"; arXiv 2309.16039), or divide the slow frequencies and
    sharpen attention ("yarn"; arXiv 2309.00071), which needs fewer tokens."""
    theta: PositiveFloat | None = None
    """New base of the frequencies, such as 500000. Required with `abf`."""
    factor: Annotated[float, Field(gt=1.0, le=1e4)] | None = None
    """How many times longer the context becomes than the longest before. Required with `yarn`."""
    beta_fast: PositiveFloat = 32.0
    """With `yarn`: pairs of a head that turn more often than this within the context before keep their frequency."""
    beta_slow: PositiveFloat = 1.0
    """With `yarn`: pairs that turn less often than this are divided by `factor`."""
    attention_factor: PositiveFloat | None = None
    """With `yarn`: factor of cosine and sine. If unset, 0.1 ln(factor) + 1."""

    @model_validator(mode="after")
    def _numbers_belong_to_the_kind(self) -> Self:
        own = {"abf": ("theta",), "yarn": ("factor", "beta_fast", "beta_slow", "attention_factor")}[self.kind]
        required = own[0]
        if getattr(self, required) is None:
            raise ValueError(f"kind = {self.kind!r} without {required}: it is required. Set it.")
        for name, field in type(self).model_fields.items():
            if name not in ("kind", *own) and getattr(self, name) != field.default:
                raise ValueError(f"{name} = {getattr(self, name)} with kind = {self.kind!r}: not used. Remove it.")
        if self.beta_fast <= self.beta_slow:
            raise ValueError(f"beta_fast = {self.beta_fast} must be above beta_slow = {self.beta_slow}. Raise it.")
        return self


class PhaseSection(Section):
    """One segment of the curriculum: a budget in `tokens` with `weights`, or `tokens_per_corpus`."""

    model_config = ConfigDict(json_schema_extra=_tokens_may_be_left_out)

    name: Name
    """Name of the phase in tables and figures, unique within the run."""
    tokens: PositiveInt
    """Training tokens of the phase: a multiple of sequence_length x global_batch_sequences. Optional with
    `tokens_per_corpus`, whose sum it is."""
    weights: dict[str, Fraction] = {}
    """Fraction of the phase's tokens per corpus; the fractions sum to 1."""
    weights_to: dict[str, Fraction] = {}
    """Fractions at the end of the phase, reached linearly from `weights` by tokens read. Empty keeps `weights`
    constant."""
    tokens_per_corpus: dict[str, Count] = {}
    """Exact training tokens per corpus, each a multiple of sequence_length. Replaces `weights`."""
    order: Literal["shuffled", "easy_to_hard"] = "shuffled"
    """Order of a corpus' sequences: a keyed permutation ("shuffled"), or ascending by the score `order_by`, in every
    epoch ("easy_to_hard")."""
    order_by: str = ""
    """Numeric column of the stage `score`, such as `words`, averaged over the tokens of a sequence. Required with
    `easy_to_hard`."""
    sequence_length: Annotated[int, Field(ge=8, lt=2**31)] | None = None
    """Tokens per sequence of this phase and those after it. Corpora are packed again, not tokenized again. If unset,
    that of the phase before, at first `tokenize.sequence_length`."""
    rope: RopeSection | None = None
    """Scaling of rotary positions from this phase on, if its sequences are longer than all before, such as
    `{ kind = "abf", theta = 500000.0 }` or `{ kind = "yarn", factor = 8.0 }`."""
    train: dict[str, Any] = {}
    """Fields of `[train]` that this phase overrides, such as `train.peak_lr = 0.0005` or a table `[phases.train]`. All
    but `seed` and `optimizer` may change from phase to phase."""

    @property
    def corpora(self) -> list[str]:
        """Names of the corpora that the phase reads, sorted."""
        shares = (self.weights, self.weights_to, self.tokens_per_corpus)
        return sorted({name for share in shares for name, value in share.items() if value})

    @model_validator(mode="before")
    @classmethod
    def _tokens_are_the_sum(cls, page: Any) -> Any:
        counts = page.get("tokens_per_corpus") if isinstance(page, dict) else None
        if isinstance(counts, dict) and "tokens" not in page and all(type(count) is int for count in counts.values()):
            return page | {"tokens": sum(counts.values())}
        return page

    @model_validator(mode="after")
    def _budgets_are_given_once(self) -> Self:
        if bool(self.weights) == bool(self.tokens_per_corpus):
            number_given = "both" if self.weights else "neither"
            raise ValueError(
                f"weights = {self.weights}, tokens_per_corpus = {self.tokens_per_corpus}: {number_given} is given. "
                "Give one of them."
            )
        if self.weights_to and not self.weights:
            raise ValueError(f"weights_to = {self.weights_to}: there is no weights for it to start from. Add weights.")
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
        require_sum_of_one("weights", self.weights)
        require_sum_of_one("weights_to", self.weights_to)
        return self


class MixSection(Section):
    """Settings that apply to the order of every phase."""

    max_epochs: PositiveFloat = 4.0
    """Maximum number of epochs over one corpus in all phases together. A plan that exceeds it is rejected."""
    max_epochs_per_corpus: dict[str, PositiveFloat] = {}
    """Maximum number of epochs for individual corpora, by name."""
    quality_power: dict[str, Annotated[float, Field(gt=0.0, le=100.0)]] = {}
    """Exponent p per corpus: an epoch repeats a sequence a whole number of times in proportion to its quality to the
    power p (the score `quality`, averaged over tokens). The length of an epoch stays the same, so the worst sequences
    are left out."""
    rehydrate: list[str] = []
    """Corpora whose sequences an epoch repeats according to `copies_by_cluster_size`."""
    copies_by_cluster_size: list[Annotated[list[PositiveInt], Field(min_length=2, max_length=2)]] = [
        [1, 1],
        [2, 2],
        [3, 3],
        [5, 5],
        [100, 8],
        [1000, 1],
    ]
    """Pairs of a cluster size before dedup and the number of repeats from that size on (FineWeb-2, arXiv
    2506.20920)."""
    upsample_long: Annotated[float, Field(ge=1.0, le=100.0)] = 1.0
    """How often a pass reads a sequence of documents that do not fit into `tokenize.sequence_length`, relative to
    others, in phases with longer sequences."""
    seed: Seed = 0
    """Random seed of the order of sequences."""

    @model_validator(mode="after")
    def _sizes_ascend_from_one(self) -> Self:
        sizes = [size for size, _ in self.copies_by_cluster_size]
        if sizes != sorted(set(sizes)) or sizes[:1] != [1]:
            raise ValueError(
                f"copies_by_cluster_size = {self.copies_by_cluster_size}: the sizes must ascend from 1. Sort them."
            )
        return self
