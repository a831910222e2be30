"""The stage `filter`: a sidecar decision on every document from its scores, without reading it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from arctic_errors import UserError
from data_recipes.sections.refining import FilterSection
from infra.artifact import Artifact
from infra.context import StageContext
from infra.fanout import ShardResult, map_shards
from infra.host.masking import masked
from infra.inputs import Inputs, Node
from infra.stage import Metrics, Stage
from pipelines.artifacts.documents import FILTERED, shard_paths, write_shard
from pipelines.artifacts.formats.parquet import read_table
from pipelines.artifacts.losses import loss_note
from pipelines.extension import Extension, restore
from pipelines.filter.from_recipe import load_takedown
from pipelines.filter.labels import apply_labels, reason_of
from pipelines.filter.own import apply_rules
from pipelines.filter.redactions import redaction_column
from pipelines.filter.rules import DOCUMENT_COLUMNS, RULES, decide
from pipelines.filter.takedown import Takedown, idle_entries

NAMED = "takedown_entries"
"""Keys of the takedown entries that named a document of a shard."""
IDLE_ENTRIES = "takedown_without_document.txt"
SHOWN_ENTRIES = 20

Shard = tuple[int, tuple[Path, Path, Path], Mapping[str, Path]]
"""Number, paths of the shards of documents, scores and findings, and those of annotations by name."""


@dataclass(frozen=True)
class FilterInputs(Inputs[Node]):
    """Documents, their scores, and the annotations by name that limits need."""

    source: Node
    score: Node
    annotate: Mapping[str, Node] = field(default_factory=dict)


class FilterError(UserError, RuntimeError):
    """The rules leave nothing: the message counts the documents that each rule dropped."""


def stage(
    name: str, section: FilterSection, fingerprints: Mapping[str, Any], folder: Path, inputs: FilterInputs[Stage]
) -> Stage:
    """Decisions on the documents of corpus `name`. `fingerprints` come from `fingerprint`; relative paths start at
    `folder`.

    The work raises FilterError if no document is left.
    """
    params = section.identity()
    # The profile has set the other fields.
    del params["rules"], params["profile"]
    work = partial(_filter, name, section, fingerprints, folder)
    return Stage("filter", name, 6, {**params, "fingerprints": dict(fingerprints)}, inputs.named(), work)


def _filter(
    name: str,
    section: FilterSection,
    fingerprints: Mapping[str, Any],
    folder: Path,
    context: StageContext,
    inputs: Mapping[str, Artifact],
) -> Metrics:
    takedown = load_takedown(section, fingerprints, folder)
    rules = restore(section.rules, fingerprints.get("rules", ()), folder)
    corpus = FilterInputs.of(inputs)
    documents = shard_paths(corpus.source.path, "documents")
    sidecars = (shard_paths(corpus.score.path, kind) for kind in ("scores", "pii"))
    labels = {name: shard_paths(each.path, "annotations") for name, each in corpus.annotate.items()}
    shards = [
        (number, paths, {name: labels[name][number] for name in labels})
        for number, paths in enumerate(zip(documents, *sidecars, strict=True))
    ]
    totals: Counter[str] = Counter()
    named: set[str] = set()
    for result in map_shards(context, partial(filter_shard, section, takedown, rules), shards):
        named.update(result.metrics[NAMED])
        totals.update({count: value for count, value in result.metrics.items() if count != NAMED})
    _report_idle(name, idle_entries(takedown, named), context)
    own = [reason_of(limit) for limit in section.labels]
    own += sorted(name.removeprefix("dropped_") for name in totals if name.startswith("dropped_"))
    dropped = {reason: count for reason in dict.fromkeys([*RULES, *own]) if (count := totals[f"dropped_{reason}"])}
    if not totals["documents"]:
        listed = ", ".join(f"{reason} {count}" for reason, count in dropped.items())
        raise FilterError(
            f"corpus {name}: the rules dropped all {totals['documents_in']} documents ({listed}). "
            "Loosen these thresholds of [filter]."
        )
    if note := loss_note(name, totals["documents_in"], dropped):
        context.warn(note)
    return {f"data/{count}": value for count, value in totals.items()}


def filter_shard(
    section: FilterSection, takedown: Takedown, rules: Sequence[Extension], shard: Shard, folder: Path
) -> ShardResult:
    """Write filtered/NNNNN.parquet for one shard."""
    number, (documents, scores, pii), annotations = shard
    scored = read_table(scores)
    listed = read_table(documents, columns=["doc_id", *DOCUMENT_COLUMNS])
    if not listed["doc_id"].equals(scored["doc_id"]):
        raise ValueError(f"{scores}: rows are not those of {documents}; build score again")
    reasons = apply_labels(section.labels, annotations, listed["doc_id"], decide(scored, listed, section, takedown))
    if rules:
        columns = pa.table({**_columns(scored), **_columns(listed)})
        reasons = apply_rules([rule.make() for rule in rules], columns, reasons)
    redactions = redaction_column(scored["doc_id"], read_table(pii), section.redact)
    rows = [scored["doc_id"], pa.array(reasons == ""), pa.array(reasons, pa.string()), scored["quality"], redactions]
    write_shard(pa.table(rows, schema=FILTERED), folder / "filtered", number)
    gone = listed.filter(pa.array(reasons == "takedown"))
    pairs = zip(gone["doc_id"].to_pylist(), gone["url"].to_pylist(), strict=True)
    named = set().union(*(takedown.naming(doc_id, url) for doc_id, url in pairs))
    return ShardResult({**_count(scored, reasons, redactions), NAMED: sorted(named)})


def _columns(table: pa.Table) -> dict[str, pa.ChunkedArray]:
    return dict(zip(table.column_names, table.columns, strict=True))


def _report_idle(name: str, entries: list[str], context: StageContext) -> None:
    """Report takedown entries that named no document, all of them in a file of the result."""
    if not entries:
        return
    (context.out / IDLE_ENTRIES).write_text("".join(f"{entry}\n" for entry in entries), encoding="utf-8")
    shown = ", ".join(entries[:SHOWN_ENTRIES]) + (", ..." if len(entries) > SHOWN_ENTRIES else "")
    context.warn(f"corpus {name}: takedown: {len(entries)} entries name no document of it: {masked(shown)}")


def _count(scores: pa.Table, reasons: np.ndarray, redactions: pa.Array) -> Counter[str]:
    keep, sizes = reasons == "", scores["text_bytes"].to_numpy()
    counts = Counter(
        documents_in=len(keep), bytes_in=int(sizes.sum()), documents=int(keep.sum()), bytes=int(sizes[keep].sum())
    )
    counts.update(f"dropped_{reason}" for reason in reasons[~keep])
    spans = redactions.filter(pa.array(keep)).flatten()
    counts.update(f"redacted_{kind}" for kind in spans.field("kind").to_pylist())
    return counts
