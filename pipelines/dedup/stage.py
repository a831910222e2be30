"""The stage `dedup`: the representative of each document, as a sidecar of the documents."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from arctic_errors import UserError
from data_recipes import RecipeError
from data_recipes.schema import DedupSection
from infra.artifact import Artifact
from infra.context import StageContext
from infra.fanout import map_shards
from infra.inputs import Inputs, Node
from infra.stage import Metrics, Stage
from pipelines.artifacts.documents import shard_paths
from pipelines.artifacts.duplicates import write_alarms
from pipelines.dedup.clustering import Clustering, cluster_shards
from pipelines.dedup.from_recipe import Fingerprints, packages, params, semantic_options
from pipelines.dedup.guards import find_alarms
from pipelines.dedup.options import DedupOptions
from pipelines.dedup.tasks import Counts, EarlierShard, NewShard, Task

COMPARABLE = ("ngram", "num_bands", "rows_per_band", "seed")
"""Fields in which corpora must agree so that their stored signatures can be compared."""


class DedupError(UserError, RuntimeError):
    """A guard stopped the stage: the message lists the alarms."""


@dataclass(frozen=True)
class Deduplicated(Inputs[Node]):
    """An earlier corpus: its documents and the decisions about them."""

    source: Node
    dedup: Node


@dataclass(frozen=True)
class DedupInputs(Inputs[Node]):
    """The documents, the filter's decisions, and by name the corpora in `dedup.against`."""

    source: Node
    filter: Node
    against: Mapping[str, Deduplicated[Node]] = field(default_factory=dict)


def stage(
    name: str, section: DedupSection, fingerprints: Fingerprints, folder: Path, inputs: DedupInputs[Stage]
) -> Stage:
    """Decisions on the documents of corpus `name` that passed the filter. `fingerprints` come from
    `fingerprint`; relative paths start at `folder`.

    Kept documents of the corpora in `section.against` rank before all of this corpus. Raises RecipeError if one was
    made with other shingles, signatures or embeddings.
    """
    fixed = params(section, fingerprints)
    for earlier in section.against:
        _require_comparable(section, earlier, inputs.against[earlier].dedup)
        _require_same_model(fixed, earlier, inputs.against[earlier].dedup)
    work = partial(_dedup, name, section, fingerprints, folder)
    return Stage("dedup", name, 4, fixed, inputs.named(), work, packages=packages(section, folder))


def _require_same_model(fixed: Mapping[str, Any], earlier: str, deduped: Stage) -> None:
    models = [each.get("semantic", {}).get("digest") for each in (fixed, deduped.params)]
    if None not in models and models[0] != models[1]:
        raise RecipeError(
            f"dedup.semantic.model: {earlier}, which dedup.against names, has embeddings of another model. "
            "Name the same model in both."
        )


def _require_comparable(section: DedupSection, earlier: str, deduped: Stage) -> None:
    for rule in COMPARABLE:
        ours, theirs = getattr(section, rule), deduped.params[rule]
        if ours != theirs:
            raise RecipeError(
                f"dedup.{rule} = {ours}, but {earlier}, which dedup.against names, has {theirs}. "
                f"Use {theirs} here, or {ours} there."
            )


@dataclass(frozen=True)
class StagePasses:
    """Each pass in a folder of the stage's state, its tasks spread over the cluster and resumed one by one."""

    context: StageContext

    def folder(self, name: str) -> Path:
        return self.context.state / name / "out"

    def run(self, name: str, tasks: Sequence[Task], unit: str, out: Path | None = None) -> list[Counts]:
        if out is None:
            out = self.folder(name)
            if out.exists():
                self.discard(out)
            out.mkdir(parents=True)
        results = map_shards(replace(self.context, out=out), run_task, tasks, part=name, unit=unit)
        return [result.metrics for result in results]

    def discard(self, folder: Path) -> None:
        self.context.discard(folder)


def run_task(task: Task, folder: Path) -> Counts:
    return task.run(folder)


def _dedup(
    name: str,
    section: DedupSection,
    fingerprints: Fingerprints,
    folder: Path,
    context: StageContext,
    artifacts: Mapping[str, Artifact],
) -> Metrics:
    inputs: DedupInputs[Artifact] = DedupInputs.of(artifacts)
    options = DedupOptions(**{option.name: getattr(section, option.name) for option in fields(DedupOptions)})
    earlier = [_indexed(inputs.against[corpus]) for corpus in section.against]
    documents = shard_paths(inputs.source.path, "documents")
    filtered = shard_paths(inputs.filter.path, "filtered")
    shards = [NewShard(*files) for files in zip(documents, filtered, strict=True)]
    passes = StagePasses(context)
    clustering = cluster_shards(
        options,
        shards,
        earlier,
        passes,
        context.out,
        first_prompts=section.first_prompts,
        semantic=semantic_options(section, fingerprints, folder),
    )
    _guard(name, section, options, context, clustering)
    return {f"data/{count}": value for count, value in clustering.counts.items()}


def _indexed(corpus: Deduplicated[Artifact]) -> list[EarlierShard]:
    folders = [corpus.dedup.path / name for name in ("index", "prompts", "semantic")]
    prompts, semantic = (folder if folder.is_dir() else None for folder in folders[1:])
    return [
        EarlierShard(
            file,
            folders[0] / file.stem,
            prompts / file.stem if prompts else None,
            semantic / file.stem if semantic else None,
        )
        for file in shard_paths(corpus.source.path, "documents")
    ]


def _guard(
    name: str, section: DedupSection, options: DedupOptions, context: StageContext, clustering: Clustering
) -> None:
    alarms = find_alarms(name, options, clustering.losses, clustering.clusters)
    write_alarms(alarms, context.out)
    if alarms and section.on_alarm == "stop":
        listed = "; ".join(alarm.message for alarm in alarms)
        raise DedupError(f'{listed}. Look at these documents; then raise the limit, or set dedup.on_alarm = "warn".')
    for alarm in alarms:
        context.warn(alarm.message)
