"""The fate of a corpus' documents: counted shard by shard from narrow columns, text read for the samples alone."""

import heapq
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from infra.artifact import Artifact
from pipelines.artifacts.documents import SECOND_CHOICE, redact, shard_paths
from pipelines.artifacts.formats.parquet import ParquetFile, read_table
from pipelines.artifacts.losses import loss_note
from pipelines.report.summary.extraction import ExtractionSummary
from pipelines.report.summary.histograms import Histograms

SAMPLES_PER_REASON = 3
SAMPLE_CHARACTERS = 300
HOST = r"^https?://(?:[^/@?#]*@)?(?:www\.)?(?P<host>\[[^\]/?#]+\]|[^/:?#]+)"
SKIPPED = "data/skipped_"
"""Prefix of the metrics of `source` that count passed-over records."""

Dropped = tuple[str, str]
"""Stage and reason."""
KEPT: Dropped = ("", "")
"""The fate of a document that no stage dropped."""
ByKind = Mapping[str, Mapping[str, Artifact]]
"""The artifacts of a run by name and subject."""
Shard = tuple[Path, Path]
"""Paths of its documents, and of the filter's decisions on them."""


@dataclass
class Count:
    """Documents and the UTF-8 bytes of their text."""

    documents: int = 0
    text_bytes: int = 0

    def add(self, sizes: np.ndarray) -> None:
        self.documents += len(sizes)
        self.text_bytes += int(sizes.sum())


@dataclass(frozen=True)
class Sample:
    """The beginning of a document."""

    doc_id: str
    url: str
    beginning: str


@dataclass
class CorpusSummary:
    """The way of one corpus' documents.

    `dropped`: documents by stage and reason, `samples` some of each, those with the smallest ids; `passed_over`:
    records that `source` made no document of, and `set_aside`, those that it could not read, by reason; `domains`:
    sourced and kept documents by domain, for documents whose address has one; `chosen_again`: those among them whose
    main part held little of the page's prose, so that another text was chosen; `extraction`: the extracted share of the
    visible text of pages; `languages`, `licences`: sourced and kept documents by each, "" for a document without a
    licence; `kept_samples`: the kept documents with the smallest ids; `clusters`: number by size.
    """

    name: str
    sourced: Count = field(default_factory=Count)
    filtered: Count = field(default_factory=Count)
    kept: Count = field(default_factory=Count)
    dropped: dict[Dropped, Count] = field(default_factory=dict)
    samples: dict[Dropped, list[Sample]] = field(default_factory=dict)
    passed_over: Mapping[str, int] = field(default_factory=dict)
    set_aside: Counter[str] = field(default_factory=Counter)
    domains: Counter[str] = field(default_factory=Counter)
    kept_domains: Counter[str] = field(default_factory=Counter)
    chosen_again: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)
    kept_languages: Counter[str] = field(default_factory=Counter)
    licences: Counter[str] = field(default_factory=Counter)
    kept_licences: Counter[str] = field(default_factory=Counter)
    histograms: Histograms = field(default_factory=Histograms)
    extraction: ExtractionSummary = field(default_factory=ExtractionSummary)
    kept_samples: list[Sample] = field(default_factory=list)
    clusters: Counter[int] = field(default_factory=Counter)
    tokens: Mapping[str, float] = field(default_factory=dict)

    @property
    def steps(self) -> list[tuple[str, Count]]:
        """From all sourced documents to the kept ones."""
        return [("sourced", self.sourced), ("after filter", self.filtered), ("after dedup", self.kept)]

    @property
    def loss_note(self) -> str:
        """That its filter dropped more than half of the documents; "" if it did not."""
        dropped = {reason: count.documents for (stage, reason), count in self.dropped.items() if stage == "filter"}
        return loss_note(self.name, self.sourced.documents, dropped)

    @property
    def num_tokens(self) -> int:
        """Tokens of the kept documents, both splits."""
        return int(self.tokens["data/train_tokens"] + self.tokens["data/heldout_tokens"])

    def estimated_tokens(self, count: Count) -> int:
        """Estimated tokens of documents that were never encoded, by the bytes per token of those that were."""
        return round(count.text_bytes / self.tokens["data/bytes_per_token"])


@dataclass(order=True, frozen=True)
class _Candidate:
    """A document, the smallest id being the first to be shown."""

    doc_id: str
    shard: Shard = field(compare=False)
    row: int = field(compare=False)


def read_corpus(name: str, by_kind: ByKind) -> CorpusSummary:
    """The summary of corpus `name`; memory holds the narrow columns of one shard, and a number for each domain."""
    source = by_kind["source"][name].manifest
    tokens = by_kind["tokenize"].get(name) or by_kind["tokenize"][f"{name}.pairs"]
    limits = by_kind["filter"][name].manifest.params
    summary = CorpusSummary(name, tokens=tokens.manifest.metrics, histograms=Histograms.of_limits(limits))
    summary.passed_over = {
        metric.removeprefix(SKIPPED): int(count)
        for metric, count in source.metrics.items()
        if metric.startswith(SKIPPED) and count
    }
    summary.set_aside.update(record["reason"].partition(":")[0] for record in source.quarantined)
    candidates: dict[Dropped, list[_Candidate]] = {}
    for shard, table in _shards(name, by_kind, summary.histograms.columns):
        _count(summary, table)
        rows_by_reason = _rows_by_reason(table)
        for dropped, rows in rows_by_reason.items():
            summary.dropped.setdefault(dropped, Count()).add(table["text_bytes"].to_numpy()[rows])
        passed = {KEPT: np.flatnonzero(table["kept"].to_numpy())}
        for fate, rows in {**rows_by_reason, **passed}.items():
            smallest = [_Candidate(table["doc_id"][row].as_py(), shard, row) for row in _smallest(table, rows)]
            candidates[fate] = heapq.nsmallest(SAMPLES_PER_REASON, candidates.get(fate, []) + smallest)
    summary.samples = _read_samples(candidates)
    summary.kept_samples = summary.samples.pop(KEPT, [])
    return summary


def _shards(name: str, by_kind: ByKind, score_columns: Sequence[str]) -> Iterator[tuple[Shard, pa.Table]]:
    """Each shard with one table of the metadata of its documents, row by row, which includes `score_columns` of
    SCORES."""
    measured = list(dict.fromkeys(["text_bytes", "language", *score_columns]))
    kinds = (("source", "documents"), ("score", "scores"), ("filter", "filtered"), ("dedup", "decisions"))
    paths = (shard_paths(by_kind[stage][name].path, kind) for stage, kind in kinds)
    for documents, scores, filtered, decisions in zip(*paths, strict=True):
        table = read_table(documents, columns=["doc_id", "url", "licence", "extractor", "attributes"])
        scored = read_table(scores, columns=measured)
        passed = read_table(filtered, columns=["keep", "reason"])
        decided = read_table(decisions, columns=["keep", "reason", "cluster_size"])
        for column, values in (
            *((column, scored[column]) for column in measured),
            ("passed", passed["keep"]),
            ("filter", passed["reason"]),
            ("kept", decided["keep"]),
            ("dedup", decided["reason"]),
            ("cluster_size", decided["cluster_size"]),
        ):
            table = table.append_column(column, values)
        yield (documents, filtered), table


def hosts_of(urls: pa.ChunkedArray) -> pa.ChunkedArray:
    """The host of each URL in lower case, without "www." and port; null without one."""
    return pc.struct_field(pc.extract_regex(pc.utf8_lower(urls), HOST), "host")


def _count(summary: CorpusSummary, table: pa.Table) -> None:
    sizes, passed, is_kept = (table[name].to_numpy() for name in ("text_bytes", "passed", "kept"))
    summary.sourced.add(sizes)
    summary.filtered.add(sizes[passed])
    summary.kept.add(sizes[is_kept])
    summary.clusters.update(table["cluster_size"].to_numpy()[is_kept].tolist())
    summary.histograms.add(table, np.array(table["filter"]))
    licences = pc.fill_null(table["licence"], "")
    hosts = hosts_of(table["url"])
    again = pc.starts_with(table["extractor"], SECOND_CHOICE)
    summary.extraction.add(table["attributes"], table["extractor"], hosts)
    for counter, selected in (
        (summary.domains, hosts),
        (summary.kept_domains, hosts.filter(table["kept"])),
        (summary.chosen_again, hosts.filter(again)),
        (summary.languages, table["language"]),
        (summary.kept_languages, table["language"].filter(table["kept"])),
        (summary.licences, licences),
        (summary.kept_licences, licences.filter(table["kept"])),
    ):
        for pair in pc.value_counts(selected.drop_null()).to_pylist():
            counter[pair["values"]] += pair["counts"]


def _rows_by_reason(table: pa.Table) -> dict[Dropped, np.ndarray]:
    """Rows of the dropped documents, each under the stage that dropped it and its reason."""
    passed, is_kept = (table[name].to_numpy() for name in ("passed", "kept"))
    rows: dict[Dropped, np.ndarray] = {}
    for stage, mask in (("filter", ~passed), ("dedup", passed & ~is_kept)):
        reasons = np.where(mask, np.array(table[stage]), "")
        for reason in sorted(set(reasons[mask].tolist())):
            rows[stage, reason] = np.flatnonzero(mask & (reasons == reason))
    return rows


def _smallest(table: pa.Table, rows: np.ndarray) -> list[int]:
    """Of `rows`, those of the smallest ids."""
    ids = table["doc_id"].take(pa.array(rows))
    order = pc.select_k_unstable(pa.table({"id": ids}), SAMPLES_PER_REASON, [("id", "ascending")])
    return [int(rows[index]) for index in order.to_pylist()]


def _read_samples(candidates: Mapping[Dropped, list[_Candidate]]) -> dict[Dropped, list[Sample]]:
    """The beginnings of the candidates; of each row group that holds one, the text is read once."""
    rows_by_shard: dict[Shard, set[int]] = {}
    for sampled in candidates.values():
        for candidate in sampled:
            rows_by_shard.setdefault(candidate.shard, set()).add(candidate.row)
    samples = {
        sample.doc_id: sample for shard, rows in rows_by_shard.items() for sample in _samples_of(shard, sorted(rows))
    }
    return {dropped: [samples[candidate.doc_id] for candidate in sampled] for dropped, sampled in candidates.items()}


def _samples_of(shard: Shard, rows: Sequence[int]) -> Iterator[Sample]:
    """Samples as training would have read them: with the filter's redactions."""
    documents, filtered = shard
    redactions = read_table(filtered, columns=["redactions"])["redactions"]
    file, first = ParquetFile(documents), 0
    for number in range(file.num_row_groups):
        size = file.metadata.row_group(number).num_rows
        inside = [row for row in rows if first <= row < first + size]
        if inside:
            group = file.read_row_group(number, columns=["doc_id", "url", "text"])
            for row, record in zip(inside, group.take([row - first for row in inside]).to_pylist(), strict=True):
                text = redact(record["text"], redactions[row].as_py())
                yield Sample(record["doc_id"], record["url"], _beginning(text.strip()))
        first += size


def _beginning(text: str) -> str:
    return text if len(text) <= SAMPLE_CHARACTERS else f"{text[:SAMPLE_CHARACTERS]}…"
