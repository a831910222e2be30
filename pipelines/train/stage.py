"""The stage: builds the phase's job, runs the training, and converts its output to the artifact."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa

from arctic_model.config import ArcticConfig
from arctic_model.sizing.flops import count_parameters
from data_recipes.sections.training import LAYOUT_FIELDS, TrainSection
from infra.artifact import Artifact
from infra.context import StageContext
from infra.inputs import Inputs, Node
from infra.resources import Demand, Resources
from infra.stage import Metrics, Stage
from infra.store import link_or_copy
from infra.store.integrity import committed_files, require_intact, require_unreleased
from pipelines.artifacts.checkpoint import (
    CHECKPOINT,
    EXPERT_LOAD,
    EXPERT_LOAD_FILE,
    HISTORY_FILE,
    ROUTER,
    ROUTER_FILE,
    THROUGHPUT,
    checkpoint_folder,
    history_schema,
)
from pipelines.artifacts.formats.parquet import write_table
from pipelines.train.first_weights import PinnedWeights
from pipelines.train.from_recipe import SegmentSettings, new_job
from pipelines.train.job import TokenCounts, TrainJob, require_gpus
from pipelines.train.rates import throughput
from pipelines.train.workers.attempts import worker_hours

VERSION = 8
GUARD = {"spike_factor", "spike_window_steps", "max_skipped_steps"}
"""Limits on the steps to come, part of a key in amendments only: `pipelines.train.amending` refuses limits that would
have decided otherwise about a step that is taken."""
SCHEDULED = {"schedule", "warmup_tokens", "decay_fraction"}
"""Params of a phase that come from its schedule, in tokens."""
NAMED_IF_SET = {"freeze", "fp8"}
"""Fields whose default is how every run was trained before they existed."""
OF_MUON = {"embedding_lr_factor", "head_lr_factor", "gate_lr_factor", "norm_lr_factor"}
"""Fields that have no effect with AdamW."""
FINAL_STEPS = 50
"""Steps whose mean is the stage's loss: one step's alone is mostly noise."""


@dataclass(frozen=True)
class TrainInputs(Inputs[Node]):
    """The order of the phase, the packed tokens of all corpora, and the phase before."""

    mix: Node
    tokens: Mapping[str, Node]
    previous: Node | None = None


def stage(
    number: int,
    settings: Sequence[SegmentSettings],
    model: Mapping[str, Any],
    inputs: TrainInputs[Stage],
    initial: PinnedWeights | None = None,
    mixes: Sequence[Stage] = (),
) -> Stage:
    """Phase `number` of the curriculum, from the checkpoint of the phase before; the first from `initial` weights, or
    from drawn ones.

    The first of `settings` holds from the phase's start, each further one from its amendment on. A key depends only on
    its own phase, so that a change to a later phase, or an amendment of a later step, leaves it unchanged. The stage
    continues the training of attempts without its last amendments. If amendments change the order of sequences, `mixes`
    has the stage of `inputs.mix` as it is with the first of `settings`, the first two and so on.
    """
    before = (
        _stage(number, settings[:count], model, replace(inputs, mix=mixes[count - 1]) if mixes else inputs, initial).key
        for count in _fewer(settings)
    )
    return _stage(number, settings, model, inputs, initial, tuple(before))


def _stage(
    number: int,
    settings: Sequence[SegmentSettings],
    model: Mapping[str, Any],
    inputs: TrainInputs[Stage],
    initial: PinnedWeights | None,
    continues: tuple[str, ...] = (),
) -> Stage:
    return Stage(
        name="train",
        subject=str(number),
        version=VERSION,
        params=_params(settings) | {"model": dict(model)} | ({"initial": initial.params()} if initial else {}),
        inputs=inputs.named(),
        work=partial(_work, tuple(settings), ArcticConfig.from_dict(model), initial),
        resources=resources(settings[0].section),
        machine_dependent=True,
        continues=continues,
        model_output=CHECKPOINT,
    )


def _fewer(settings: Sequence[SegmentSettings]) -> Sequence[int]:
    """Numbers of segments of the stages that this one continues: with ever fewer amendments."""
    return range(len(settings) - 1, 0, -1)


def _params(settings: Sequence[SegmentSettings]) -> dict[str, Any]:
    first, *later = settings
    params = {"train": _scheduled_params(first, key_params(first.section)), "schedule": dict(first.schedule)}
    amendments = []
    for before, after in pairwise([first, *later]):
        old, new = (_scheduled_params(each, _all_params(each.section)) for each in (before, after))
        changes = {name: value for name, value in new.items() if value != old.get(name)}
        moved = {} if after.schedule == before.schedule else {"schedule": dict(after.schedule)}
        amendments.append({"from_step": after.first_step, "train": changes, **moved, **after.weights})
    return params | ({"amendments": amendments} if amendments else {})


def key_params(section: TrainSection) -> dict[str, Any]:
    """The part of `[train]` that decides the result, except the schedule; fields of `NAMED_IF_SET` only if they are
    set."""
    params = {name: value for name, value in _all_params(section).items() if name not in GUARD}
    return {name: value for name, value in params.items() if value or name not in NAMED_IF_SET}


def _all_params(section: TrainSection) -> dict[str, Any]:
    """`key_params` with the limits of the guard."""
    unused = LAYOUT_FIELDS | SCHEDULED | (OF_MUON if section.optimizer == "adamw" else set())
    return {name: value for name, value in section.as_params().items() if name not in unused}


def _scheduled_params(settings: SegmentSettings, params: dict[str, Any]) -> dict[str, Any]:
    """`params` without the end of a decay that these steps do not reach."""
    if settings.schedule.get("decay_start_tokens") is None:
        del params["final_lr_fraction"]
    return params


def resources(section: TrainSection) -> Resources:
    """A single worker works in the stage's own task; several bring their own resources, and the fewest of them are
    enough to start."""
    fewest, most = section.worker_range
    if most > 1:
        group = Demand(fewest, section.cpus_per_worker, section.gpus_per_worker)
        return Resources(group=group, most_workers=most)
    return Resources(num_cpus=section.cpus_per_worker, num_gpus=section.gpus_per_worker)


def _work(
    settings: tuple[SegmentSettings, ...],
    config: ArcticConfig,
    initial: PinnedWeights | None,
    context: StageContext,
    artifacts: Mapping[str, Artifact],
) -> Metrics:
    from arctic_model.checkpoint.reading import checkpoints
    from arctic_model.training.saving import CHECKPOINTS
    from pipelines.train.earlier_attempts import take_over

    inputs: TrainInputs[Artifact] = TrainInputs.of(artifacts)
    start_from = checkpoint_folder(inputs.previous.path) if inputs.previous else None
    for file in committed_files(start_from) if start_from else ():
        if file.suffix == ".json":
            require_intact(file)
    tokens = {name: artifact.path for name, artifact in inputs.tokens.items()}
    job = new_job(settings, config, inputs.mix.path, tokens, context.state, start_from)
    if initial:
        job = replace(job, weights_from=initial.require_unchanged(), with_optimizer=initial.with_optimizer)
    shared_steps = [settings[count].first_step for count in _fewer(settings)]
    if (step := take_over(job.folder, list(zip(context.earlier, shared_steps, strict=False)))) is not None:
        context.warn(f"goes on from step {step} of an earlier attempt: nothing before the amendment is trained again")
    if start_from and not checkpoints(job.folder / CHECKPOINTS):
        # Before machines are waited for.
        require_unreleased(start_from)
    return train_job(job, context)


def train_job(job: TrainJob, context: StageContext) -> Metrics:
    """Train to the last checkpoint, and write it with its history into the stage's output.

    Raises the error that ended a worker, and ValueError if the guard's limits do not fit the steps that are taken."""
    from pipelines.train.amending import require_decisions
    from pipelines.train.earlier_attempts import keep
    from pipelines.train.workers.launch import launch

    if not context.parallel:
        require_gpus(job)
    require_decisions(job)
    launch(job, context)
    keep(job.folder, job.checkpoints.keep_every)
    return _collect(job, context)


def _collect(job: TrainJob, context: StageContext) -> Metrics:
    """Link the last checkpoint, and write the tables, into the stage's output."""
    from arctic_model.checkpoint.model_folder import checkpoint_name
    from arctic_model.checkpoint.reading import Checkpoint
    from arctic_model.training import history, saving
    from pipelines.train.amending import amendments_of

    checkpoint = Checkpoint(job.folder / saving.CHECKPOINTS / checkpoint_name(job.last_step))
    out = context.out
    target = checkpoint_folder(out)
    target.mkdir()
    for file in sorted(checkpoint.folder.iterdir()):
        link_or_copy(file, target / file.name)
    records = history.read(job.folder / saving.HISTORY, job.last_step)
    context.measure(THROUGHPUT, throughput(records))
    counts, layers = TokenCounts(job), job.config.moe_layers
    schema = history_schema(layers, of_pairs=job.trains_pairs)
    _write([counts.added_to(record) for record in records], schema, out / HISTORY_FILE)
    _write(_router(records, layers, job.last_step), ROUTER, out / ROUTER_FILE)
    _write(_expert_load(checkpoint.state.assignments, layers), EXPERT_LOAD, out / EXPERT_LOAD_FILE)
    last = [record["loss"] for record in records if not record["skipped"]][-FINAL_STEPS:]
    if not last:
        raise RuntimeError(f"every step was skipped, the last at step {job.last_step}. {amendments_of(job)}")
    parameters = count_parameters(job.config)
    hours, price = worker_hours(job.folder, records), job.price_per_worker_hour
    return {
        "loss": sum(last) / len(last),
        "steps": job.last_step - job.first_step,
        "tokens": job.num_tokens,
        "parameters": parameters.total,
        "active_parameters": parameters.active,
        **hours.metrics(),
        **({} if price is None else {"cost": hours.worker_hours * price}),
    }


def _expert_load(assignments: list[list[float]], layers: Sequence[int]) -> list[dict[str, Any]]:
    return [
        {"layer": layer, "expert": expert, "share": count / sum(counts)}
        for layer, counts in zip(layers, assignments, strict=True)
        for expert, count in enumerate(counts)
    ]


def _router(records: Sequence[Mapping[str, Any]], layers: Sequence[int], last_step: int) -> list[dict[str, Any]]:
    """One row per layer of every tenth step and of the phase's last. The last one of each segment has its layers in the
    history too, unless it was trained before the amendment came."""
    from arctic_model.training.loop import ROUTER_EVERY_STEPS

    return [
        {"step": record["step"], "layer": layer, **dict(zip(record["router_layers"], figures, strict=True))}
        for record in records
        if "router_layers" in record and (record["step"] % ROUTER_EVERY_STEPS == 0 or record["step"] == last_step)
        for layer, figures in zip(layers, zip(*record["router_layers"].values(), strict=True), strict=True)
    ]


def _write(rows: Any, schema: pa.Schema, file: Path) -> None:
    columns = [{name: row[name] for name in schema.names} for row in rows]
    write_table(pa.Table.from_pylist(columns, schema=schema), file)
