"""The run behind a model card, read from committed results: counts, no wall-clock times."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow.compute as pc

from arctic_model.checkpoint.reading import Checkpoint
from arctic_model.config import ArcticConfig
from arctic_model.sizing.flops import count_parameters
from infra.artifact import Artifact
from pipelines.artifacts.checkpoint import checkpoint_folder
from pipelines.artifacts.documents import shard_paths
from pipelines.artifacts.evaluation import Scores
from pipelines.artifacts.formats.parquet import read_table
from pipelines.artifacts.sequence_order.phase_plan import PhaseOrder
from pipelines.export.inputs import CorpusHistory, ExportInputs

FLOPS_PER_PARAMETER_AND_TOKEN = 6
"""Of a forward and a backward pass (Kaplan et al. 2020, arXiv 2001.08361, section 2.1)."""


@dataclass(frozen=True)
class CorpusRecord:
    """Documents of a corpus that were sourced, passed the filter and were kept; the training tokens of the kept ones;
    the licences of the kept ones, most frequent first, "" if a document has none."""

    name: str
    sourced: int
    filtered: int
    kept: int
    train_tokens: int
    licences: Mapping[str, int]


@dataclass(frozen=True)
class PhaseRecord:
    """Tokens of each corpus in a phase."""

    name: str
    tokens: Mapping[str, int]


@dataclass(frozen=True)
class RunRecord:
    """A run up to the checkpoint that is exported; `stages`: `id@key` of its inputs; `base`: of a fine-tune, the scores
    of the phase that it starts from."""

    run: str
    export: str
    config: ArcticConfig
    corpora: list[CorpusRecord]
    phases: list[PhaseRecord]
    scores: Scores
    stages: list[str]
    base: Scores | None = None

    @property
    def tokens(self) -> int:
        """Training tokens of all phases."""
        return sum(sum(phase.tokens.values()) for phase in self.phases)

    @property
    def training_flops(self) -> float:
        """6 N D with N active parameters and D tokens."""
        return FLOPS_PER_PARAMETER_AND_TOKEN * count_parameters(self.config).active * self.tokens


def read_run(run: str, export: str, inputs: ExportInputs[Artifact]) -> RunRecord:
    """The record of the run named `run`, for its export named `export`."""
    plans = [PhaseOrder.read(inputs.mix[number].path) for number in sorted(inputs.mix, key=int)]
    used = [inputs.train, inputs.tokenizer, inputs.evaluate]
    return RunRecord(
        run=run,
        export=export,
        config=Checkpoint(checkpoint_folder(inputs.train.path)).config,
        corpora=[_corpus(name, history) for name, history in sorted(inputs.corpora.items())],
        phases=[_phase(plan) for plan in plans],
        scores=Scores.read(inputs.evaluate.path),
        stages=[f"{artifact.manifest.id}@{artifact.manifest.key}" for artifact in used],
        base=Scores.read(inputs.base.path) if inputs.base else None,
    )


def _phase(plan: PhaseOrder) -> PhaseRecord:
    tokens = {corpus: budget * plan.sequence_length for corpus, budget in plan.budgets.items() if budget}
    return PhaseRecord(plan.phase, tokens)


def _corpus(name: str, history: CorpusHistory[Artifact]) -> CorpusRecord:
    sourced, filtered, kept = (
        int(each.manifest.metrics["data/documents"]) for each in (history.source, history.filter, history.dedup)
    )
    train_tokens = int(history.tokens.manifest.metrics["data/train_tokens"])
    return CorpusRecord(name, sourced, filtered, kept, train_tokens, _licences(history))


def _licences(history: CorpusHistory[Artifact]) -> dict[str, int]:
    """Kept documents by licence, from two narrow columns, shard by shard."""
    counts = Counter[str]()
    shards = zip(
        shard_paths(history.source.path, "documents"), shard_paths(history.dedup.path, "decisions"), strict=True
    )
    for documents, decisions in shards:
        licences = read_table(documents, columns=["licence"])["licence"]
        kept = licences.filter(read_table(decisions, columns=["keep"])["keep"])
        for pair in pc.value_counts(pc.fill_null(kept, "")).to_pylist():
            counts[pair["values"]] += pair["counts"]
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
