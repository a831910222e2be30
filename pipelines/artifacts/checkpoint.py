"""The output of `train`: a checkpoint, its training history, and the record of the data that was read.

checkpoint/           safetensors and JSON as `arctic_model.checkpoint.reading` writes them
history.parquet       HISTORY: one row per optimizer step of this phase
expert_load.parquet   EXPERT_LOAD: share of the assignments per layer and expert over the phase's last steps, fading
router.parquet        ROUTER: figures of each layer's router at every tenth step and the last
adapter/              adapters of a LoRA fine-tune in PEFT's format; the checkpoint holds them merged
finetuned.json        Finetuned: how the checkpoint was fine-tuned; absent after pretraining
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import pyarrow as pa

from infra.store.integrity import read_committed

CHECKPOINT = "checkpoint"
CHECKPOINT_DIGESTS = "checkpoint.json"
"""In the folder of a checkpoint: the digests of its other files."""
FINETUNED_FILE = "finetuned.json"
ADAPTER = "adapter"
HISTORY_FILE = "history.parquet"
EXPERT_LOAD_FILE = "expert_load.parquet"
ROUTER_FILE = "router.parquet"
THROUGHPUT = "tokens_per_s"
"""Series that a training measures of itself: pairs of the tokens since the run's first phase, and tokens per second of
all workers over the steps up to there."""

ROUTER_FIGURES = ("load_entropy", "max_violation", "dropped_share", "top_weight", "z")
ROUTER_COLUMNS = tuple(f"{name}_{over}" for name in ROUTER_FIGURES for over in ("mean", "max"))

HISTORY = pa.schema(
    [
        pa.field("step", pa.int64(), nullable=False),
        pa.field("tokens", pa.int64(), nullable=False),
        pa.field("loss", pa.float64(), nullable=False),
        pa.field("balance_loss", pa.float64(), nullable=False),
        pa.field("z_loss", pa.float64(), nullable=False),
        pa.field("gradient_norm", pa.float64(), nullable=False),
        pa.field("learning_rate", pa.float64(), nullable=False),
        pa.field("max_expert_load", pa.float64(), nullable=False),
        pa.field("skipped", pa.int8(), nullable=False),
        *(pa.field(name, pa.float64(), nullable=False) for name in ROUTER_COLUMNS),
        pa.field("loss_by_corpus", pa.map_(pa.string(), pa.float64()), nullable=False),
        pa.field("tokens_by_corpus", pa.map_(pa.string(), pa.int64()), nullable=False),
    ]
)
"""`step`, `tokens`: since the run's first phase; `loss`: mean cross-entropy in nats per predicted token;
`max_expert_load`: the busiest expert's share of the assignments times the number of experts, mean over layers
(1 is perfect balance); `skipped`: 1 if the step's data was left behind and no weight changed, else 0 (its loss
and gradient norm may be no numbers); ROUTER_COLUMNS: each figure of ROUTER, mean and largest of all layers;
`loss_by_corpus`: of the corpora that the step read; `tokens_by_corpus`: read since the run's first phase. No wall-clock
columns: this file is the same for the same run."""

ROUTER = pa.schema(
    [
        pa.field("step", pa.int64(), nullable=False),
        pa.field("layer", pa.int32(), nullable=False),
        *(pa.field(name, pa.float64(), nullable=False) for name in ROUTER_FIGURES),
    ]
)
"""`arctic_model.moe.balance.router_figures` of one step."""

EXPERT_LOAD = pa.schema(
    [
        pa.field("layer", pa.int32(), nullable=False),
        pa.field("expert", pa.int32(), nullable=False),
        pa.field("share", pa.float64(), nullable=False),
    ]
)


OF_ROUTERS = {"balance_loss", "z_loss", "max_expert_load", *ROUTER_COLUMNS}
"""Columns of HISTORY that a model without experts has not."""


OF_PAIRS = ("chosen_reward", "rejected_reward", "margin", "accuracy")
"""Further columns if pairs of answers are trained: means over the pairs of a step of both sides' implicit rewards, of
their difference, and of how often the chosen side's is higher. `loss` is then a mean over pairs."""


def history_schema(moe_layers: Sequence[int], *, of_pairs: bool = False) -> pa.Schema:
    """HISTORY of a model with experts in these layers."""
    columns = [column for column in HISTORY if moe_layers or column.name not in OF_ROUTERS]
    extra = OF_PAIRS if of_pairs else ()
    return pa.schema([*columns, *(pa.field(name, pa.float64(), nullable=False) for name in extra)])


def checkpoint_folder(artifact: Path) -> Path:
    """Folder of the checkpoint inside the artifact of `train`."""
    return artifact / CHECKPOINT


@dataclass(frozen=True)
class Finetuned:
    """How a checkpoint was fine-tuned.

    `chat`: on conversations in the chat template of its tokenizer; `objective`: "sft" or "dpo"; `method`: "full" or
    "lora"; `base`: digest of the checkpoint that it started from."""

    chat: bool
    objective: str
    method: str
    base: str

    def write(self, artifact: Path) -> None:
        """Write finetuned.json into the folder of an artifact."""
        (artifact / FINETUNED_FILE).write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")

    @classmethod
    def read(cls, checkpoint: Path) -> "Finetuned | None":
        """How the checkpoint in the folder `checkpoint` of an artifact was fine-tuned, None if it was not.

        Raises DamageError if the file is not as it was written."""
        file = checkpoint.parent / FINETUNED_FILE
        return cls(**json.loads(read_committed(file))) if file.is_file() else None


@dataclass(frozen=True)
class WorkerHours:
    """Hours of all workers and attempts of a phase, metrics of `train`.

    `worker_hours` is the whole; `lost_worker_hours` of it went into steps that were lost and trained again,
    `waiting_worker_hours` into start-up, checkpoints and waiting; the rest into the steps of the history."""

    worker_hours: float
    lost_worker_hours: float
    waiting_worker_hours: float

    def metrics(self) -> dict[str, float]:
        """By name, as a stage returns them."""
        return asdict(self)

    @classmethod
    def total(cls, phases: Iterable[Mapping[str, float]]) -> "WorkerHours":
        """The sum over the metrics of several phases."""
        rows = list(phases)
        return cls(*(sum(metrics[field.name] for metrics in rows) for field in fields(cls)))
