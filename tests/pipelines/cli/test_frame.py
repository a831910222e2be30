"""The live picture of a run, as a terminal of a given size shows it."""

from itertools import count

import pytest

from pipelines.cli.terminal.live.frame import frame
from pipelines.cli.terminal.live.stage_rows import RunRows

CORPORA = ("web", "code")
CHAIN = [f"{stage}[{corpus}]" for corpus in CORPORA for stage in ("source", "score", "filter", "dedup")]
MODEL = ["tokenizer", *(f"tokenize[{corpus}]" for corpus in CORPORA)]
PHASES = [f"{stage}[{phase}]" for phase in (1, 2, 3) for stage in ("mix", "train", "evaluate")]
IDS = [*CHAIN, *MODEL, *PHASES, "report"]
KEPT = {"data/documents": 60.0, "data/documents_in": 80.0}


@pytest.fixture
def run():
    """The rows after these events; each of them comes a second after the previous one, the first at 0."""

    def run(*events, ids=IDS, expected_s=None):
        rows, clock = RunRows(), count()
        stages = [{"id": name, "expected_s": expected_s} for name in ids]
        rows.apply({"event": "run_started", "name": "notes", "time": float(next(clock)), "stages": stages})
        for event in events:
            rows.apply({"time": float(next(clock)), **event})
        return rows

    return run


def started(stage):
    return {"event": "stage_started", "stage": stage, "attempt": 1}


def finished(stage, **metrics):
    return {"event": "stage_finished", "stage": stage, "name": stage.partition("[")[0], "metrics": metrics}


def progress(stage, done, total, unit):
    return {"event": "progress", "stage": stage, "done": done, "total": total, "unit": unit}


def reused(stage):
    return {"event": "stage_reused", "stage": stage, "name": stage.partition("[")[0], "metrics": {}}


def ended(stage, **metrics):
    return [started(stage), finished(stage, **metrics)]


def lines(rows, now, width, height=None):
    return frame(rows, now, width, height).plain.splitlines()


def test_a_run_in_the_middle_of_a_terminal_of_80_columns(run):
    rows = run(
        *(reused(stage) for stage in ("source[web]", "score[web]")),
        *ended("filter[web]", **KEPT),
        started("dedup[web]"),
        started("train[1]"),
        progress("train[1]", 2048, 147_456, "tokens"),
        {"event": "metrics", "stage": "train[1]", "points": [[1, {"train/loss": 7.5}]]},
        progress("train[1]", 6144, 147_456, "tokens"),
        {"event": "waiting", "stage": "train[2]", "needs": "4 GPUs", "seconds": 65.0},
    )
    assert lines(rows, 12.0, 80, 24) == [
        "notes  ━━╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌  3 of 21 stages  12.0 s",
        "reused   source[web], score[web]",
        "done     filter[web]         1.0 s  60 of 80 documents kept (75 %)",
        "running  dedup[web]          7.0 s",
        "running  train[1]            6.0 s  loss 7.500, 6144/147.5k tokens, 819/s, 2 mi…",
        "waiting  train[2]                   for 4 GPUs, 1 min 05 s",
        "waiting  source[code], score[code], filter[code], dedup[code] and 11 more",
    ]


def test_what_runs_is_shown_if_lines_are_scarce_and_then_what_ended_last(run):
    rows = run(*(event for stage in CHAIN for event in ended(stage, **KEPT)), started("tokenizer"))
    shown = lines(rows, 20.0, 80, 5)
    assert [line.split()[:2] for line in shown[1:]] == [
        ["done", "filter[code]"],
        ["done", "dedup[code]"],
        ["running", "tokenizer"],
        ["waiting", "tokenize[web],"],
    ]


@pytest.mark.parametrize(("width", "height"), [(20, 5), (40, 12), (80, 24), (120, 40), (200, 50)])
@pytest.mark.parametrize("num_ended", range(0, len(IDS), 3))
def test_a_frame_fits_the_terminal_and_shows_every_stage_once(run, width, height, num_ended):
    events = [event for stage in IDS[:num_ended] for event in ended(stage, **KEPT)]
    rows = run(*events, *map(started, IDS[num_ended : num_ended + 2]))
    shown = lines(rows, 60.0, width, height)
    assert len(shown) <= height
    assert all(len(line) <= width for line in shown)
    whole = lines(rows, 60.0, 10_000)
    for stage in IDS:
        assert sum(line.replace(",", " ").split().count(stage) for line in whole) == 1


def test_the_last_frame_has_a_line_for_every_result(run):
    rows = run(*(event for stage in IDS for event in ended(stage)))
    assert [line.split()[1] for line in lines(rows, 60.0, 80)[1:]] == IDS


def test_a_failure_stays_in_sight(run):
    rows = run(
        *ended("source[web]"),
        started("score[web]"),
        {"event": "stage_failed", "stage": "score[web]", "error": "ValueError: no page\nmore"},
        {"event": "stage_skipped", "stage": "filter[web]", "because": "score[web] has no result"},
        *map(started, CHAIN[4:]),
        ids=CHAIN,
    )
    shown = lines(rows, 20.0, 60, 4)
    assert shown[1] == "failed   score[web]         1.0 s  ValueError: no page"
    assert "skipped  filter[web]" in shown[-2]


def test_the_run_says_what_it_does_before_its_first_stage(run):
    assert lines(run({"event": "connecting", "address": ""}), 3.0, 80)[0].endswith("3.0 s  starting Ray")
    present = run({"event": "connecting", "address": "head:6379"})
    assert lines(present, 3.0, 120)[0].endswith("connecting to Ray at head:6379")
    assert "Ray" not in lines(run({"event": "connecting", "address": ""}, started("source[web]")), 3.0, 80)[0]


def test_time_left_follows_from_the_share_of_expected_work(run):
    """Four stages of 10 s each: one done and one half done after 30 s leave 50 s."""
    rows = run(
        *ended("a"),
        started("b"),
        progress("b", 1, 2, "shards"),
        ids=["a", "b", "c", "d"],
        expected_s=10.0,
    )
    assert rows.time_left(30.0) == pytest.approx(30.0 * 2.5 / 1.5)
    assert lines(rows, 30.0, 80)[0].endswith("about 50.0 s left")


def test_no_time_left_is_shown_without_a_basis(run):
    rows = run(started("a"), ids=["a", "b"])
    assert rows.time_left(30.0) is None
    assert "left" not in lines(rows, 30.0, 80)[0]


def test_a_name_with_markup_is_shown_as_it_is(run):
    rows = run(
        started("train[red]"),
        {"event": "stage_failed", "stage": "train[red]", "error": "[/bold] no"},
        ids=["train[red]"],
    )
    assert lines(rows, 3.0, 80)[1].endswith("train[red]         1.0 s  [/bold] no")
