"""What the page tells, read from the artifacts of a run: plain numbers by corpus and by phase."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from infra.store import Artifact, Manifest
from pipelines.artifacts.checkpoint import EXPERT_LOAD_FILE, HISTORY_FILE
from pipelines.artifacts.documents import shard_paths
from pipelines.artifacts.phase_plan import PhasePlan
from pipelines.artifacts.report import SAMPLES_FILE, Scores


@dataclass
class Count:
    """Documents and the UTF-8 bytes of their text."""

    documents: int = 0
    text_bytes: int = 0


@dataclass
class CorpusFacts:
    """The way of one corpus' documents. `dropped`: documents by stage and reason; `clusters`: number by size."""

    name: str
    sourced: Count = field(default_factory=Count)
    filtered: Count = field(default_factory=Count)
    kept: Count = field(default_factory=Count)
    dropped: Counter[tuple[str, str]] = field(default_factory=Counter)
    clusters: Counter[int] = field(default_factory=Counter)
    tokens: Mapping[str, float] = field(default_factory=dict)

    @property
    def steps(self) -> list[tuple[str, Count]]:
        """From all that was found to what is left."""
        return [("sourced", self.sourced), ("after filter", self.filtered), ("after dedup", self.kept)]


@dataclass(frozen=True)
class PhaseFacts:
    """One phase: what was planned, how the loss went, how the experts were used, what it scores.

    `history`: columns of HISTORY by name; `expert_load`: [layers, experts], share of assignments times experts.
    """

    number: int
    plan: PhasePlan
    epochs: Mapping[str, float]
    history: Mapping[str, np.ndarray]
    expert_load: np.ndarray
    scores: Scores
    samples: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class RunFacts:
    """Everything the page is made of."""

    title: str
    corpora: Sequence[CorpusFacts]
    phases: Sequence[PhaseFacts]
    manifests: Sequence[Manifest]

    @property
    def measures(self) -> list[str]:
        """Names of all scores, in the order of their first phase."""
        return list(dict.fromkeys(name for phase in self.phases for name in phase.scores.scores))


def read_facts(title: str, artifacts: Mapping[str, Artifact]) -> RunFacts:
    """The facts of a run from its committed stages, by name and subject of their manifests."""
    by_kind: dict[str, dict[str, Artifact]] = {}
    for artifact in artifacts.values():
        by_kind.setdefault(artifact.manifest.name, {})[artifact.manifest.subject] = artifact
    corpora = [_corpus(name, by_kind) for name in by_kind["source"]]
    phases = [_phase(int(subject), by_kind) for subject in sorted(by_kind["mix"], key=int)]
    return RunFacts(title, corpora, phases, [artifact.manifest for artifact in artifacts.values()])


def _corpus(name: str, by_kind: Mapping[str, Mapping[str, Artifact]]) -> CorpusFacts:
    facts = CorpusFacts(name, tokens=by_kind["tokenize"][name].manifest.metrics)
    for text_bytes, scores, decisions in _shards(name, by_kind):
        passed, kept = (np.array(table["keep"], dtype=bool) for table in (scores, decisions))
        for count, mask in ((facts.sourced, np.ones_like(kept)), (facts.filtered, passed), (facts.kept, kept)):
            count.documents += int(mask.sum())
            count.text_bytes += int(text_bytes[mask].sum())
        facts.dropped.update(("filter", reason) for reason in np.array(scores["reason"])[~passed].tolist())
        facts.dropped.update(("dedup", reason) for reason in np.array(decisions["reason"])[passed & ~kept].tolist())
        facts.clusters.update(np.array(decisions["cluster_size"])[kept].tolist())
    return facts


def _shards(name: str, by_kind: Mapping[str, Mapping[str, Artifact]]) -> Iterator[tuple[np.ndarray, Any, Any]]:
    """Per shard: UTF-8 bytes of each text, and the tables of scores and decisions, in the same order of rows."""
    paths = (
        shard_paths(by_kind[kind][name].path, files)
        for kind, files in (("source", "documents"), ("filter", "scores"), ("dedup", "decisions"))
    )
    for documents, scores, decisions in zip(*paths, strict=True):
        yield (
            _text_bytes(documents),
            pq.read_table(scores, columns=["keep", "reason"]),
            pq.read_table(decisions, columns=["keep", "reason", "cluster_size"]),
        )


def _text_bytes(documents: Path) -> np.ndarray:
    batches = pq.ParquetFile(documents).iter_batches(columns=["text"])
    lengths = [pc.binary_length(batch["text"]).to_numpy(zero_copy_only=False) for batch in batches]
    return np.concatenate(lengths) if lengths else np.zeros(0, dtype=np.int64)


def _phase(number: int, by_kind: Mapping[str, Mapping[str, Artifact]]) -> PhaseFacts:
    mix, train, evaluate = (by_kind[kind][str(number)] for kind in ("mix", "train", "evaluate"))
    history = pq.read_table(train.path / HISTORY_FILE)
    load = pq.read_table(train.path / EXPERT_LOAD_FILE)
    layers, experts = (int(pc.max(load[column]).as_py()) + 1 for column in ("layer", "expert"))
    relative = np.zeros((layers, experts))
    relative[load["layer"].to_numpy(), load["expert"].to_numpy()] = load["share"].to_numpy() * experts
    prefix = "data/epochs_"
    return PhaseFacts(
        number=number,
        plan=PhasePlan.read(mix.path),
        epochs={
            name.removeprefix(prefix): value for name, value in mix.manifest.metrics.items() if name.startswith(prefix)
        },
        history={name: history[name].to_numpy() for name in history.column_names},
        expert_load=relative,
        scores=Scores.read(evaluate.path),
        samples=pq.read_table(evaluate.path / SAMPLES_FILE).to_pylist(),
    )
