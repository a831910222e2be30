"""Settings that change within a run: fields of `[train]` that a phase overrides, and amendments from a step on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from pydantic import ValidationError, model_validator

from data_recipes.explain import explain
from data_recipes.section import Fraction, PositiveInt, Section
from data_recipes.sections.curriculum import PhaseSection, require_sum_of_one
from data_recipes.sections.training import LAYOUT_FIELDS, TrainSection

ONCE = {
    "seed": "it draws the initial weights",
    "optimizer": "each optimizer keeps its own state",
}
"""Fields that hold for the whole run, and why."""


class AmendmentSection(Section):
    """A change to a run in flight, from a step on. Earlier steps are reused as they were trained."""

    from_step: PositiveInt
    """Last step before the change, counted from the first step of the run. The changes hold from the next step to the
    end of the run, or until a later phase or amendment sets the same field."""
    train: dict[str, Any] = {}
    """Fields of `[train]` to change, such as `train.peak_lr = 0.001`. Fields that are no part of a stage's key, such as
    `checkpoint_every_steps`, need no amendment: change them in `[train]`."""
    weights: dict[str, Fraction] = {}
    """Fraction per corpus of the tokens that are left of the phase; the fractions sum to 1. The next phase uses its own
    weights. Empty leaves the phase's order as it is."""
    weights_to: dict[str, Fraction] = {}
    """Fractions at the end of the phase, reached linearly from `weights` by tokens read. Empty keeps `weights`
    constant."""

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if not self.train and not self.weights:
            raise ValueError("train = {}, weights = {}: nothing is changed. Give fields of [train], weights, or both.")
        if self.weights_to and not self.weights:
            raise ValueError(f"weights_to = {self.weights_to}: there is no weights for it to start from. Add weights.")
        require_sum_of_one("weights", self.weights)
        require_sum_of_one("weights_to", self.weights_to)
        return self


@dataclass(frozen=True)
class DataAmendment:
    """Weights of the `tokens` that are left of a phase after step `from_step`."""

    from_step: int
    tokens: int
    weights: Mapping[str, float]
    weights_to: Mapping[str, float]

    @property
    def corpora(self) -> list[str]:
        """Names of the corpora that are read, sorted."""
        return sorted({name for part in (self.weights, self.weights_to) for name, value in part.items() if value})

    def as_params(self) -> dict[str, Any]:
        """The weights as plain data."""
        moving = {"weights_to": dict(self.weights_to)} if self.weights_to else {}
        return {"weights": dict(self.weights), **moving}


@dataclass(frozen=True)
class Segment:
    """Steps `first_step + 1` to `last_step` of one phase, which share all settings. Steps and `first_tokens`, which
    were read before, count from the start of the run. `data`: the weights that begin with it, if they are amended."""

    first_step: int
    last_step: int
    first_tokens: int
    train: TrainSection
    data: DataAmendment | None = None

    def tokens(self, sequence_length: int) -> int:
        """Tokens that the segment reads."""
        return (self.last_step - self.first_step) * self.train.global_batch_sequences * sequence_length


def segments(
    train: TrainSection,
    phases: Sequence[PhaseSection],
    amendments: Sequence[AmendmentSection],
    sequence_lengths: Sequence[int],
) -> tuple[tuple[Segment, ...], ...]:
    """The segments of each phase, whose sequences have these lengths. Raises ValueError, with field and remedy, if
    overrides or amendments cannot work."""
    _require_ascending(amendments)
    run = _Run(train, list(enumerate(amendments, start=1)))
    numbered = enumerate(zip(phases, sequence_lengths, strict=True), start=1)
    by_phase = tuple(run.phase(number, phase, length) for number, (phase, length) in numbered)
    for number, amendment in run.waiting:
        raise ValueError(
            f"amendments.{number}.from_step = {amendment.from_step}: the run ends with step {run.step}, so nothing "
            "would change. Lower it."
        )
    return by_phase


class _Run:
    """A run, phase after phase: `step` and `tokens` so far, and the amendments that wait."""

    def __init__(self, train: TrainSection, waiting: list[tuple[int, AmendmentSection]]) -> None:
        self.train = train
        self.sequence_length = 0
        self.waiting = waiting
        self.amended: dict[str, Any] = {}
        self.step = self.tokens = 0

    def phase(self, number: int, phase: PhaseSection, sequence_length: int) -> tuple[Segment, ...]:
        """The segments of the next phase."""
        self.sequence_length = sequence_length
        section = _with(self.train, {**self.amended, **phase.train}, f"phases.{number}.train", phase.train)
        end = self.tokens + phase.tokens
        parts: list[Segment] = []
        data: DataAmendment | None = None
        field = f"phases.{number}.tokens = {phase.tokens}"
        while True:
            last_step = self.step + self._steps(end - self.tokens, section, field)
            if not self.waiting or self.waiting[0][1].from_step >= last_step:
                return (*parts, self._advance(last_step, section, data))
            index, amendment = self.waiting.pop(0)
            field = f"amendments.{index}.from_step = {amendment.from_step}"
            if amendment.from_step > self.step:
                parts.append(self._advance(amendment.from_step, section, data))
                data = None
            elif amendment.weights:
                raise ValueError(
                    f"{field}: phases.{number} begins after this step, with weights of its own. Change those."
                )
            if amendment.weights:
                data = DataAmendment(self.step, end - self.tokens, amendment.weights, amendment.weights_to)
            section = _amended(section, index, amendment)
            self.amended |= amendment.train

    def _steps(self, tokens: int, section: TrainSection, field: str) -> int:
        step_tokens = self.sequence_length * section.global_batch_sequences
        if tokens % step_tokens:
            nearest = max(1, round(tokens / step_tokens)) * step_tokens
            left = "" if field.startswith("phases") else f": {tokens} tokens are left of the phase, which"
            raise ValueError(
                f"{field}{left} is not a whole number of steps of {step_tokens} tokens (sequence_length x "
                f"global_batch_sequences). Use {nearest}."
            )
        return tokens // step_tokens

    def _advance(self, last_step: int, section: TrainSection, data: DataAmendment | None) -> Segment:
        segment = Segment(self.step, last_step, self.tokens, section, data)
        self.tokens += segment.tokens(self.sequence_length)
        self.step = last_step
        return segment


def _require_ascending(amendments: Sequence[AmendmentSection]) -> None:
    last = 0
    for number, amendment in enumerate(amendments, start=1):
        if amendment.from_step <= last:
            raise ValueError(
                f"amendments.{number}.from_step = {amendment.from_step}: the amendment above has from_step = {last}. "
                "Sort amendments by their step, and give each step one."
            )
        last = amendment.from_step


def _amended(section: TrainSection, number: int, amendment: AmendmentSection) -> TrainSection:
    field = f"amendments.{number}.train"
    for name, value in amendment.train.items():
        if name in LAYOUT_FIELDS:
            raise ValueError(
                f"{field}.{name} = {value!r}: changes no result and is part of no key. Set train.{name} itself: "
                "nothing is trained again."
            )
    changed = _with(section, amendment.train, field, amendment.train)
    for name, value in amendment.train.items():
        if getattr(changed, name) == getattr(section, name):
            raise ValueError(f"{field}.{name} = {value!r}: is this value already at that step. Remove it.")
    return changed


def _with(section: TrainSection, fields: Mapping[str, Any], field: str, own: Mapping[str, Any]) -> TrainSection:
    """`section` with other `fields`, those of `own` named at `field`. Raises ValueError."""
    if not fields:
        return section
    for name, reason in ONCE.items():
        if name in own:
            raise ValueError(f"{field}.{name} = {own[name]!r}: holds for the whole run, as {reason}. Set train.{name}.")
    try:
        changed = TrainSection.model_validate({**section.model_dump(), **fields})
    except ValidationError as error:
        raise ValueError("\n".join(f"{field}.{line}" for line in explain(error, TrainSection))) from None
    if bool(changed.balance_bias_rate) != bool(section.balance_bias_rate):
        raise ValueError(
            f"{field}.balance_bias_rate = {changed.balance_bias_rate:g}: the run starts with "
            f"{section.balance_bias_rate:g}, and a model has "
            "biases from its first step on or never. Set train.balance_bias_rate."
        )
    return changed
