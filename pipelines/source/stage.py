"""The stage `source`: raw bytes to documents with provenance."""

from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from arctic_errors import UserError
from data_recipes.schema import SourceSection
from infra.artifact import Artifact
from infra.context import StageContext
from infra.fanout import ShardResult, forget_shards, map_shards, shard_key
from infra.stage import Metrics, Stage
from pipelines.artifacts.questions import write_questions
from pipelines.source.from_recipe import annotated_inputs, identity, left_out, plan, question_kinds
from pipelines.source.shards import Shard, read_shard
from pipelines.source.web.pdf import READER, reader_versions


class SourceError(UserError, RuntimeError):
    """The inputs give no usable corpus: the message contains the counts and the remedy."""


def stage(
    name: str,
    section: SourceSection,
    fingerprints: Mapping[str, Any],
    folder: Path,
    made: Mapping[str, Mapping[str, Stage]] = MappingProxyType({}),
) -> Stage:
    """The documents of corpus `name`. `fingerprints` come from `fingerprint`; relative paths start at `folder`.
    `made`: annotations that inputs may read, by corpus and name.

    The key depends on the content of files, not on their location.
    """
    params = {
        **section.as_params(),
        "inputs": [identity(item) for item in section.inputs],
        "read_pdf": section.read_pdf and reader_versions(),
        "fingerprints": fingerprints,
    }
    inputs = {item.stage_id: made[item.corpus][item.annotation] for item in annotated_inputs(section)}
    packages = (READER,) if section.read_pdf else ()
    work = partial(_source, name, section, fingerprints, folder)
    return Stage("source", name, 9, params, inputs, work, packages=packages)


def _source(
    name: str,
    section: SourceSection,
    fingerprints: Mapping[str, Any],
    folder: Path,
    context: StageContext,
    inputs: Mapping[str, Artifact],
) -> Metrics:
    planned = plan(section, fingerprints, folder, inputs)
    for link in left_out(section, folder):
        context.warn(f"corpus {name}: {link}: the link leads nowhere; it is left out. Mend it, or delete it.")
    how = (section.extractor, section.heldout_fraction, section.text_format, section.read_pdf)
    shards = [Shard(number, split.reader, *how) for number, split in enumerate(planned)]
    reading = (*how[:-1], reader_versions() if section.read_pdf else False)
    keys = [shard_key(number, [*reading, split.fingerprint]) for number, split in enumerate(planned)]
    totals: Counter[str] = Counter()
    results = map_shards(context, _read, shards, keys=keys)
    for result in results:
        totals.update(result.metrics)
    _write_questions(section, folder, context.out)
    try:
        _require_readable(name, section, totals, context.quarantined)
    except SourceError:
        # Files that could not be downloaded today may be available tomorrow: the next attempt asks for them again.
        forget_shards(context, [number for number, result in enumerate(results) if result.metrics.get("lost_files")])
        raise
    return {f"data/{count}": value for count, value in totals.items()} | {"data/quarantined": len(context.quarantined)}


def _read(shard: Shard, folder: Path) -> ShardResult:
    return ShardResult(*read_shard(shard, folder))


def _write_questions(section: SourceSection, folder: Path, out: Path) -> None:
    questions: list[dict[str, str]] = []
    databases: list[dict[str, str]] = []
    for number, kind in question_kinds(section, folder).items():
        rows, scripts = kind.questions(f"{number}")
        questions += rows
        databases += scripts
    if databases:
        write_questions(questions, databases, out)


def _require_readable(
    name: str, section: SourceSection, totals: Mapping[str, int], quarantined: list[Mapping[str, str]]
) -> None:
    """Raise SourceError if too much was unreadable, or nothing is left."""
    skipped = {count: value for count, value in totals.items() if count.startswith("skipped_") and value}
    seen = totals["documents"] + sum(skipped.values()) + len(quarantined)
    first = f"; the first: {quarantined[0]['origin']}: {quarantined[0]['reason']}" if quarantined else ""
    if totals["lost_files"] > section.max_quarantined_fraction * totals["files"]:
        raise SourceError(
            f"corpus {name}: {totals['lost_files']} of {totals['files']} files could not be read, more than "
            f"source.max_quarantined_fraction = {section.max_quarantined_fraction}{first}. Start the run again to try "
            "only those once more, take them out, or raise the limit."
        )
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
