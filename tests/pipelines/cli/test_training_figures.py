"""The figures of a running training, from the metrics that it sends."""

import pytest

from pipelines.cli.terminal.live.training import TrainingFigures


def point(step: int, loss: float, **values: float) -> tuple[int, dict[str, float]]:
    return step, {"train/loss": loss, **{name.replace("__", "/"): value for name, value in values.items()}}


def test_the_newest_step_and_the_smoothed_loss_are_shown():
    figures = TrainingFigures()
    figures.take([point(1, 8.0), point(2, 6.0)])
    figures.take([point(3, 5.0, train__learning_rate=0.003, router__max_expert_load=1.84, train__mfu=0.312)])
    # 8, then 0.95 * 8 + 0.05 * 6 = 7.9, then 0.95 * 7.9 + 0.05 * 5 = 7.755
    assert figures.text == "loss 5.000 (smoothed 7.755), lr 0.003, busiest expert 1.8 x, MFU 31%"


def test_steps_that_are_sent_again_change_nothing():
    once, again = TrainingFigures(), TrainingFigures()
    points = [point(step, 8.0 - step) for step in range(1, 6)]
    once.take(points)
    for part in (points[:3], points[:2], points[2:]):
        again.take(part)
    assert again == once


def test_a_skipped_step_is_no_part_of_the_smoothed_loss():
    figures = TrainingFigures()
    figures.take([point(1, 8.0), point(2, float("nan"), train__skipped=1.0), point(3, 6.0)])
    assert figures.smoothed_loss == pytest.approx(7.9)


def test_metrics_of_another_stage_show_nothing():
    figures = TrainingFigures()
    figures.take([(1, {"words": 3.0})])
    assert figures.text == ""
