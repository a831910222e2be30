"""The stage `filter`: a score and a decision for every document, beside the text and never in it."""

from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data_recipes.refining import FilterSection
from infra.context import StageContext
from infra.fanout import ShardResult, map_shards
from infra.stage import Metrics, Stage
from infra.store import Artifact
from pipelines.artifacts.documents import READ_BATCH_ROWS, shard_paths, write_shard
from pipelines.filter.rules import RULES, decide
from pipelines.filter.scores import SCORES, score

DOC_ID = pa.field("doc_id", pa.string(), nullable=False)
KEEP = pa.field("keep", pa.bool_(), nullable=False)
REASON = pa.field("reason", pa.string(), nullable=False)


class FilterError(RuntimeError):
    """The rules leave nothing: the message says which dropped how many."""


def stage(name: str, section: FilterSection, source: Stage) -> Stage:
    """Scores and decisions for the documents of corpus `name`."""
    return Stage("filter", name, 1, section.as_params(), {"source": source}, partial(_filter, name, section))


def _filter(name: str, section: FilterSection, context: StageContext, inputs: Mapping[str, Artifact]) -> Metrics:
    shards = list(enumerate(shard_paths(inputs["source"].path, "documents")))
    totals: Counter[str] = Counter()
    for result in map_shards(context, partial(score_shard, section), shards):
        totals.update(result.metrics)
    if not totals["documents"]:
        dropped = ", ".join(
            f"{reason} {totals[f'dropped_{reason}']}" for reason in RULES if totals[f"dropped_{reason}"]
        )
        raise FilterError(
            f"corpus {name}: the rules dropped all {totals['documents_in']} documents ({dropped}). "
            "Loosen these thresholds of [filter]."
        )
    return {f"data/{count}": value for count, value in totals.items()}


def score_shard(section: FilterSection, shard: tuple[int, Path], folder: Path) -> ShardResult:
    """Write scores/NNNNN.parquet for one shard of documents, row by row."""
    number, documents = shard
    rows: list[dict[str, object]] = []
    sizes: list[int] = []
    for batch in pq.ParquetFile(documents).iter_batches(READ_BATCH_ROWS, columns=["doc_id", "text"]):
        for doc_id, text in zip(batch["doc_id"].to_pylist(), batch["text"].to_pylist(), strict=True):
            rows.append({"doc_id": doc_id, **score(text)})
            sizes.append(len(text.encode()))
    scores = pa.Table.from_pylist(rows, schema=pa.schema([DOC_ID, *SCORES]))
    keep, reasons = decide(scores, section)
    for field, values in ((KEEP, keep), (REASON, reasons)):
        scores = scores.append_column(field, pa.array(values, field.type))
    write_shard(scores, folder / "scores", number)
    counts = Counter(
        documents_in=len(sizes), bytes_in=sum(sizes), documents=int(keep.sum()), bytes=int(np.dot(sizes, keep))
    )
    counts.update(f"dropped_{reason}" for reason in reasons[~keep])
    return ShardResult(counts)
