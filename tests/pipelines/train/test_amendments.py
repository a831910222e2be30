"""A phase that is changed while it runs: trained steps are reused, and kills change nothing."""

from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import pyarrow.parquet as pq
import pytest

from arctic_model.checkpoint.reading import Checkpoint, checkpoints, step_of
from arctic_model.training.loop import TrainingError
from infra.runner import build
from infra.store import Store
from pipelines.train.data import PhaseBatches
from tests.kit.files import digests
from tests.kit.interruption import interrupted_before

AMENDED = {6: {"peak_lr": 0.03}}


def interrupted(workshop, step: int, **stage: object) -> None:
    with interrupted_before(step):
        workshop.run("phase", workshop.inputs(1), workshop.stage(**stage))


def test_the_steps_before_are_those_without_and_the_steps_after_those_with_the_change(workshops: Callable) -> None:
    plain, amended = workshops("plain"), workshops("amended")
    without, _ = plain.run("phase", plain.inputs(1), plain.stage())
    result, _ = amended.run("phase", amended.inputs(1), amended.stage(amendments=AMENDED))
    before, after = (pq.read_table(out / "history.parquet") for out in (without, result))
    assert after.slice(0, 6).equals(before.slice(0, 6))
    assert after["learning_rate"].to_pylist()[5:7] == [0.003, 0.03]
    assert after["loss"].to_pylist()[7] != before["loss"].to_pylist()[7], "the weights after step 7 differ"


@pytest.mark.parametrize("stopped_at", [3, 7, 9, 10])
def test_a_kill_before_at_or_after_the_change_gives_the_same_bytes(workshops: Callable, stopped_at: int) -> None:
    calm, killed = workshops("calm"), workshops("killed")
    expected, _ = calm.run("phase", calm.inputs(1), calm.stage(amendments=AMENDED))
    interrupted(killed, stopped_at, amendments=AMENDED)
    result, _ = killed.run("phase", killed.inputs(1), killed.stage(amendments=AMENDED))
    assert digests(result) == digests(expected)


def test_damaged_checkpoints_after_the_change_are_trained_again_from_before_it(workshops: Callable) -> None:
    """Of three checkpoints those of steps 6 and 8 are damaged: steps 5 and 6 are trained again without the change."""
    calm, damaged = workshops("calm"), workshops("damaged")
    expected, _ = calm.run("phase", calm.inputs(1), calm.stage(amendments=AMENDED))
    interrupted(damaged, 10, amendments=AMENDED, keep_last_checkpoints=3)
    held = checkpoints(damaged.home / "phase-state" / "checkpoints")[1:]
    assert [step_of(folder) for folder in held] == [6, 8], "the segments end with checkpoints"
    for folder in held:
        (folder / "model-00001-of-00004.safetensors").write_bytes(b"")
    result, _ = damaged.run("phase", damaged.inputs(1), damaged.stage(amendments=AMENDED))
    assert digests(result) == digests(expected)


def test_a_run_in_flight_takes_an_amendment_and_loses_no_step(workshops: Callable, tmp_path: Path) -> None:
    """The phase stops in step 8 with checkpoints of steps 4 and 6; the amendment of step 6 goes on from there."""
    calm, steered = workshops("calm"), workshops("steered")
    expected, _ = calm.run("phase", calm.inputs(1), calm.stage(amendments=AMENDED, checkpoint_every_steps=2))
    store = Store(tmp_path / "store").open()
    inputs = steered.inputs(1)
    plain = steered.stage(checkpoint_every_steps=2)
    amended = steered.stage(checkpoint_every_steps=2, amendments=AMENDED)
    with interrupted_before(9):
        build(plain, store, steered.events.append, None, *(inputs[name] for name in plain.inputs))
    read: list[int] = []
    batches = PhaseBatches.__call__

    def noted(self: PhaseBatches, step: int) -> list:
        read.append(step)
        return batches(self, step)

    steered.events.clear()
    with patch.object(PhaseBatches, "__call__", noted):
        made = build(amended, store, steered.events.append, None, *(inputs[name] for name in amended.inputs))
    assert min(read) == 7, "no step before the amendment is trained again"
    assert [step for step, _ in steered.points()] == list(range(1, 11)), "its curve is whole"
    manifest = {"manifest.json"}
    assert {k: v for k, v in digests(made.path).items() if k not in manifest} == digests(expected)
    assert "goes on from step 6 of an earlier attempt" in next(
        event["message"] for event in steered.events if event["event"] == "warning"
    )


def test_a_second_amendment_goes_on_from_the_first_and_a_changed_first_from_none(workshop) -> None:
    plain = workshop.stage()
    one, two = workshop.stage(amendments=AMENDED), workshop.stage(amendments=AMENDED | {8: {"weight_decay": 0.0}})
    other = workshop.stage(amendments={6: {"peak_lr": 0.01}, 8: {"weight_decay": 0.0}})
    assert one.continues == (plain.key,)
    assert two.continues == (one.key, plain.key)
    assert one.key not in other.continues
    assert two.params["amendments"] == [
        {"from_step": 6, "train": {"peak_lr": 0.03}},
        {"from_step": 8, "train": {"weight_decay": 0.0}},
    ]


def test_an_amendment_may_change_the_precision_and_the_batch(workshop) -> None:
    """Of 40 sequences 24 are read in six steps of 4, then 16 in two of 8."""
    changes = {6: {"dtype": "bfloat16", "global_batch_sequences": 8}}
    out, metrics = workshop.run("phase", workshop.inputs(1), workshop.stage(amendments=changes))
    history = pq.read_table(out / "history.parquet")
    assert history["tokens"].to_pylist() == [*range(64, 6 * 64 + 1, 64), 8 * 64, 10 * 64]
    assert dict(history["tokens_by_corpus"].to_pylist()[-1]) == {"code": 320, "web": 320}
    assert (metrics["steps"], metrics["tokens"]) == (8, 640)


def test_an_amendment_freezes_parts_from_a_step_on(workshop) -> None:
    """Steps 7 and 8 are trained without the experts, 9 and 10 with them again."""
    amended = workshop.stage(amendments={6: {"freeze": ["experts"]}, 8: {"freeze": []}}, checkpoint_every_steps=2)
    assert "freeze" not in amended.params["train"], "an empty list is no part of a key"
    assert [each["train"] for each in amended.params["amendments"]] == [{"freeze": ["experts"]}, {"freeze": []}]
    with patch("arctic_model.training.saving.prune"):
        workshop.run("phase", workshop.inputs(1), amended)
    saved = {step_of(folder): Checkpoint(folder) for folder in checkpoints(workshop.home / "phase-state/checkpoints")}
    for kind in ("weight", "momentum_buffer"):
        expert = [saved[step].read("model.layers.1.block_sparse_moe.experts.2.w1.weight", kind) for step in (6, 8, 10)]
        assert expert[0].equal(expert[1])
        assert not expert[1].equal(expert[2])
    query = [saved[step].read("model.layers.1.self_attn.q_proj.weight") for step in (6, 8)]
    assert not query[0].equal(query[1])


def test_spikes_that_end_a_phase_give_the_amendments_to_paste(workshop) -> None:
    """Step 5 on, each norm is above 1.001 times the median, one skipped step is too many."""
    strict = {"spike_factor": 1.0001, "spike_window_steps": 4, "max_skipped_steps": 0, "checkpoint_every_steps": 2}
    with pytest.raises(TrainingError) as raised:
        workshop.run("phase", workshop.inputs(1), workshop.stage(**strict))
    saved = step_of(checkpoints(workshop.home / "phase-state" / "checkpoints")[-1])
    assert f"[[amendments]]\nfrom_step = {saved}\ntrain.peak_lr = 0.0015" in str(raised.value)
    assert f"[[amendments]]\nfrom_step = {saved}\ntrain.spike_factor = 2.0002" in str(raised.value)


@pytest.mark.parametrize(
    ("changes", "is_begun_anew"),
    [
        ({"global_batch_sequences": 8}, True),
        ({"freeze": ["experts"]}, True),
        ({"dtype": "bfloat16"}, True),
        ({"balance_loss_coefficient": 0.1}, True),
        ({"peak_lr": 0.001, "weight_decay": 0.0}, False),
    ],
)
def test_norms_are_compared_with_those_of_the_same_conditions(workshop, changes: dict, is_begun_anew: bool) -> None:
    out, _ = workshop.run("phase", workshop.inputs(1), workshop.stage(amendments={6: changes}))
    norms = pq.read_table(out / "history.parquet")["gradient_norm"].to_pylist()
    assert Checkpoint(out / "checkpoint").state.gradient_norms == norms[6 if is_begun_anew else 0 :]


def test_parts_that_are_trained_again_are_no_spike_also_behind_a_kill(workshops: Callable) -> None:
    """Steps 4 to 7 have the small gradient of the norms' weights alone."""
    thawed = {3: {"freeze": ["embeddings", "attention", "dense", "router", "experts", "head"]}, 7: {"freeze": []}}
    section = {"spike_window_steps": 4, "max_skipped_steps": 1, "spike_factor": 3.0, "amendments": thawed}
    calm, killed = workshops("calm"), workshops("killed")
    expected, _ = calm.run("phase", calm.inputs(1), calm.stage(**section))
    history = pq.read_table(expected / "history.parquet")
    norms = history["gradient_norm"].to_pylist()
    assert norms[7] > 3 * max(norms[3:7]), "a spike among norms of other conditions"
    assert not any(history["skipped"].to_pylist())
    interrupted(killed, 10, **section, checkpoint_every_steps=2)
    result, _ = killed.run("phase", killed.inputs(1), killed.stage(**section, checkpoint_every_steps=2))
    assert digests(result) == digests(expected)


def test_limits_of_the_guard_may_be_raised_in_place_before_they_acted(workshops: Callable) -> None:
    calm, raised = workshops("calm"), workshops("raised")
    assert calm.stage(spike_factor=20.0).key == calm.stage().key
    expected, _ = calm.run("phase", calm.inputs(1), calm.stage())
    interrupted(raised, 7)
    result, _ = raised.run("phase", raised.inputs(1), raised.stage(spike_factor=20.0))
    assert digests(result) == digests(expected)


def test_limits_that_would_rewrite_the_past_are_refused_with_the_amendment(workshop) -> None:
    interrupted(workshop, 10, spike_window_steps=4, max_skipped_steps=3)
    with pytest.raises(
        ValueError, match=r"step \d+ \(gradient norm .*\) was taken, and .* would have been skipped"
    ) as error:
        workshop.run(
            "phase",
            workshop.inputs(1),
            workshop.stage(spike_factor=1.0001, spike_window_steps=4, max_skipped_steps=3),
        )
    assert "[[amendments]]\nfrom_step = 8\ntrain.spike_factor = 1.0001\ntrain.spike_window_steps = 4" in str(
        error.value
    )


def test_a_phase_that_is_done_is_amended_from_a_checkpoint_that_it_keeps(workshops: Callable, tmp_path: Path) -> None:
    calm, done = workshops("calm"), workshops("done")
    expected, _ = calm.run("phase", calm.inputs(1), calm.stage(amendments=AMENDED))
    store, inputs = Store(tmp_path / "store").open(), done.inputs(1)
    section = {"checkpoint_every_steps": 2, "keep_every_steps": 4}
    plain, amended = done.stage(**section), done.stage(**section, amendments=AMENDED)
    build(plain, store, done.events.append, None, *(inputs[name] for name in plain.inputs))
    assert not store.state(plain).exists()
    done.events.clear()
    made = build(amended, store, done.events.append, None, *(inputs[name] for name in amended.inputs))
    assert "goes on from step 4" in next(event["message"] for event in done.events if event["event"] == "warning")
    assert {name: digest for name, digest in digests(made.path).items() if name != "manifest.json"} == digests(expected)
