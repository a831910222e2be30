"""The stage `annotate`: documents labelled by a model behind a server.

annotate   annotations/NNNNN.parquet   annotation_schema: one row a document, in the order of the documents
           documents/NNNNN.parquet     DOCUMENTS that the answers hold, if the recipe names them
           requests.jsonl              [key, record] of every request whose answer is used here
"""

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from data_recipes.sections.annotation import AnnotateSection
from infra.artifact import Artifact
from infra.context import StageContext
from infra.inputs import Inputs, Node
from infra.stage import Metrics, Stage
from infra.store.journal import Journal
from pipelines.annotate.answers import arrow_type
from pipelines.annotate.asking import Asker, Outcome
from pipelines.annotate.budget import AnnotateError
from pipelines.artifacts.documents import Document, DocumentWriter, draw_uniform, shard_paths
from pipelines.artifacts.formats.parquet import ParquetFile, parquet_writer

READ_COLUMNS = ["doc_id", "text", "url", "split", "licence"]
REQUESTS = "requests.jsonl"


@dataclass(frozen=True)
class AnnotateInputs(Inputs[Node]):
    """The documents to label."""

    source: Node


def stage(corpus: str, section: AnnotateSection, source: Stage) -> Stage:
    """Annotation `section.name` of the documents of `corpus`.

    The work raises ServerError if the server cannot be used, AnnotateError if a budget is spent or too many answers are
    unusable; the answers received so far are saved.
    """
    work = partial(_annotate, section)
    return Stage("annotate", f"{corpus}.{section.name}", 1, section.identity(), AnnotateInputs(source).named(), work)


def annotation_schema(section: AnnotateSection) -> pa.Schema:
    """Columns of `annotations`. `labels`: null for a document that the model was not asked about, or gave no usable
    answer on, which `problem` explains; `requests`: how many times it was asked."""
    return pa.schema(
        [
            pa.field("doc_id", pa.string(), nullable=False),
            pa.field("labels", arrow_type(section.answer)),
            pa.field("problem", pa.string()),
            pa.field("requests", pa.int32(), nullable=False),
        ]
    )


def _annotate(section: AnnotateSection, context: StageContext, inputs: Mapping[str, Artifact]) -> Metrics:
    source = AnnotateInputs.of(inputs).source
    counts: Counter[str] = Counter()
    paid = dict(_earlier_requests(context))
    with Journal(context.state / REQUESTS) as journal, (context.out / REQUESTS).open("wb") as used:
        asker = Asker(section, journal, paid, context)
        shards = list(enumerate(shard_paths(source.path, "documents")))
        total = sum(ParquetFile(path).metadata.num_rows for _, path in shards)
        for number, path in shards:
            for rows in _annotate_shard(section, asker, (number, path), context.out, used):
                counts.update(rows)
                context.progress(counts["documents"], total, "documents")
    _require_usable(section, counts)
    spent, cost = asker.budget.spent, asker.budget.cost(asker.budget.spent)
    tokens = {"prompt_tokens": spent.prompt_tokens, "answer_tokens": spent.answer_tokens, "cost_usd": cost}
    metrics = {**counts, "requests_sent": spent.requests, **{name: value for name, value in tokens.items() if value}}
    return {f"data/{name}": value for name, value in metrics.items()}


def _annotate_shard(
    section: AnnotateSection, asker: Asker, shard: tuple[int, Path], out: Path, used: BinaryIO
) -> Iterator[Counter[str]]:
    """Write one shard, row group by row group; yields the counts of each."""
    number, path = shard
    documents, schema = ParquetFile(path), annotation_schema(section)
    (out / "annotations").mkdir(exist_ok=True)
    with (
        parquet_writer(out / "annotations" / f"{number:05d}.parquet", schema) as writer,
        _MadeDocuments(section, out, number) as made,
    ):
        for group in range(documents.num_row_groups):
            rows = documents.read_row_group(group, columns=READ_COLUMNS).to_pylist()
            asked = [row for row in rows if _is_chosen(section, row["doc_id"])]
            outcomes = dict(zip((row["doc_id"] for row in asked), asker.ask(asked), strict=True))
            writer.write_table(pa.Table.from_pylist([_row(row, outcomes) for row in rows], schema=schema))
            for row in asked:
                made.write(row, outcomes[row["doc_id"]])
            _write_requests(outcomes.values(), used)
            yield Counter(documents=len(rows), made_documents=made.take_count(), **_counts(outcomes.values()))


def _is_chosen(section: AnnotateSection, doc_id: str) -> bool:
    return draw_uniform(f"annotate\n{section.name}\n{doc_id}") < section.fraction


def _row(document: Mapping[str, Any], outcomes: Mapping[str, Outcome]) -> dict[str, Any]:
    outcome = outcomes.get(document["doc_id"], Outcome(None, None, ()))
    return {
        "doc_id": document["doc_id"],
        "labels": outcome.labels,
        "problem": outcome.problem,
        "requests": len(outcome.requests),
    }


def _counts(outcomes: Collection[Outcome]) -> dict[str, int]:
    labelled = sum(outcome.labels is not None for outcome in outcomes)
    return {"asked": len(outcomes), "labelled": labelled, "unusable": len(outcomes) - labelled}


def _write_requests(outcomes: Iterable[Outcome], used: BinaryIO) -> None:
    for outcome in outcomes:
        for key, record in outcome.requests:
            used.write(json.dumps([key, record], ensure_ascii=True, sort_keys=True).encode() + b"\n")


def _earlier_requests(context: StageContext) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Records in other results of this stage, as of a smaller fraction or another limit: they are paid for."""
    for artifact in context.siblings():
        file = artifact.path / REQUESTS
        if file.is_file():
            yield from (tuple(json.loads(line)) for line in file.read_bytes().splitlines())


def _require_usable(section: AnnotateSection, counts: Mapping[str, int]) -> None:
    unusable, asked = counts["unusable"], counts["asked"]
    if unusable > section.max_unusable_fraction * asked:
        raise AnnotateError(
            f"annotate.{section.name}: {unusable} of {asked} documents ({unusable / asked:.1%}) have no usable answer, "
            f"more than max_unusable_fraction = {section.max_unusable_fraction}. Improve the prompt or the answer's "
            "values, raise attempts or max_answer_tokens, or raise the limit."
        )


class _MadeDocuments:
    """Writes the texts of the answers as documents, if the section names them. A context manager."""

    def __init__(self, section: AnnotateSection, out: Path, shard: int) -> None:
        self._section = section
        self._count = 0
        self._prompt = hashlib.sha256(f"{section.system}\n{section.prompt}".encode()).hexdigest()[:16]
        self._writer = DocumentWriter(out, shard) if section.documents else None

    def write(self, document: Mapping[str, Any], outcome: Outcome) -> None:
        """Write the texts of one answer to the split of its `document`, with their provenance."""
        if self._writer is None or outcome.labels is None:
            return
        texts = outcome.labels[self._section.documents]
        for number, text in enumerate([texts] if isinstance(texts, str) else texts):
            if text.strip():
                self._writer.write(self._document(document, number, text))
                self._count += 1

    def take_count(self) -> int:
        """Documents since it was asked last."""
        count, self._count = self._count, 0
        return count

    def _document(self, document: Mapping[str, Any], number: int, text: str) -> Document:
        made_by = {"document": document["doc_id"], "model": self._section.model, "prompt_sha256": self._prompt}
        return Document(
            text=text,
            url=document["url"],
            origin=f"annotate.{self._section.name}",
            split=document["split"],
            offset=number,
            licence=document["licence"],
            extractor="model",
            attributes=json.dumps(made_by),
        )

    def __enter__(self) -> "_MadeDocuments":
        return self

    def __exit__(self, *error: object) -> None:
        if self._writer:
            self._writer.__exit__(*error)
