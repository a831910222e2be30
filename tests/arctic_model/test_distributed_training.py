"""Training on several workers is training on one; and a killed run continues as if nothing had happened."""

import hashlib
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

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


def digests(folder: Path) -> dict[str, str]:
    """sha256 of every file of the last checkpoint."""
    last = sorted((folder / "checkpoints").iterdir())[-1]
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(last.iterdir())}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two workers in several arrangements, then one; `moved` begins on two and ends on one."""
    home = tmp_path_factory.mktemp("trained")
    pair = run_workers(
        home / "2",
        2,
        job(home / "zero0", zero=0, experts=2),
        job(home / "zero1", zero=1, experts=2),
        job(home / "zero2", zero=2, experts=2),
        job(home / "whole_experts", zero=1, experts=1),
        job(home / "passes", zero=1, experts=2, micro=1),
        job(home / "bfloat16", zero=1, experts=2, dtype="bfloat16"),
        job(home / "moved", zero=1, experts=2, steps=6),
    )
    alone = run_workers(
        home / "1", 1, job(home / "alone"), job(home / "alone_in_four_passes", micro=1), job(home / "moved", zero=0)
    )
    assert pair + alone == [0, 0, 0]
    return home


ARRANGEMENTS = ["alone_in_four_passes", "zero0", "zero1", "zero2", "whole_experts", "passes", "moved"]


@pytest.mark.parametrize("name", ARRANGEMENTS)
def test_every_arrangement_of_workers_has_the_curve_of_one_worker(trained: Path, name: str) -> None:
    expected, found = records(trained / "alone"), records(trained / name)
    assert [record["step"] for record in found] == list(range(1, STEPS + 1))
    for column in ("loss", "balance_loss", "z_loss", "learning_rate"):
        assert [record[column] for record in found] == pytest.approx(
            [record[column] for record in expected], abs=2e-6, rel=0
        )
    for column in ("gradient_norm", "max_expert_load"):
        assert [record[column] for record in found] == pytest.approx([record[column] for record in expected], rel=1e-5)


def test_the_model_learns(trained: Path) -> None:
    curve = losses(trained / "alone")
    assert curve[-1] < curve[0] - 0.5


def test_bfloat16_follows_the_float32_curve(trained: Path) -> None:
    assert losses(trained / "bfloat16") == pytest.approx(losses(trained / "alone"), abs=0.03)
    assert losses(trained / "bfloat16") != pytest.approx(losses(trained / "alone"), abs=1e-6)


def test_a_killed_run_continues_bit_for_bit(trained: Path, tmp_path: Path) -> None:
    killed = run_workers(tmp_path / "first", 2, job(tmp_path / "run", experts=2, kill_at=8))
    assert killed[1] == -signal.SIGKILL
    assert killed[0] != 0
    assert not (tmp_path / "run" / "losses.json").exists()
    assert run_workers(tmp_path / "second", 2, job(tmp_path / "run", experts=2)) == [0, 0]
    assert losses(tmp_path / "run") == losses(trained / "zero1")
    assert digests(tmp_path / "run") == digests(trained / "zero1")
