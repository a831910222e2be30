"""The learning rate params of each phase, and so the phases that a changed one leaves alone."""

from pathlib import Path

from data_recipes import RunRecipe, load_run
from pipelines.graph import schedule

QUICKSTART = Path(__file__).parents[3] / "data_recipes" / "runs" / "quickstart.toml"


def run_of(tokens: list[int], **train: object) -> RunRecipe:
    """The quickstart with phases of `tokens` and other train fields."""
    run, _ = load_run(QUICKSTART)
    phases = [run.phases[0].model_copy(update={"tokens": count}) for count in tokens]
    return run.model_copy(update={"phases": phases, "train": run.train.model_copy(update=train)})


def schedules(tokens: list[int], **train: object) -> list[dict]:
    run = run_of(tokens, warmup_tokens=50, decay_fraction=0.2, **train)
    return [schedule(run, number, run.train) for number in range(1, len(tokens) + 1)]


def test_wsd_tells_a_phase_of_the_decay_only_once_it_reaches_it() -> None:
    early, late = schedules([600, 400])
    assert early == {"warmup_tokens": 50, "decay_start_tokens": None, "decay_end_tokens": None}
    assert late == {"warmup_tokens": 50, "decay_start_tokens": 800, "decay_end_tokens": 1000}
    assert schedules([600, 500])[0] == early
    assert schedules([600, 500])[1] != late


def test_a_cosine_falls_from_warm_up_to_the_runs_end_in_every_phase() -> None:
    whole = {"warmup_tokens": 50, "decay_start_tokens": 50, "decay_end_tokens": 1000, "decay": "cosine"}
    assert schedules([600, 400], schedule="cosine") == [whole, whole]
    assert schedules([600, 500], schedule="cosine")[0] != whole
