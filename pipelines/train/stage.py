"""The stage: builds the phase's job, lets it be trained, and turns what it left into the artifact."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from arctic_model.config import ArcticConfig
from arctic_model.sizing.flops import count_parameters
from data_recipes.training import TrainSection
from infra.artifact import Artifact
from infra.context import StageContext
from infra.inputs import Inputs, Node
from infra.resources import Demand, Resources
from infra.stage import Metrics, Stage
from infra.store import link_or_copy
from infra.store.integrity import committed_files, require_intact
from pipelines.artifacts.checkpoint import (
    CHECKPOINT,
    EXPERT_LOAD,
    EXPERT_LOAD_FILE,
    HISTORY_FILE,
    ROUTER,
    ROUTER_FILE,
    checkpoint_folder,
    history_schema,
)
from pipelines.artifacts.formats.parquet import write_table
from pipelines.artifacts.phase_plan import PhasePlan
from pipelines.train.attempts import worker_hours
from pipelines.train.first_weights import PinnedWeights
from pipelines.train.job import TrainJob, require_gpus, with_tokens

VERSION = 6
SPREAD = {
    "num_workers",
    "expert_parallel_size",
    "cpus_per_worker",
    "gpus_per_worker",
    "micro_batch_sequences",
    "threads_per_worker",
    "keep_last_checkpoints",
    "keep_best_checkpoints",
    "collective_timeout_s",
    "peak_tflops",
    "price_per_worker_hour",
    "profile_steps",
    "activation_checkpointing",
    "checkpoint_every_steps",
    "zero_stage",
}
"""How the work is spread and watched: changes nothing but rounding, and is no part of the key."""
SCHEDULED = {"schedule", "warmup_tokens", "decay_fraction"}
"""What a phase is told by its schedule, in tokens."""
OF_MUON = {"embedding_lr_factor", "head_lr_factor", "gate_lr_factor", "norm_lr_factor"}
"""What means nothing with AdamW."""
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
    section: TrainSection,
    schedule: Mapping[str, Any],
    model: Mapping[str, Any],
    inputs: TrainInputs[Stage],
    initial: PinnedWeights | None = None,
) -> Stage:
    """Phase `number` of the curriculum, from the checkpoint of the phase before; the first from `initial` weights, or
    from drawn ones.

    `schedule` holds warmup_tokens, decay_start_tokens, decay_end_tokens and decay as far as they concern this phase
    (see `arctic_model.training.schedule.Schedule`), so that a change to a later phase leaves this one's key alone.
    """
    params = key_params(section)
    if schedule.get("decay_start_tokens") is None:
        del params["final_lr_fraction"]
    return Stage(
        name="train",
        subject=str(number),
        version=VERSION,
        params={"train": params, "schedule": dict(schedule), "model": dict(model)}
        | ({"initial": initial.params()} if initial else {}),
        inputs=inputs.named(),
        work=partial(_work, section, dict(schedule), ArcticConfig.from_dict(model), initial),
        resources=resources(section),
        machine_dependent=True,
        model_output=CHECKPOINT,
    )


def key_params(section: TrainSection) -> dict[str, Any]:
    """What of `[train]` decides the result, but for the schedule."""
    unused = SPREAD | SCHEDULED | (OF_MUON if section.optimizer == "adamw" else set())
    return {name: value for name, value in section.as_params().items() if name not in unused}


def resources(section: TrainSection) -> Resources:
    """A single worker works in the stage's own task; several bring their own resources."""
    if section.num_workers > 1:
        return Resources(group=Demand(section.num_workers, section.cpus_per_worker, section.gpus_per_worker))
    return Resources(num_cpus=section.cpus_per_worker, num_gpus=section.gpus_per_worker)


def _work(
    section: TrainSection,
    schedule: Mapping[str, Any],
    config: ArcticConfig,
    initial: PinnedWeights | None,
    context: StageContext,
    inputs: Mapping[str, Artifact],
) -> Metrics:
    job = _job(section, schedule, config, context, TrainInputs.of(inputs))
    if initial:
        job = replace(job, weights_from=initial.require_unchanged(), with_optimizer=initial.with_optimizer)
    return train_job(job, context)


def train_job(job: TrainJob, context: StageContext) -> Metrics:
    """Train to the last checkpoint, and write it with its history into the stage's output.

    Raises the error that ended a worker."""
    from pipelines.train.launch import launch

    launch(job, context)
    return _collect(job, context.out)


def _job(
    section: TrainSection,
    schedule: Mapping[str, Any],
    config: ArcticConfig,
    context: StageContext,
    inputs: TrainInputs[Artifact],
) -> TrainJob:
    from arctic_model.checkpoint.reading import Checkpoint

    plan = PhasePlan.read(inputs.mix.path)
    tokens = {name: artifact.path for name, artifact in inputs.tokens.items()}
    if not context.parallel:
        require_gpus(section)
    start_from = checkpoint_folder(inputs.previous.path) if inputs.previous else None
    for file in committed_files(start_from) if start_from else ():
        if file.suffix == ".json":
            require_intact(file)
    first_step = Checkpoint(start_from).state.step if start_from else 0
    return TrainJob(
        config=config,
        section=section,
        schedule=schedule,
        mix=inputs.mix.path,
        tokens=tokens,
        folder=context.state,
        start_from=start_from,
        first_step=first_step,
        last_step=first_step + plan.num_sequences // section.global_batch_sequences,
        tokens_per_step=plan.sequence_length * section.global_batch_sequences,
    )


def _collect(job: TrainJob, out: Path) -> Metrics:
    """Link the last checkpoint, and write the tables, into the stage's output."""
    from arctic_model.checkpoint.reading import Checkpoint, checkpoint_name
    from arctic_model.training import history
    from pipelines.train.worker import training_plan

    plan = training_plan(job, job.section.num_workers)
    checkpoint = Checkpoint(plan.checkpoints / checkpoint_name(job.last_step))
    target = checkpoint_folder(out)
    target.mkdir()
    for file in sorted(checkpoint.folder.iterdir()):
        link_or_copy(file, target / file.name)
    records = history.read(plan.history, job.last_step)
    phase = PhasePlan.read(job.mix)
    layers = job.config.moe_layers
    _write([with_tokens(record, job, phase) for record in records], history_schema(layers), out / HISTORY_FILE)
    _write(_router(records, layers), ROUTER, out / ROUTER_FILE)
    _write(_expert_load(checkpoint.state.assignments, layers), EXPERT_LOAD, out / EXPERT_LOAD_FILE)
    last = [record["loss"] for record in records if not record["skipped"]][-FINAL_STEPS:]
    if not last:
        raise RuntimeError(f"every step was skipped, the last at step {job.last_step}. Lower train.peak_lr.")
    parameters = count_parameters(job.config)
    hours = worker_hours(job.folder, records)
    price = job.section.price_per_worker_hour
    return {
        "loss": sum(last) / len(last),
        "steps": job.last_step - job.first_step,
        "tokens": (job.last_step - job.first_step) * job.tokens_per_step,
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


def _router(records: Sequence[Mapping[str, Any]], layers: Sequence[int]) -> list[dict[str, Any]]:
    """One row per layer of the records that tell their layers apart."""
    return [
        {"step": record["step"], "layer": layer, **dict(zip(record["router_layers"], figures, strict=True))}
        for record in records
        if "router_layers" in record
        for layer, figures in zip(layers, zip(*record["router_layers"].values(), strict=True), strict=True)
    ]


def _write(rows: Any, schema: pa.Schema, file: Path) -> None:
    columns = [{name: row[name] for name in schema.names} for row in rows]
    write_table(pa.Table.from_pylist(columns, schema=schema), file)
