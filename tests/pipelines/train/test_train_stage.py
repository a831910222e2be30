"""One phase of training as a stage: its output, its resumption, its refusals."""

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from arctic_model.checkpoint.reading import Checkpoint
from arctic_model.model import ArcticModel
from arctic_model.presets import preset
from arctic_model.sizing.flops import training_flops_per_token
from arctic_model.training.engine import Engine
from arctic_model.training.optimization.schedule import Schedule
from arctic_model.training.optimization.settings import Optimization
from arctic_model.training.spikes import SpikePolicy
from pipelines.artifacts.checkpoint import (
    EXPERT_LOAD,
    HISTORY,
    ROUTER,
    ROUTER_COLUMNS,
    ROUTER_FIGURES,
    checkpoint_folder,
)
from pipelines.artifacts.sequence_order.phase_plan import PhasePlan
from pipelines.artifacts.tokenization.tokens import TokenSequences, positions_and_targets
from pipelines.train.data import PhaseBatches
from pipelines.train.job import CheckpointPolicy, Segment, TrainJob, WorkerGroup
from pipelines.train.workers import worker
from pipelines.train.workers.worker import ContextObserver
from tests.kit.files import digests
from tests.kit.interruption import interrupted_before

LENGTH = 16


def test_a_phase_leaves_a_checkpoint_its_history_and_the_experts_load(workshop) -> None:
    out, metrics = workshop.run("phase", workshop.inputs(1), workshop.stage())
    history = pq.read_table(out / "history.parquet")
    load = pq.read_table(out / "expert_load.parquet")
    assert (history.schema, load.schema) == (HISTORY, EXPERT_LOAD)
    assert history["step"].to_pylist() == list(range(1, 11))
    assert history["tokens"].to_pylist() == [64 * step for step in range(1, 11)]
    assert history["learning_rate"].to_pylist()[:3] == pytest.approx([0.0015, 0.003, 0.003])
    assert metrics["loss"] == pytest.approx(np.mean(history["loss"].to_pylist()))
    assert (metrics["steps"], metrics["tokens"]) == (10, 640)
    shares = np.array(load["share"].to_pylist()).reshape(2, 4)
    assert shares.sum(axis=1) == pytest.approx([1, 1])
    assert Checkpoint(checkpoint_folder(out)).verify().state.step == 10
    assert ArcticModel.from_pretrained(checkpoint_folder(out)).config == preset("tiny")


def test_whoever_watches_hears_of_every_step_once(workshop) -> None:
    out, _ = workshop.run("phase", workshop.inputs(1), workshop.stage())
    history = pq.read_table(out / "history.parquet").to_pylist()
    points = workshop.points()
    assert [(step, values["train/loss"]) for step, values in points] == [(row["step"], row["loss"]) for row in history]
    assert set(points[0][1]) == {
        *(f"train/{name}" for name in ("loss", "gradient_norm", "learning_rate", "skipped")),
        *("train/num_workers", "train/tokens_per_s"),
        *(f"train/{part}_s" for part in ("step", "data", "forward", "backward", "optimizer", "exposed_comm")),
        *("train/peak_memory_bytes", "train/loss_code", "train/loss_web", "train/tokens_code", "train/tokens_web"),
        *(f"router/{name}" for name in ("balance_loss", "z_loss", "max_expert_load", *ROUTER_COLUMNS)),
    }
    progress = [event for event in workshop.events if event["event"] == "progress"]
    assert (progress[-1]["done"], progress[-1]["total"], progress[-1]["unit"]) == (640, 640, "tokens")


def test_the_same_phase_makes_the_same_bytes_and_a_stopped_one_continues_to_them(
    workshops: Callable,
) -> None:
    once, stopped = workshops("once"), workshops("stopped")
    expected, _ = once.run("phase", once.inputs(1), once.stage())
    with interrupted_before(7):
        stopped.run("phase", stopped.inputs(1), stopped.stage())
    assert [step for step, _ in stopped.points()] == [1, 2, 3, 4]
    stopped.events.clear()
    result, _ = stopped.run("phase", stopped.inputs(1), stopped.stage())
    assert digests(result) == digests(expected)
    assert [step for step, _ in stopped.points()] == list(range(1, 11))


def test_a_damaged_checkpoint_is_trained_again_from_the_one_before(workshop) -> None:
    expected, _ = workshop.run("phase", workshop.inputs(1), workshop.stage())
    newest = workshop.home / "phase-state" / "checkpoints" / "step-000000010"
    weights = newest / "model-00001-of-00004.safetensors"
    content = weights.read_bytes()
    weights.unlink()
    weights.write_bytes(content[:-1])
    result, _ = workshop.run("phase", workshop.inputs(1), workshop.stage())
    assert digests(result) == digests(expected)


def test_the_next_phase_continues_steps_weights_and_moments(workshops: Callable) -> None:
    """Two phases of five steps are one phase of ten, if both read the same sequences."""
    whole, halves = workshops("whole"), workshops("halves")
    expected, _ = whole.run("phase", whole.inputs(1, steps=10), whole.stage())
    first, _ = halves.run("first", halves.inputs(1, steps=5), halves.stage())
    second, metrics = halves.run("second", halves.inputs(2, steps=5, previous=first), halves.stage(2))
    assert (metrics["steps"], metrics["tokens"]) == (5, 320)
    tail = pq.read_table(expected / "history.parquet").slice(5)
    assert pq.read_table(second / "history.parquet").equals(tail)
    mine, theirs = Checkpoint(checkpoint_folder(second)), Checkpoint(checkpoint_folder(expected))
    for kind in ("weight", "exp_avg", "exp_avg_sq"):
        assert torch.equal(mine.read("lm_head.weight", kind), theirs.read("lm_head.weight", kind))


def test_losses_that_are_no_numbers_end_the_phase_and_keep_the_last_good_checkpoint(workshop) -> None:
    broken = (
        r"(loss is (nan|inf) \(by corpus: code (nan|inf), web (nan|inf); finite in none\)|gradient norm is (nan|inf))"
    )
    said = rf"step \d+: the {broken}, and 4 of the last .*last good checkpoint"
    with pytest.raises(RuntimeError, match=said):
        workshop.run("phase", workshop.inputs(1), workshop.stage(peak_lr=1e18, max_skipped_steps=3))
    assert not list(workshop.home.glob("phase-out-0/*"))


def test_a_phase_of_skipped_steps_alone_is_no_result(workshop) -> None:
    broken, _ = workshop.run("first", workshop.inputs(1, steps=2), workshop.stage(peak_lr=1e18, max_skipped_steps=20))
    with pytest.raises(RuntimeError, match="every step was skipped, the last at step 12"):
        workshop.run("second", workshop.inputs(2, previous=broken), workshop.stage(2, max_skipped_steps=20))


def test_rate_factors_are_part_of_a_key_with_muon_only(workshop) -> None:
    for field in ("embedding_lr_factor", "head_lr_factor", "gate_lr_factor", "norm_lr_factor"):
        keys = {
            optimizer: {workshop.stage(optimizer=optimizer, **{field: factor}).key for factor in (1.0, 0.5)}
            for optimizer in ("adamw", "muon")
        }
        assert (len(keys["adamw"]), len(keys["muon"])) == (1, 2)


def test_a_checkpoint_of_another_architecture_is_refused(workshop) -> None:
    first, _ = workshop.run("first", workshop.inputs(1, steps=2), workshop.stage())
    with pytest.raises(RuntimeError, match="was trained as"):
        workshop.run("second", workshop.inputs(2, previous=first), workshop.stage(2, model={"top_k": 1}))


def test_spreading_the_work_otherwise_leaves_the_key(workshop) -> None:
    deviation = {
        "num_workers": 2,
        "expert_parallel_size": 2,
        "cpus_per_worker": 0.5,
        "micro_batch_sequences": 1,
        "threads_per_worker": 4,
        "collective_timeout_s": 5.0,
        "peak_tflops": 1.0,
        "price_per_worker_hour": 2.5,
        "profile_steps": "1:2",
        "gpus_per_worker": 1.0,
        "checkpoint_every_steps": 3,
        "zero_stage": 2,
    }
    assert workshop.stage(**deviation).key == workshop.stage().key


def test_checkpoints_at_other_steps_leave_the_result(workshops: Callable) -> None:
    often, seldom = workshops("often"), workshops("seldom")
    result, _ = often.run("phase", often.inputs(1), often.stage(checkpoint_every_steps=3))
    expected, _ = seldom.run("phase", seldom.inputs(1), seldom.stage(checkpoint_every_steps=100))
    assert digests(result) == digests(expected)


def test_the_metrics_of_a_step_do_not_wait_for_a_checkpoint(workshop) -> None:
    seen: list[int] = []
    saving = ContextObserver.saving

    def checkpoint(observer: ContextObserver) -> None:
        seen.extend(step for step, _ in workshop.points())
        saving(observer)

    with patch.object(ContextObserver, "saving", checkpoint), patch.object(worker, "POINTS_S", 0.0):
        workshop.run("phase", workshop.inputs(1), workshop.stage(checkpoint_every_steps=100))
    assert seen == list(range(1, 11))


def test_a_decay_that_starts_later_leaves_the_key(workshop) -> None:
    assert workshop.stage(final_lr_fraction=0.5, decay_fraction=0.3).key == workshop.stage().key
    decays = {"decay_start_tokens": 100, "decay_end_tokens": 640}
    assert workshop.stage(schedule=decays, final_lr_fraction=0.5).key != workshop.stage(schedule=decays).key


@pytest.mark.parametrize(
    "change",
    [
        {"peak_lr": 0.001},
        {"seed": 1},
        {"global_batch_sequences": 8},
        {"dtype": "bfloat16"},
        {"optimizer": "adamw"},
    ],
)
def test_what_changes_results_changes_the_key(workshop, change: dict) -> None:
    assert workshop.stage(**change).key != workshop.stage().key


def test_building_the_stage_imports_neither_torch_nor_ray() -> None:
    import subprocess
    import sys

    code = "import sys, pipelines.train; sys.exit(bool({'torch', 'ray'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("world", [1, 2, 4])
def test_workers_read_the_plans_sequences_once_each_whatever_their_number(workshop, world: int) -> None:
    inputs = workshop.inputs(1)
    job = TrainJob(
        config=preset("tiny"),
        group=WorkerGroup(),
        checkpoints=CheckpointPolicy(),
        segments=(Segment(100, 110, 6400, 4, 1, Optimization(), Schedule(1.0), SpikePolicy(), inputs["mix"].path),),
        sequence_length=LENGTH,
        tokens={name: inputs[f"tokens:{name}"].path for name in ("code", "web")},
        folder=workshop.home,
    )
    plan = PhasePlan.read(inputs["mix"].path)
    corpora = [TokenSequences(job.tokens[share.corpus], "train") for share in plan.shares]
    workers = [PhaseBatches(job, rank, world) for rank in range(world)]
    for step in (101, 110):
        passes = [batch for worker in workers for batch in worker(step)]
        expected = zip(*plan.sequences((step - 101) * 4, 4), strict=True)
        assert [tuple(batch.ids.shape) for batch in passes] == [(1, 16)] * 4
        for batch, (corpus, sequence) in zip(passes, expected, strict=True):
            ids, segments = corpora[corpus].ids(sequence), corpora[corpus].segments(sequence)
            positions, targets = positions_and_targets(ids, segments)
            assert batch.ids[0].tolist() == ids[:-1].tolist()
            assert batch.segments[0].tolist() == segments[:-1].tolist()
            assert batch.positions[0].tolist() == positions.tolist()
            assert batch.targets[0].tolist() == targets.tolist()


def test_history_holds_no_clock(workshop) -> None:
    workshop.run("phase", workshop.inputs(1, steps=2), workshop.stage())
    line = (workshop.home / "phase-state" / "history.jsonl").read_text().splitlines()[0]
    columns = set(json.loads(line)) - {"router_layers"}
    assert {
        name for name in columns if name.endswith(("_s", "_frac", "_bytes", "mfu", "num_workers"))
    } == columns - set(HISTORY.names)


def test_the_losses_of_the_corpora_make_up_the_loss(workshop) -> None:
    """Both corpora have sequences with the same number of targets, so the step's loss is the mean by sequences."""
    out, _ = workshop.run("phase", workshop.inputs(1), workshop.stage())
    rows = pq.read_table(out / "history.parquet").to_pylist()
    read = {"code": 0, "web": 0}
    for row in rows:
        losses, tokens = dict(row["loss_by_corpus"]), dict(row["tokens_by_corpus"])
        sequences = {corpus: (tokens[corpus] - read[corpus]) // 16 for corpus in read}
        assert losses.keys() == {corpus for corpus, count in sequences.items() if count}
        assert row["loss"] == pytest.approx(sum(losses[corpus] * sequences[corpus] for corpus in losses) / 4)
        read = tokens
    assert read == {"code": 320, "web": 320}


def test_each_layers_router_is_recorded_every_ten_steps_and_at_the_end(workshop) -> None:
    out, _ = workshop.run("phase", workshop.inputs(1, steps=12), workshop.stage())
    table, rows = pq.read_table(out / "router.parquet"), pq.read_table(out / "history.parquet").to_pylist()
    assert table.schema == ROUTER
    layers = table.to_pylist()
    assert [(row["step"], row["layer"]) for row in layers] == [(step, layer) for step in (10, 12) for layer in (0, 1)]
    for figure in ROUTER_FIGURES:
        both = [row[figure] for row in layers if row["step"] == 10]
        assert rows[9][f"{figure}_mean"] == pytest.approx(sum(both) / 2)
        assert rows[9][f"{figure}_max"] == max(both)


def test_mfu_is_a_share_of_a_peak_that_somebody_stated(workshop) -> None:
    workshop.run("phase", workshop.inputs(1, steps=2), workshop.stage(peak_tflops=0.001))
    _, values = workshop.points()[0]
    flops = training_flops_per_token(preset("tiny"), 16) * values["train/tokens_per_s"]
    assert values["train/mfu"] == pytest.approx(flops / 1e9)


def test_a_price_makes_a_cost(workshop) -> None:
    _, metrics = workshop.run("phase", workshop.inputs(1, steps=2), workshop.stage(price_per_worker_hour=2.5))
    assert metrics["cost"] == pytest.approx(2.5 * metrics["worker_hours"])


def test_a_trace_of_some_steps_is_written_beside_the_checkpoints(workshop) -> None:
    workshop.run("phase", workshop.inputs(1, steps=4), workshop.stage(profile_steps="2:3"))
    (warning,) = [event["message"] for event in workshop.events if event["event"] == "warning"]
    (file,) = (workshop.home / "phase-state.traces").glob("trace-*")
    assert str(file) in warning
    assert [event["path"] for event in workshop.events if event["event"] == "file"] == [str(file)]
    names = [event.get("name") for event in json.loads(gzip.decompress(file.read_bytes()))["traceEvents"]]
    # a backward pass of each of the two micro-batches of each of the two steps
    assert names.count("_HeadNllBackward") == 4


def test_a_token_that_the_model_has_no_row_for_is_refused_by_name(workshop) -> None:
    inputs = workshop.inputs(1)
    workshop.plant("web", 384)
    with pytest.raises(ValueError, match=r"step 1: sequence \d+ of corpus web holds token 384.*vocab_size = 384"):
        workshop.run("phase", inputs, workshop.stage())


def test_a_missing_gpu_is_refused_before_any_worker_starts(workshop) -> None:
    with (
        patch.object(torch.cuda, "is_available", lambda: False),
        pytest.raises(ValueError, match=r"train.gpus_per_worker = 1, but torch .* sees no GPU"),
    ):
        workshop.run("phase", workshop.inputs(1), workshop.stage(gpus_per_worker=1.0, num_workers=2))


def test_out_of_memory_says_where_and_what_to_lower(workshop) -> None:
    def allocate(*_: object) -> None:
        torch.empty(2**60)

    message = r"out of memory \(in step 1, backward\): .*By formula a worker needs .* GB.*train\.\w+"
    with patch.object(Engine, "backward", allocate), pytest.raises(RuntimeError, match=message):
        workshop.run("phase", workshop.inputs(1), workshop.stage())


def test_weights_of_every_so_many_steps_stay_whatever_is_killed(workshops: Callable) -> None:
    """A kill in step 9, after the copy of step 8 is lost with its disk: the next attempt makes it again."""
    calm, killed = workshops("calm"), workshops("killed")
    section = {"checkpoint_every_steps": 2, "keep_weights_every_steps": 4}
    assert calm.stage(**section).key == calm.stage().key
    calm.run("phase", calm.inputs(1), calm.stage(**section))
    with interrupted_before(9):
        killed.run("phase", killed.inputs(1), killed.stage(**section))
    shutil.rmtree(killed.home / "phase-state.weights" / "step-000000008", ignore_errors=True)
    killed.run("phase", killed.inputs(1), killed.stage(**section))
    result, expected = (
        {
            str(file.relative_to(shop.home)): file.read_bytes()
            for file in (shop.home / "phase-state.weights").rglob("*.*s*")
        }
        for shop in (killed, calm)
    )
    assert {Path(name).parts[1] for name in expected} == {"step-000000004", "step-000000008"}
    assert result == expected
