"""The output of `evaluate`, which the report reads.

scores.json               Scores
differences.json          changes since the checkpoint before, Difference by measure; {} for the first
tables/samples.parquet    SAMPLES: every item of every task with the model's answer and the verdict
tables/contamination.parquet   EVIDENCE: every item that occurs in a training corpus, with the document
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pyarrow as pa

from infra.store.integrity import read_committed

SCORES = "scores.json"
DIFFERENCES = "differences.json"
SAMPLES_FILE = "tables/samples.parquet"
SAMPLES = pa.schema(
    [
        pa.field("task", pa.string(), nullable=False),
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("cluster", pa.string(), nullable=False),
        pa.field("prompt", pa.large_string(), nullable=False),
        pa.field("gold", pa.large_string(), nullable=False),
        pa.field("answer", pa.large_string(), nullable=False),
        pa.field("correct", pa.bool_()),
        pa.field("verdict", pa.string(), nullable=False),
        pa.field("shares", pa.string(), nullable=False),
        pa.field("contamination", pa.float64()),
        pa.field("responses", pa.large_string(), nullable=False),
    ]
)
"""`cluster`: id that dependent items share, "" if they are independent; `gold`: text, or JSON; `correct`: by the task's
headline, null if it has no right and wrong; `verdict`: "correct", or the error in a few words; `shares`: JSON object,
measure -> [part, whole], the item's addends to each measure; `contamination`: largest share of the item's words that
one training document holds, null if no document is known to hold any; `responses`: JSON list of all raw answers, each a
generated `text` with its `finish` (all samples of pass@k), or the `log_probability` of a `continuation` in nats with
`is_greedy`; `num_truncated`: ids that were cut from the prompt; `num_tokens`: ids of the answer, null if not known; and
all else that its request states: stops, limits, and the `context` or `prompt` if that is not the item's own."""
SECONDS = "answer_seconds"
"""Series that an evaluation measures of itself: wall seconds of the answers of each row of SAMPLES."""
EVIDENCE_FILE = "tables/contamination.parquet"
EVIDENCE = pa.schema(
    [
        pa.field("task", pa.string(), nullable=False),
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("corpus", pa.string(), nullable=False),
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("field", pa.string(), nullable=False),
        pa.field("share", pa.float64(), nullable=False),
        pa.field("excerpt", pa.string(), nullable=False),
    ]
)
"""`share` of the words of the item's `field` occur in order in a kept document of a corpus; `excerpt` shows them."""
SIGNIFICANCE = 0.05
"""p-value below which a difference is more than noise."""


@dataclass(frozen=True)
class Score:
    """One measured number with how sure it is: `n` items, 95 % interval `low` .. `high`, None if too few of them are
    independent; `chance`: expected score of guessing, None if a measure knows no guessing."""

    value: float
    n: int
    low: float | None
    high: float | None
    chance: float | None = None

    @property
    def centred(self) -> float | None:
        """0 at chance, 1 if every item is right."""
        return None if self.chance is None else (self.value - self.chance) / (1 - self.chance)

    @property
    def is_above_chance(self) -> bool:
        """Whether the whole interval lies above guessing."""
        return self.chance is not None and self.low is not None and self.low > self.chance


@dataclass(frozen=True)
class Difference:
    """A score minus the same score of the previous checkpoint, over the `n` items that both have: 95 % interval, None
    if too few of them are independent, and p-value of a paired test; `mcnemar`: the exact p-value of McNemar's test if
    every item is right or wrong."""

    value: float
    low: float | None
    high: float | None
    p_value: float
    mcnemar: float | None
    n: int

    @property
    def is_noise(self) -> bool:
        """Whether a difference as large as this occurs too often by chance to be significant."""
        return max(self.p_value, self.mcnemar or 0.0) >= SIGNIFICANCE


def score_text(value: float, *, sign: bool = False) -> str:
    """A score or a difference as people read it, on the scale that scores.json and MLflow hold it in: bits per byte as
    they are, all else from 0 to 1. `sign`: put a plus before values that are not negative."""
    return f"{value:{'+' if sign else ''}.3f}"


def interval_text(score: Score | Difference) -> str:
    """The 95 % interval as people read it."""
    if score.low is None or score.high is None:
        return "too few"
    return f"{score_text(score.low)} to {score_text(score.high)}"


@dataclass(frozen=True)
class Contamination:
    """Of a task's `num_items`, the number that was searched for in the training corpora, and the number that occurs in
    one.
    """

    num_items: int
    num_looked_for: int
    num_contaminated: int


def write_differences(differences: Mapping[str, Difference], folder: Path) -> None:
    plain = {name: asdict(difference) for name, difference in differences.items()}
    (folder / DIFFERENCES).write_text(json.dumps(plain, indent=1, sort_keys=True), encoding="utf-8")


def read_differences(folder: Path) -> dict[str, Difference]:
    records = json.loads(read_committed(folder / DIFFERENCES))
    return {name: Difference(**difference) for name, difference in records.items()}


@dataclass(frozen=True)
class Scores:
    """Scores of one checkpoint by measure, such as `bits_per_byte/python_docs` and `spider/execution_accuracy`.

    `headlines`: the headline measure of each task; `protocols`: shots, prompt and scoring of each task in one line;
    `skipped`: why a task was not measured; `notes`: remarks on a task's questions and answers that readers of its
    scores need; `asked_before`: by task, the protocol of the previous checkpoint if it differs, so that the scores
    cannot be compared; `contamination`: by task; `active_parameters`: of the model, 0 if they are not known;
    `template`: digest of the chat template, "" if no task was asked in the chat.
    """

    phase: str
    step: int
    tokens: int
    scores: dict[str, Score]
    headlines: dict[str, str] = field(default_factory=dict)
    protocols: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    contamination: dict[str, Contamination] = field(default_factory=dict)
    active_parameters: int = 0
    asked_before: dict[str, str] = field(default_factory=dict)
    template: str = ""

    @property
    def compared(self) -> list[str]:
        """The measures by which checkpoints are compared: means over tasks, headlines, and bits per byte of held-out
        documents and of right answers."""
        means = [name for name in self.scores if "/" not in name]
        headlines = [f"{task}/{measure}" for task, measure in self.headlines.items() if measure]
        bits = [name for name in self.scores if "bits_per_byte" in name and not name.endswith("/clean")]
        return [name for name in dict.fromkeys([*means, *headlines, *bits]) if name in self.scores]

    def write(self, folder: Path) -> None:
        (folder / SCORES).write_text(json.dumps(asdict(self), indent=1, sort_keys=True), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> "Scores":
        fields = json.loads(read_committed(folder / SCORES))
        fields["scores"] = {name: Score(**score) for name, score in fields["scores"].items()}
        fields["contamination"] = {task: Contamination(**counts) for task, counts in fields["contamination"].items()}
        return cls(**fields)
