"""The stage `source`: raw bytes to documents with provenance."""

from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from data_recipes.inputs import TextToSqlInput
from data_recipes.schema import SourceSection
from infra.context import StageContext
from infra.fanout import map_shards
from infra.stage import Metrics, Stage
from infra.store import Artifact
from pipelines.artifacts.questions import write_questions
from pipelines.source.inputs import plan
from pipelines.source.shards import Shard, read_shard
from pipelines.source.text_to_sql import sql_questions


class SourceError(RuntimeError):
    """The inputs give no usable corpus: the message says what was found and what to do."""


def stage(name: str, section: SourceSection, pins: Mapping[str, Any], folder: Path) -> Stage:
    """The documents of corpus `name`. `pins` come from `pin`; relative paths start at `folder`.

    Where files lie is not in the key: what they contain is.
    """
    params = section.as_params()
    for item in params["inputs"]:
        item.pop("paths", None)
    work = partial(_source, name, section, pins, folder)
    return Stage("source", name, 1, {**params, "pins": pins}, {}, work)


def _source(
    name: str,
    section: SourceSection,
    pins: Mapping[str, Any],
    folder: Path,
    context: StageContext,
    inputs: Mapping[str, Artifact],  # noqa: ARG001 - a source has none
) -> Metrics:
    shards = [
        Shard(number, part, section.extractor, section.heldout_fraction)
        for number, part in enumerate(plan(section, pins, folder))
    ]
    totals: Counter[str] = Counter()
    for result in map_shards(context, read_shard, shards):
        totals.update(result.metrics)
    _write_questions(section, context.out)
    _require_readable(name, section, totals, context.quarantined)
    return {f"data/{count}": value for count, value in totals.items()} | {"data/quarantined": len(context.quarantined)}


def _write_questions(section: SourceSection, out: Path) -> None:
    questions: list[dict[str, str]] = []
    databases: list[dict[str, str]] = []
    for number, item in enumerate(section.inputs, start=1):
        if isinstance(item, TextToSqlInput):
            asked, made = sql_questions(item, f"{number}")
            questions += asked
            databases += made
    if databases:
        write_questions(questions, databases, out)


def _require_readable(
    name: str, section: SourceSection, totals: Mapping[str, int], quarantined: list[Mapping[str, str]]
) -> None:
    """Raise SourceError where too much was unreadable, or nothing is left."""
    skipped = {count: value for count, value in totals.items() if count.startswith("skipped_") and value}
    seen = totals["documents"] + sum(skipped.values()) + len(quarantined)
    first = f"; the first: {quarantined[0]['origin']}: {quarantined[0]['reason']}" if quarantined else ""
    if len(quarantined) > section.max_quarantined_fraction * seen:
        raise SourceError(
            f"corpus {name}: {len(quarantined)} of {seen} records could not be read ({len(quarantined) / seen:.1%}), "
            f"more than source.max_quarantined_fraction = {section.max_quarantined_fraction}{first}. "
            "Bring sound files, or raise the limit."
        )
    if not totals["documents"]:
        passed = ", ".join(f"{value} {count.removeprefix('skipped_')}" for count, value in skipped.items()) or "none"
        raise SourceError(
            f"corpus {name}: the inputs hold no document (records passed over: {passed}; unreadable: "
            f"{len(quarantined)}{first}). Give source.inputs with text."
        )
