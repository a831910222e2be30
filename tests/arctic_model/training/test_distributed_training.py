"""Training on several workers is training on one; and a killed run continues as if nothing had happened."""

import hashlib
import itertools
import json
import math
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from arctic_model.model import ArcticModel

SPOILED = {"5": "spike", "6": "gradient", "8": "loss", "10": "spike"}
LEFT_OUT = [5, 6, 8, 10]
MUON = {"optimizer": "muon"}
GUARDED = {
    "adamw": {"zero": 0, "experts": 2},
    "muon": {"zero": 1, "experts": 2, **MUON},
    "muon_bfloat16": {"zero": 2, "dtype": "bfloat16", **MUON},
    "flat": {"zero": 3, "dtype": "bfloat16", "experts": 2, **MUON, "engine": "flat"},
    "shared": {"zero": 2, "experts": 2, "context": 2, "longest_bias": 0, **MUON},
}
LAYERS_AGAIN = {"routing": {"activation_checkpointing": "layer"}}
BIASED = {
    "model": {"router_bias": True},
    "routing": {
        "balance_loss_coefficient": 0.0,
        "balance_bias_rate": 0.01,
        "capacity_factor": 1.0,
        "activation_checkpointing": "layer",
    },
}
"""Loads balanced by a bias, drops beyond a capacity, and layers computed again in backward."""
FLAT = {"engine": "flat"}
SHARED = {"context": 2, "longest_bias": 0}
"""Two neighbours share each sequence, and attention has no matrix."""


def arrangements(*expert_sizes: int, shard_groups: tuple[int, ...] = ()) -> dict[str, dict]:
    """Every split of both engines, by name; `shard_groups` are the parts of the dense part that HSDP makes."""
    splits = [{"zero": zero} for zero in (0, 1, 2)]
    splits += [split | FLAT for split in (*splits, {"zero": 3})]
    splits += [{"zero": zero, "shards": size} | FLAT for zero, size in itertools.product((2, 3), shard_groups)]
    return {
        "-".join(map(str, (split | {"experts": size}).values())): split | {"experts": size}
        for split, size in itertools.product(splits, expert_sizes)
    }


GRADIENTS_OF_TWO = arrangements(1, 2, shard_groups=(1,))
GRADIENTS_OF_FOUR = arrangements(1, 2, 4, shard_groups=(2,))
SHARED_BY_TWO = {"shared": {"zero": 1, "experts": 2, **SHARED}, "shared_bias": {"zero": 1, "experts": 1, "context": 2}}
SHARED_BY_FOUR = {
    f"shared-{context}-{name}": split | {"context": context, "longest_bias": 0}
    for context, name in ((2, "1-2"), (2, "2-4"), (4, "1-4"), (4, "3-flat-2"), (2, "3-2-flat-1"))
    for split in (GRADIENTS_OF_FOUR[name],)
}
WORKER = Path(__file__).with_name("train_worker.py")
STEPS = 10


def run_workers(folder: Path, world: int, *jobs: dict) -> list[int]:
    """Exit codes of `world` workers that do `jobs` one after the other."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "jobs.json").write_text(json.dumps(jobs), encoding="utf-8")
    rendezvous = folder / "rendezvous"
    rendezvous.unlink(missing_ok=True)
    command = [str(world), str(rendezvous), str(folder / "jobs.json")]
    workers = [subprocess.Popen([sys.executable, str(WORKER), str(rank), *command]) for rank in range(world)]
    return [worker.wait(timeout=300) for worker in workers]


def job(folder: Path, **settings: object) -> dict:
    return {"folder": str(folder), "steps": STEPS, **settings}


def losses(folder: Path) -> list[float]:
    return [record["loss"] for record in records(folder)]


def records(folder: Path) -> list[dict]:
    return json.loads((folder / "losses.json").read_text(encoding="utf-8"))


def tensor_digests(folder: Path) -> dict[str, str]:
    return {name: digest for name, digest in digests(folder).items() if name.endswith(".safetensors")}


def digests(folder: Path) -> dict[str, str]:
    """sha256 of every file of the last checkpoint."""
    last = sorted((folder / "checkpoints").iterdir())[-1]
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(last.iterdir())}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two workers in the most informative arrangements, then one; `moved` begins on two and ends on one."""
    home = tmp_path_factory.mktemp("trained")
    guarded = GUARDED["muon"]
    pair = run_workers(
        home / "2",
        2,
        job(home / "zero1", zero=1, experts=2),
        job(home / "zero2", zero=2, experts=1),
        job(home / "bfloat16", zero=1, experts=2, dtype="bfloat16"),
        job(home / "moved", zero=1, experts=2, steps=6),
        job(home / "biased_moved", zero=1, experts=2, steps=6, **BIASED),
        job(home / "muon_zero1", zero=1, experts=2, **MUON),
        job(home / "muon_skips", **guarded, steps=12, spoiled=SPOILED),
        job(home / "muon_left", **guarded, steps=8, left_out=LEFT_OUT),
        job(home / "flat1", zero=1, experts=2, micro=1, **FLAT),
        job(home / "flat3", zero=3, experts=1, **FLAT, **LAYERS_AGAIN),
        job(home / "flat_bfloat16", zero=2, experts=2, dtype="bfloat16", **FLAT),
        job(home / "flat_biased", zero=3, experts=2, **BIASED, **FLAT),
        job(home / "flat_muon", zero=3, experts=2, **MUON, **FLAT),
        job(home / "flat_skips", **GUARDED["flat"], steps=12, spoiled=SPOILED),
        job(home / "flat_left", **GUARDED["flat"], steps=8, left_out=LEFT_OUT),
        job(home / "moved", zero=2, experts=1, steps=8, **FLAT),
        job(home / "shared", zero=1, experts=2, micro=2, **SHARED),
        job(home / "shared_flat", zero=3, experts=1, context=2, **FLAT, **LAYERS_AGAIN),
        *gradient_jobs(home / "gradients", GRADIENTS_OF_TWO, "0-2", "1-2", "1-flat-2", "3-flat-1", "3-flat-2"),
        *gradient_jobs(home / "gradients", SHARED_BY_TWO),
    )
    alone = run_workers(
        home / "1",
        1,
        job(home / "alone"),
        job(home / "moved", zero=0),
        job(home / "flat_alone", zero=1, **FLAT),
        job(home / "biased_alone", **BIASED),
        job(home / "biased_moved", zero=0, **BIASED),
        job(home / "muon_alone", **MUON),
        job(home / "alone_skips", **MUON, steps=12, spoiled=SPOILED),
        job(home / "spiking", spoiled={str(step): "gradient" for step in range(6, 10)}),
        job(home / "broken_data", spoiled={str(step): "loss" for step in range(1, 5)}),
    )
    assert pair + alone == [0, 0, 0]
    return home


@pytest.fixture(scope="module")
def arranged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All other arrangements."""
    home = tmp_path_factory.mktemp("arranged")
    others = ["adamw", "muon_bfloat16", "shared"]
    pair = run_workers(
        home / "2",
        2,
        job(home / "zero0", zero=0, experts=2),
        job(home / "whole_experts", zero=1, experts=1),
        job(home / "passes", zero=1, experts=2, micro=1),
        job(home / "biased", zero=2, experts=2, **BIASED),
        job(home / "muon_zero0", zero=0, experts=2, **MUON),
        job(home / "muon_zero2", zero=2, experts=1, **MUON),
        job(home / "muon_moved", zero=1, experts=2, steps=6, **MUON),
        *(job(home / f"{name}_skips", **GUARDED[name], steps=12, spoiled=SPOILED) for name in others),
        *(job(home / f"{name}_left", **GUARDED[name], steps=8, left_out=LEFT_OUT) for name in others),
        job(home / "flat0", zero=0, experts=2, **FLAT),
        job(home / "flat2", zero=2, experts=2, micro=1, **FLAT),
        job(home / "flat_replicas", zero=3, shards=1, experts=1, micro=1, **FLAT),
        job(home / "flat_muon_zero0", zero=0, experts=2, **MUON, **FLAT),
        job(home / "flat_muon_zero2", zero=2, experts=1, micro=1, **MUON, **FLAT),
        *gradient_jobs(home / "gradients", GRADIENTS_OF_TWO),
    )
    alone = run_workers(
        home / "1",
        1,
        job(home / "alone_in_four_passes", micro=1),
        job(home / "muon_moved", zero=0, **MUON),
    )
    assert pair + alone == [0, 0, 0]
    return home


@pytest.fixture
def folder(request: pytest.FixtureRequest, trained: Path) -> Path:
    """That of the arrangement `name`."""
    name = request.getfixturevalue("name")
    return trained / name if (trained / name).exists() else request.getfixturevalue("arranged") / name


def also_slow(*names: str) -> list:
    return [pytest.param(name, marks=pytest.mark.slow) for name in names]


ARRANGEMENTS = [
    *("zero1", "zero2", "moved", "flat1", "flat3", "flat_alone", "shared", "shared_flat"),
    *also_slow("alone_in_four_passes", "zero0", "whole_experts", "passes", "flat0", "flat2", "flat_replicas"),
]
"""`moved` goes on with the other engine twice."""


@pytest.mark.parametrize("name", ARRANGEMENTS)
def test_every_arrangement_of_workers_has_the_curve_of_one_worker(trained: Path, folder: Path, name: str) -> None:
    expected, result = records(trained / "alone"), records(folder)
    assert [record["step"] for record in result] == list(range(1, STEPS + 1))
    for column in ("loss", "balance_loss", "z_loss", "learning_rate"):
        assert [record[column] for record in result] == pytest.approx(
            [record[column] for record in expected], abs=2e-6, rel=0
        )
    for column in ("gradient_norm", "max_expert_load"):
        assert [record[column] for record in result] == pytest.approx([record[column] for record in expected], rel=1e-5)


@pytest.mark.parametrize("name", ["biased_moved", "flat_biased", *also_slow("biased")])
def test_biases_and_drops_are_those_of_one_worker(trained: Path, folder: Path, name: str) -> None:
    """Also when the run moves from two workers to one: the biases are part of the checkpoint, and of the model."""
    assert losses(folder) == pytest.approx(losses(trained / "biased_alone"), abs=2e-6, rel=0)
    expected, result = biases(trained / "biased_alone"), biases(folder)
    assert all(torch.equal(result[layer], expected[layer]) for layer in expected)
    steps = torch.stack(list(result.values())) / 0.01
    torch.testing.assert_close(steps, steps.round(), atol=1e-4, rtol=0)
    assert steps.abs().max() > 2


def biases(folder: Path) -> dict[str, torch.Tensor]:
    """As an evaluation loads them from the last checkpoint."""
    return dict(ArcticModel.from_pretrained(sorted((folder / "checkpoints").iterdir())[-1]).named_buffers())


@pytest.mark.parametrize(
    "name",
    [
        *("muon_zero1", "flat_muon"),
        *also_slow("muon_zero0", "muon_zero2", "muon_moved", "flat_muon_zero0", "flat_muon_zero2"),
    ],
)
def test_every_arrangement_of_workers_has_the_curve_of_one_worker_with_muon(
    trained: Path, folder: Path, name: str
) -> None:
    """Newton-Schulz magnifies rounding in directions with little gradient, 3.4 times an iteration: a wider bound."""
    expected, result = records(trained / "muon_alone"), records(folder)
    assert [record["step"] for record in result] == list(range(1, STEPS + 1))
    assert [record["loss"] for record in result] == pytest.approx([record["loss"] for record in expected], abs=2e-5)


def test_muon_learns_otherwise_than_adamw(trained: Path) -> None:
    curve = losses(trained / "muon_alone")
    assert curve[-1] < curve[0] - 0.2
    assert curve != pytest.approx(losses(trained / "alone"), abs=1e-3)


@pytest.mark.parametrize(
    "name", ["muon_skips", "flat_skips", *also_slow("adamw_skips", "muon_bfloat16_skips", "shared_skips")]
)
def test_a_skipped_step_is_as_if_its_data_had_been_left_out(folder: Path, name: str) -> None:
    """Weights, moments and, by the bias corrections of later steps, the count of updates: bit for bit."""
    result, without = records(folder), folder.with_name(name.replace("skips", "left"))
    assert [str(record["step"]) for record in result if record["skipped"]] == list(SPOILED)
    assert tensor_digests(folder) == tensor_digests(without)
    taken = [record for record in result if not record["skipped"]]
    left = records(without)
    assert [record["loss"] for record in taken] == [record["loss"] for record in left]


def test_what_was_wrong_with_a_skipped_step_stands_in_its_record(trained: Path) -> None:
    at = {record["step"]: record for record in records(trained / "muon_skips")}
    assert at[5]["gradient_norm"] > 5 * at[4]["gradient_norm"]
    assert math.isfinite(at[6]["loss"])
    assert math.isnan(at[6]["gradient_norm"])
    assert math.isnan(at[8]["loss"])


def test_a_loss_that_is_no_number_is_that_of_its_corpus_alone(trained: Path) -> None:
    """One sequence of prose is broken; the first worker reads prose, the second code."""
    at = {record["step"]: record["loss_by_corpus"] for record in records(trained / "muon_skips")}
    assert math.isnan(at[8]["prose"])
    assert at[8]["code"] == pytest.approx(at[7]["code"], abs=1.0)


def test_a_run_that_stops_over_broken_data_names_the_corpus(trained: Path) -> None:
    said = (trained / "broken_data" / "error.txt").read_text(encoding="utf-8")
    assert said.startswith("step 4: the loss is nan (by corpus: prose nan; finite in code), and 4 of the last 4 steps")


def test_a_run_that_keeps_spiking_stops_with_its_last_good_checkpoint(trained: Path) -> None:
    """That of step 8 holds the weights of step 5: the steps between were skipped."""
    assert (
        (trained / "spiking" / "error.txt")
        .read_text(encoding="utf-8")
        .startswith(
            "step 9: the gradient norm is nan, and 4 of the last 4 steps were skipped, more than "
            f"train.max_skipped_steps = 3. The last good checkpoint is {trained}/spiking/checkpoints/step-000000008."
        )
    )


@pytest.fixture(scope="module")
def gradients_of_four(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("gradients")
    assert run_workers(home / "workers", 4, *gradient_jobs(home, GRADIENTS_OF_FOUR | SHARED_BY_FOUR)) == [0] * 4
    return home


def test_two_workers_have_the_gradients_of_one_process(trained: Path) -> None:
    for name in ("0-2", "1-2", "1-flat-2", "3-flat-1", "3-flat-2", *SHARED_BY_TWO):
        assert_gradients_of_one_process(trained / "gradients" / name, 2)


@pytest.mark.slow
@pytest.mark.parametrize("arrangement", GRADIENTS_OF_TWO)
def test_two_workers_have_them_in_every_arrangement(arranged: Path, arrangement: str) -> None:
    assert_gradients_of_one_process(arranged / "gradients" / arrangement, 2)


@pytest.mark.slow
@pytest.mark.parametrize("arrangement", GRADIENTS_OF_FOUR | SHARED_BY_FOUR)
def test_four_workers_have_the_gradients_of_one_process(gradients_of_four: Path, arrangement: str) -> None:
    assert_gradients_of_one_process(gradients_of_four / arrangement, 4)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_four_workers_have_the_curve_of_one(trained: Path, tmp_path: Path, optimizer: str) -> None:
    splits = GRADIENTS_OF_FOUR | SHARED_BY_FOUR
    jobs = {name: settings | {"optimizer": optimizer} for name, settings in splits.items()}
    done = run_workers(tmp_path / "4", 4, *(job(tmp_path / name, **settings) for name, settings in jobs.items()))
    assert done == [0, 0, 0, 0]
    alone, bound = (trained / "alone", 2e-6) if optimizer == "adamw" else (trained / "muon_alone", 2e-5)
    for name in jobs:
        assert losses(tmp_path / name) == pytest.approx(losses(alone), abs=bound, rel=0), name


def gradient_jobs(home: Path, splits: dict[str, dict], *names: str) -> list[dict]:
    """Write one process' gradients, and every worker's for each arrangement, or for those of `names`."""
    return [{"folder": str(home), "gradients": "one process"}] + [
        {"folder": str(home / name), "gradients": "workers"} | splits[name] for name in names or splits
    ]


def assert_gradients_of_one_process(folder: Path, world: int) -> None:
    expected = load_file(folder.parent / "one_process.safetensors")
    norm = math.sqrt(sum(float(gradient.double().square().sum()) for gradient in expected.values()))
    seen = set()
    for rank in range(world):
        result = load_file(folder / f"{rank}.safetensors")
        assert float(result.pop("norm")) == pytest.approx(norm, rel=1e-5)
        for name, gradient in result.items():
            torch.testing.assert_close(
                gradient, expected[name], rtol=1e-4, atol=1e-7, msg=lambda why, name=name: f"{name}: {why}"
            )
        seen |= set(result)
    assert seen == set(expected)


def test_the_model_learns(trained: Path) -> None:
    curve = losses(trained / "alone")
    assert curve[-1] < curve[0] - 0.5


def test_bfloat16_follows_the_float32_curve(trained: Path) -> None:
    assert losses(trained / "bfloat16") == pytest.approx(losses(trained / "alone"), abs=0.03)
    assert losses(trained / "bfloat16") != pytest.approx(losses(trained / "alone"), abs=1e-6)


@pytest.mark.parametrize(
    ("name", "world"),
    [("alone_skips", 1), *(pytest.param(f"{name}_skips", 2, marks=pytest.mark.slow) for name in GUARDED)],
)
def test_a_killed_run_continues_bit_for_bit(folder: Path, tmp_path: Path, name: str, world: int) -> None:
    """Step 10 is a spike only by the norms before the kill, which the checkpoint must bring back too."""
    settings = {**GUARDED.get(name.removesuffix("_skips"), MUON), "steps": 12, "spoiled": SPOILED}
    killed = run_workers(tmp_path / "first", world, job(tmp_path / "run", **settings, kill_at=11))
    assert killed[-1] == -signal.SIGKILL
    assert 0 not in killed
    assert not (tmp_path / "run" / "losses.json").exists()
    assert run_workers(tmp_path / "second", world, job(tmp_path / "run", **settings)) == [0] * world
    assert str(losses(tmp_path / "run")) == str(losses(folder))
    assert digests(tmp_path / "run") == digests(folder)
