"""Checkpoints of attempts before an amendment: steps that were trained before it are reused and not trained again."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from arctic_model.checkpoint.reading import checkpoints, step_of
from arctic_model.training import history
from arctic_model.training.saving import CHECKPOINTS, HISTORY
from infra.store.files import link_or_copy, remove_folder
from pipelines.train.workers.attempts import FOLDER as WORKER_TIME


def take_over(folder: Path, earlier: Sequence[tuple[Path, int]]) -> int | None:
    """Give a phase without checkpoints in `folder` those of earlier attempts, by links.

    Args:
        folder: survives attempts of the phase.
        earlier: folders of attempts with fewer amendments, and for each the last step that both share; best first.

    Returns:
        The step that the phase continues from; None if it has checkpoints itself, or there is nothing to take over.
    """
    if checkpoints(folder / CHECKPOINTS):
        return None
    for state, last_step in earlier:
        for origin in (state, _kept(state)):
            shared = [each for each in checkpoints(origin / CHECKPOINTS) if step_of(each) <= last_step]
            if shared:
                _link(origin, folder, shared)
                return step_of(shared[-1])
    return None


def keep(folder: Path, every_steps: int) -> None:
    """Keep checkpoints at an interval of steps next to `folder`, which is removed once its phase is done; 0: none."""
    permanent = [each for each in checkpoints(folder / CHECKPOINTS) if every_steps and step_of(each) % every_steps == 0]
    if permanent:
        remove_folder(_kept(folder))
        _link(folder, _kept(folder), permanent)


def _kept(state: Path) -> Path:
    return state.with_name(f"{state.name.removesuffix('.state')}.kept")


def _link(state: Path, folder: Path, shared: Sequence[Path]) -> None:
    """History first, then the newest checkpoint: if this is cut short, the next attempt has both or starts again."""
    for target in (folder / HISTORY, folder / WORKER_TIME):
        shutil.rmtree(target) if target.is_dir() else target.unlink(missing_ok=True)
    (folder / CHECKPOINTS).mkdir(parents=True, exist_ok=True)
    history.append(folder / HISTORY, history.read(state / HISTORY, step_of(shared[-1])))
    if (state / WORKER_TIME).is_dir():
        shutil.copytree(state / WORKER_TIME, folder / WORKER_TIME)
    for checkpoint in reversed(shared):
        hidden = folder / CHECKPOINTS / f".{checkpoint.name}"
        shutil.rmtree(hidden, ignore_errors=True)
        hidden.mkdir()
        for file in sorted(checkpoint.iterdir()):
            link_or_copy(file, hidden / file.name)
        hidden.rename(folder / CHECKPOINTS / checkpoint.name)
