"""Amendments as text to paste into a recipe, and limits of the spike guard that would rewrite the past."""

from pathlib import Path

from arctic_model.checkpoint.reading import Checkpoint, checkpoints, step_of
from arctic_model.training import history
from arctic_model.training.saving import CHECKPOINTS, HISTORY
from arctic_model.training.spikes import SpikeGuard
from pipelines.train.job import TrainJob


def amendment(from_step: int, **fields: float) -> str:
    """An amendment of fields of `[train]`, ready to paste.

    >>> print(amendment(40, peak_lr=0.002))
    [[amendments]]
    from_step = 40
    train.peak_lr = 0.002
    """
    return "\n".join(["[[amendments]]", f"from_step = {from_step}", *(f"train.{k} = {v:g}" for k, v in fields.items())])


def newest_step(folder: Path, first_step: int) -> int:
    """The step of the newest checkpoint of a phase that starts after `first_step`."""
    return max(map(step_of, checkpoints(folder / CHECKPOINTS)), default=first_step)


def amendments_of(job: TrainJob) -> str:
    """How a phase that stopped for its spikes goes on from its newest checkpoint: lower rate or higher limit."""
    step = newest_step(job.folder, job.first_step)
    if not job.can_be_amended:
        return "Lower peak_lr, or raise spike_factor if such norms are sound."
    if step == 0:
        return "No step is saved yet, so change [train] itself."
    segment = job.after(step)
    lower = amendment(step, peak_lr=segment.schedule.peak_lr / 2)
    higher = amendment(step, spike_factor=segment.spikes.factor * 2)
    return f"Nothing before step {step} is trained again if you add one of these to the recipe:\n{lower}\n\n{higher}"


def require_decisions(job: TrainJob) -> None:
    """Check that today's limits of the spike guard decide about the steps taken so far as it was decided.

    Limits are no part of a stage's key, so that they can be changed for the steps to come. Raises ValueError with the
    amendment that does it without a change of the past.
    """
    newest = newest_step(job.folder, job.first_step)
    saved = Checkpoint(job.start_from).state if job.start_from else None
    norms, skipped = (saved.gradient_norms, saved.skipped_steps) if saved else ([], [])
    conditions = saved.norm_conditions if saved else {}
    for record in history.read(job.folder / HISTORY, newest):
        step, segment = record["step"], job.segment(record["step"])
        policy, before, conditions = segment.spikes, conditions, job.norm_conditions(segment)
        norms = norms if conditions == before else []
        guard = SpikeGuard(policy, norms, skipped)
        if bool(guard.fault(record["loss"], record["gradient_norm"])) != bool(record["skipped"]):
            was, would = ("skipped", "taken") if record["skipped"] else ("taken", "skipped")
            raise ValueError(
                f"train.spike_factor = {policy.factor:g} with train.spike_window_steps = {policy.window}: step {step} "
                f"(gradient norm {record['gradient_norm']:.4g}) was {was}, and with these limits it would have been "
                f"{would}. Set the limits back, and change them from the newest checkpoint on:\n"
                + amendment(newest, spike_factor=policy.factor, spike_window_steps=policy.window)
            )
        if record["skipped"]:
            guard.skip(step)
        else:
            guard.take(record["gradient_norm"])
        norms, skipped = list(guard.norms), list(guard.skipped)
