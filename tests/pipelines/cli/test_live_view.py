"""The output during a run."""

import io
import signal
import time
from dataclasses import replace

import pytest
from rich.console import Console

from infra.plan import PlannedStage
from pipelines.cli.recipes.plan import estimate_text, plan_table
from pipelines.cli.terminal.live.view import view
from pipelines.cli.terminal.warnings import print_warnings
from tests.kit.stages import idle_stage


def begin(*ids):
    """The first event of a run with these stages."""
    return {"event": "run_started", "stages": [{"id": name} for name in ids]}


def planned(*ids):
    stages = [idle_stage(name, subject) for name, subject in ids]
    return [PlannedStage(stage, "build", "never built in this store") for stage in stages]


@pytest.fixture
def lines():
    """Feed events at given times to a console that is no terminal; gives the lines printed."""

    def lines(events):
        out = io.StringIO()
        with view(Console(file=out, width=200)) as show:
            show(begin("train[1]"))
            for seconds, event in events:
                show({"time": 1000.0 + seconds, "stage": "train[1]", **event})
        return out.getvalue().splitlines()

    return lines


def test_one_line_per_event_with_rate_and_time_left(lines):
    def progress(done):
        return {"event": "progress", "done": done, "total": 1000, "unit": "tokens"}

    assert lines(
        [
            (0, {"event": "stage_started", "attempt": 1}),
            (1, progress(100)),
            (11, progress(300)),
            (12, progress(320)),
            (61, progress(1000)),
            (62, {"event": "stage_finished", "seconds": 62.0}),
        ]
    ) == [
        "train[1]: started",
        "train[1]: 100/1000 tokens",
        "train[1]: 300/1000 tokens, 20/s, 35.0 s left",
        "train[1]: done in 1 min 02 s",
    ]


def test_the_rate_is_of_this_attempt_not_of_what_was_done_before(lines):
    def progress(done):
        return {"event": "progress", "done": done, "total": 1000, "unit": "tokens"}

    output = lines([(0, {"event": "stage_started", "attempt": 2}), (0, progress(500)), (20, progress(600))])
    assert output[0] == "train[1]: started (attempt 2)"
    assert output[-1] == "train[1]: 600/1000 tokens, 5/s, 1 min 20 s left"


def test_a_wait_for_machines_is_a_line_a_minute_until_the_stage_works(lines):
    waits = [(s, {"event": "waiting", "needs": "4 GPUs", "seconds": float(s)}) for s in range(5, 131, 5)]
    assert lines([*waits, (132, {"event": "stage_started", "attempt": 1})]) == [
        "train[1]: waiting for 4 GPUs, 5.0 s",
        "train[1]: waiting for 4 GPUs, 1 min 05 s",
        "train[1]: waiting for 4 GPUs, 2 min 05 s",
        "train[1]: started",
    ]


def test_a_table_shows_a_wait_until_there_is_progress():
    out = io.StringIO()
    with view(Console(file=out, width=100, force_terminal=True, color_system=None)) as show:
        show(begin("train[1]"))
        show({"time": 1.0, "stage": "train[1]", "event": "stage_started", "attempt": 1})
        show({"time": 9.0, "stage": "train[1]", "event": "waiting", "needs": "4 GPUs", "seconds": 130.0})
        time.sleep(0.6)
        assert "for 4 GPUs, 2 min 10 s" in out.getvalue()
        show({"time": 9.5, "stage": "train[1]", "event": "progress", "done": 1, "total": 2, "unit": "steps"})
        out.seek(0)
        out.truncate()
        time.sleep(0.6)
        assert "1/2 steps" in out.getvalue() and "for 4 GPUs" not in out.getvalue()


def test_the_loss_and_the_result_are_in_the_lines(lines):
    output = lines(
        [
            (0, {"event": "stage_started", "attempt": 1}),
            (1, {"event": "progress", "done": 0, "total": 1000, "unit": "tokens"}),
            (2, {"event": "metrics", "points": [[1, {"train/loss": 7.5}]]}),
            (21, {"event": "progress", "done": 200, "total": 1000, "unit": "tokens"}),
            (
                30,
                {"event": "stage_finished", "name": "train", "seconds": 30.0, "metrics": {"loss": 5.25, "tokens": 1e6}},
            ),
        ]
    )
    assert output[2:] == [
        "train[1]: loss 7.500, 200/1000 tokens, 10/s, 1 min 20 s left",
        "train[1]: done in 30.0 s: loss 5.250 after 1.0M tokens",
    ]


@pytest.mark.parametrize("force_terminal", [False, True])
def test_an_interrupted_run_ends_with_where_it_stopped(force_terminal):
    out = io.StringIO()
    with (
        pytest.raises(KeyboardInterrupt),
        view(Console(file=out, width=200, force_terminal=force_terminal)) as show,
    ):
        show(begin("mix[1]", "train[1]"))
        show({"time": 1.0, "stage": "train[1]", "event": "stage_started", "attempt": 1})
        show({"time": 2.0, "stage": "train[1]", "event": "progress", "done": 120, "total": 200, "unit": "steps"})
        signal.raise_signal(signal.SIGINT)
    last = out.getvalue().rstrip().splitlines()[-1]
    assert "Stopped in train[1] at 120/200 steps. Committed results are safe" in last


def test_failures_and_warnings_are_said_whole(lines):
    output = lines(
        [
            (0, {"event": "warning", "message": "12 records quarantined"}),
            (1, {"event": "stage_failed", "error": "ValueError: no [such] page"}),
        ]
    )
    assert output == ["train[1]: warning: 12 records quarantined", "train[1]: FAILED: ValueError: no [such] page"]


def test_a_terminal_gets_a_table_with_every_stage():
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=120)
    with view(console) as show:
        show(begin("mix[1]", "train[1]"))
        show({"event": "stage_started", "stage": "mix[1]", "time": 1.0, "attempt": 1})
        show({"event": "stage_finished", "stage": "mix[1]", "time": 3.0, "seconds": 2.0})
    assert "mix[1]" in out.getvalue()
    assert "train[1]" in out.getvalue()
    assert "waiting" in out.getvalue()


def test_the_plan_shows_action_key_and_reason():
    out = io.StringIO()
    steps = planned(("mix", "1"))
    Console(file=out, width=120).print(plan_table(steps))
    line = out.getvalue().splitlines()[1].split()
    assert line[:3] == ["mix[1]", "build", steps[0].stage.key]
    assert " ".join(line[3:]) == "never built in this store"


def test_the_plan_estimates_time_and_size_where_earlier_results_tell():
    existing, unknown = planned(("train", "1"), ("train", "2"))
    existing = replace(existing, expected_s=130.0, expected_bytes=19_000_000)
    out = io.StringIO()
    Console(file=out, width=120).print(plan_table([existing, unknown]))
    first, second = out.getvalue().splitlines()[1:]
    assert "2 min 10 s  19.0 MB  never built" in first
    assert "MB" not in second
    assert estimate_text([existing]) == "The newest results of these stages took 2 min 10 s of work and 19.0 MB."
    assert "Nothing is known of 1 that this store never built" in estimate_text([existing, unknown])
    assert estimate_text([unknown]) == ""


def test_the_plan_prices_every_stage_by_what_earlier_results_took():
    train, mix = planned(("train", "1"), ("mix", "1"))
    train = replace(train, expected_s=130.0, expected_bytes=19_000_000, expected_worker_hours=8.0)
    mix = replace(mix, expected_s=720.0, expected_bytes=450)
    out = io.StringIO()
    Console(file=out, width=120).print(plan_table([train, mix], price=2.5))
    header, first, second = out.getvalue().splitlines()
    assert "cost" in header
    assert "19.0 MB  20.00  never built" in first
    # A stage without separate workers keeps one machine busy.
    assert "450 B   0.50  never built" in second
    assert "20.50 for 8.2 worker-hours" in estimate_text([train, mix], price=2.5)
    assert "worker-hours" not in estimate_text([train, mix])


def test_warnings_of_results_are_listed_once_with_their_stage():
    out = io.StringIO()
    repeated = [
        ("filter[web]", "half is dropped"),
        ("filter[web]", "half is dropped"),
        ("train[1]", "an expert starves"),
    ]
    print_warnings(repeated, Console(file=out, width=120))
    lines = out.getvalue().strip().splitlines()
    assert lines == [
        "2 warnings of these results, which the report repeats:",
        "  filter[web]: half is dropped",
        "  train[1]: an expert starves",
    ]


def test_without_warnings_nothing_is_printed():
    out = io.StringIO()
    print_warnings([], Console(file=out, width=120))
    assert out.getvalue() == ""
