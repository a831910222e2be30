"""Settings that change within a run: which hold at which step, worked out by hand."""

from typing import Any

import pytest

from data_recipes.sections.curriculum import PhaseSection
from data_recipes.sections.training import TrainSection
from data_recipes.steering import AmendmentSection, segments

LENGTH = 16
TRAIN = TrainSection(global_batch_sequences=4, micro_batch_sequences=2, peak_lr=0.01)
STEP_TOKENS = 4 * LENGTH


def phases(*train: dict[str, Any], steps: int = 10) -> list[PhaseSection]:
    """One phase for each of `train`, its own fields."""
    return [
        PhaseSection(name=f"phase-{number}", tokens=steps * STEP_TOKENS, weights={"web": 1.0}, train=own)
        for number, own in enumerate(train, start=1)
    ]


def values(field: str, own: list[dict[str, Any]], amendments: dict[int, dict[str, Any]]) -> list[list[tuple]]:
    """First step, last step and value of `field` of each segment, by phase."""
    sections = [AmendmentSection(from_step=step, train=fields) for step, fields in amendments.items()]
    result = segments(TRAIN, phases(*own), sections, [LENGTH] * len(own))
    return [[(each.first_step, each.last_step, getattr(each.train, field)) for each in phase] for phase in result]


def test_a_phase_without_its_own_fields_has_those_of_the_run():
    assert values("peak_lr", [{}, {}], {}) == [[(0, 10, 0.01)], [(10, 20, 0.01)]]


def test_fields_of_a_phase_end_with_it():
    assert values("peak_lr", [{}, {"peak_lr": 0.02}, {}], {}) == [[(0, 10, 0.01)], [(10, 20, 0.02)], [(20, 30, 0.01)]]


def test_an_amendment_lasts_to_the_end_of_the_run():
    assert values("peak_lr", [{}, {}], {6: {"peak_lr": 0.5}}) == [[(0, 6, 0.01), (6, 10, 0.5)], [(10, 20, 0.5)]]


def test_an_amendment_at_the_end_of_a_phase_is_the_start_of_the_next():
    assert values("peak_lr", [{}, {}], {10: {"peak_lr": 0.5}}) == [[(0, 10, 0.01)], [(10, 20, 0.5)]]


def test_the_latest_setting_wins():
    """A phase that sets a field ends an earlier amendment of it; one inside the phase changes it again, and stays."""
    own = [{}, {"peak_lr": 0.02}, {}]
    result = values("peak_lr", own, {6: {"peak_lr": 0.5}, 15: {"peak_lr": 0.7}})
    assert result == [[(0, 6, 0.01), (6, 10, 0.5)], [(10, 15, 0.02), (15, 20, 0.7)], [(20, 30, 0.7)]]


def test_steps_and_tokens_follow_the_batch():
    """Ten steps of 4 sequences, then five of 8 that read as much."""
    result = segments(TRAIN, phases({}, {"global_batch_sequences": 8}, {}), [], [LENGTH] * 3)
    assert [(each.first_step, each.last_step, each.first_tokens) for (each,) in result] == [
        (0, 10, 0),
        (10, 15, 10 * STEP_TOKENS),
        (15, 25, 20 * STEP_TOKENS),
    ]


@pytest.mark.parametrize(
    ("amendments", "message"),
    [
        ({30: {"peak_lr": 0.5}}, r"amendments.1.from_step = 30: the run ends with step 20.*Lower it"),
        ({20: {"peak_lr": 0.5}}, r"amendments.1.from_step = 20: the run ends with step 20"),
        ({6: {"peak_lr": 0.01}}, r"amendments.1.train.peak_lr = 0.01: is this value already at that step. Remove it"),
        ({6: {"zero_stage": 2}}, r"amendments.1.train.zero_stage = 2: changes no result.*Set train.zero_stage itself"),
        ({6: {"peak_lr": -1.0}}, r"amendments.1.train.peak_lr = -1.0: must be above 0. Raise it"),
        ({6: {"peak_rate": 0.5}}, r"amendments.1.train.peak_rate = 0.5: unknown field. Did you mean"),
        ({6: {"seed": 1}}, r"amendments.1.train.seed = 1: holds for the whole run"),
        ({7: {"global_batch_sequences": 8}}, r"amendments.1.from_step = 7: 192 tokens are left of the phase"),
    ],
)
def test_an_amendment_that_cannot_work_is_refused(amendments: dict[int, dict[str, Any]], message: str):
    with pytest.raises(ValueError, match=message):
        values("peak_lr", [{}, {}], amendments)


def test_weights_hold_for_the_rest_of_their_phase():
    """The second amendment leaves the order alone, the third replaces the first one's weights."""
    provided = [
        AmendmentSection(from_step=3, weights={"sql": 1.0}, weights_to={"web": 1.0}),
        AmendmentSection(from_step=5, train={"peak_lr": 0.5}),
        AmendmentSection(from_step=8, train={"weight_decay": 0.0}, weights={"code": 0.5, "web": 0.5}),
    ]
    first, second = segments(TRAIN, phases({}, {}), provided, [LENGTH] * 2)
    assert [(each.first_step, each.data and each.data.tokens) for each in first] == [
        (0, None),
        (3, 7 * STEP_TOKENS),
        (5, None),
        (8, 2 * STEP_TOKENS),
    ]
    assert first[1].data.corpora == ["sql", "web"]
    assert first[3].data.as_params() == {"weights": {"code": 0.5, "web": 0.5}}
    assert [each.data for each in second] == [None]


def test_weights_at_the_end_of_a_phase_are_those_of_the_next():
    provided = [AmendmentSection(from_step=10, weights={"sql": 1.0})]
    message = r"amendments.1.from_step = 10: phases.2 begins after this step, with weights of its own. Change those"
    with pytest.raises(ValueError, match=message):
        segments(TRAIN, phases({}, {}), provided, [LENGTH] * 2)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "nothing is changed. Give fields of .train., weights, or both"),
        ({"weights": {"web": 0.5}}, "weights sum to 0.5"),
        ({"weights_to": {"web": 1.0}, "train": {"peak_lr": 1.0}}, "there is no weights for it to start from"),
        ({"weights": {"web": 1.0}, "weights_to": {"web": 0.9}}, "weights_to sum to 0.9"),
    ],
)
def test_an_amendment_changes_something_and_its_weights_sum_to_one(fields: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        AmendmentSection(from_step=3, **fields)


def test_amendments_ascend_by_their_steps():
    for second in (6, 5):
        sections = [AmendmentSection(from_step=step, train={"peak_lr": step / 10}) for step in (6, second)]
        message = rf"amendments.2.from_step = {second}: the amendment above has from_step = 6"
        with pytest.raises(ValueError, match=message):
            segments(TRAIN, phases({}), sections, [LENGTH])


def test_steps_of_a_longer_phase_have_more_tokens() -> None:
    by_phase = segments(TRAIN, phases({}, {}), [], [LENGTH, 2 * LENGTH])
    steps = [(each.first_step, each.last_step, each.first_tokens) for phase in by_phase for each in phase]
    assert steps == [(0, 10, 0), (10, 15, 10 * STEP_TOKENS)]
