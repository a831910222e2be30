"""The stage `score`: reads the text once, and all decisions depend on its scores."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data_recipes.sections.refining import ScoreSection
from infra.artifact import Artifact
from infra.context import StageContext
from infra.fanout import ShardResult, map_shards, shard_key
from infra.inputs import Inputs, Node
from infra.stage import Metrics, Stage
from pipelines.artifacts.documents import DOCUMENTS, Document, shard_paths
from pipelines.artifacts.formats.parquet import ParquetFile, parquet_writer
from pipelines.artifacts.scores import CONTAMINATION, PII, PII_KINDS, SCORES
from pipelines.score.contamination import EXCERPT_CHARACTERS, Hit
from pipelines.score.from_recipe import load_scorer, params
from pipelines.score.own import own_fields, own_scores
from pipelines.score.scorer import Scorer

SCHEMAS = {"scores": SCORES, "pii": PII, "contamination": CONTAMINATION}
READ_COLUMNS = ["doc_id", "text", "url", "opt_out"]


@dataclass(frozen=True)
class ScoreInputs(Inputs[Node]):
    """The documents to measure."""

    source: Node


def stage(name: str, section: ScoreSection, fingerprints: Mapping[str, Any], folder: Path, source: Stage) -> Stage:
    """Scores of the documents of corpus `name`. `fingerprints` come from `fingerprint`; relative paths start at
    `folder`."""
    work = partial(_score, section, fingerprints, folder)
    fixed = params(section, fingerprints)
    # A classifier's probability is the one score that is computed with library functions in floating point.
    inputs = ScoreInputs(source).named()
    return Stage("score", name, 12, fixed, inputs, work, machine_dependent=bool(section.quality_model))


def _score(
    section: ScoreSection,
    fingerprints: Mapping[str, Any],
    folder: Path,
    context: StageContext,
    inputs: Mapping[str, Artifact],
) -> Metrics:
    source = ScoreInputs.of(inputs).source
    shards = list(enumerate(shard_paths(source.path, "documents")))
    keys = [shard_key(number, params(section, fingerprints), source.digest(path)) for number, path in shards]
    totals: Counter[str] = Counter()
    for result in map_shards(context, partial(score_shard, section, fingerprints, folder), shards, keys=keys):
        totals.update(result.metrics)
    index = load_scorer(section, fingerprints, folder).index
    counts = {"benchmark_texts": len(index.names), "benchmark_texts_too_short": index.num_too_short}
    return {f"data/{count}": value for count, value in (totals | Counter(counts)).items()}


def score_shard(
    section: ScoreSection, fingerprints: Mapping[str, Any], folder: Path, shard: tuple[int, Path], out: Path
) -> ShardResult:
    """Write scores, findings and contamination of one shard of documents, one row group for each of its row groups:
    memory holds one, and the bytes depend on the documents alone."""
    number, path = shard
    scorer = load_scorer(section, fingerprints, folder)
    schemas = {**SCHEMAS, "scores": pa.schema([*SCORES, *own_fields(scorer.own)])}
    columns = DOCUMENTS.names if scorer.own else READ_COLUMNS
    counts: Counter[str] = Counter()
    documents = ParquetFile(path)
    writers = {kind: _writer(out / kind, number, schema) for kind, schema in schemas.items()}
    try:
        for group in range(documents.num_row_groups):
            rows = _score_rows(scorer, documents.read_row_group(group, columns=columns), counts)
            for kind, writer in writers.items():
                writer.write_table(pa.Table.from_pylist(rows[kind], schema=schemas[kind]))
    finally:
        for writer in writers.values():
            writer.close()
    return ShardResult(dict(sorted(counts.items())))


def _writer(folder: Path, number: int, schema: pa.Schema) -> pq.ParquetWriter:
    folder.mkdir(parents=True, exist_ok=True)
    return parquet_writer(folder / f"{number:05d}.parquet", schema)


def _score_rows(scorer: Scorer, documents: pa.Table, counts: Counter[str]) -> dict[str, list[dict[str, Any]]]:
    """Rows of each of SCHEMAS for some documents."""
    rows: dict[str, list[dict[str, Any]]] = {kind: [] for kind in SCHEMAS}
    for number in range(documents.num_rows):
        document = {name: documents[name][number].as_py() for name in documents.column_names}
        doc_id, text = document.pop("doc_id"), document["text"]
        scored = scorer.score(text, document["url"], document["opt_out"])
        own = own_scores(scorer.own, Document(**document)) if scorer.own else {}
        rows["scores"].append({"doc_id": doc_id, **scored.row, **own})
        rows["pii"] += [{"doc_id": doc_id, **finding._asdict()} for finding in scored.pii]
        rows["contamination"] += [{"doc_id": doc_id, **_evidence(hit, text)} for hit in scored.hits]
        _count(counts, scored.row, len(scored.hits))
    return rows


def _evidence(hit: Hit, text: str) -> dict[str, Any]:
    excerpt = text[hit.start : min(hit.end, hit.start + EXCERPT_CHARACTERS)]
    return {**hit._asdict(), "item": str(hit.item), "excerpt": excerpt}


def _count(counts: Counter[str], row: Mapping[str, Any], num_hits: int) -> None:
    counts.update(documents=1, bytes=row["text_bytes"], language_arbitrated=int(row["language_arbitrated"]))
    counts.update(contamination_hits=num_hits, **{f"pii_{kind}": row[f"pii_{kind}"] for kind in PII_KINDS})
