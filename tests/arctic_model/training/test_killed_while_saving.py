"""Workers that are killed while a checkpoint is on its way, and resumed on as many workers or on others."""

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

WORKER = Path(__file__).with_name("train_worker.py")
KILLED = Path(__file__).with_name("killed_worker.py")
UNDER_TORCHRUN = Path(__file__).with_name("torchrun_worker.py")
STEPS = 12


def run_workers(folder: Path, world: int, job: dict, worker: Path = WORKER) -> list[int]:
    jobs = write_jobs(folder, job, "jobs.json")
    (folder / "rendezvous").unlink(missing_ok=True)
    command = [str(world), str(folder / "rendezvous"), jobs]
    workers = [subprocess.Popen([sys.executable, str(worker), str(rank), *command]) for rank in range(world)]
    return [each.wait(timeout=500) for each in workers]


def write_jobs(folder: Path, job: dict, name: str) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps([{"folder": str(folder), "steps": STEPS, **job}]), encoding="utf-8")
    return str(folder / name)


def records(folder: Path) -> list[dict]:
    result = json.loads((folder / "losses.json").read_text(encoding="utf-8"))
    return [{name: record[name] for name in ("step", "loss", "gradient_norm")} for record in result]


def last_checkpoint(folder: Path) -> dict:
    """Hashes of all its files."""
    last = sorted((folder / "checkpoints").glob("step-*"))[-1]
    return json.loads((last / "checkpoint.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("calm")
    assert run_workers(folder, 2, {"experts": 2}) == [0, 0]
    return folder


def kills() -> list[tuple[int, str, int]]:
    """Either worker, in any file of the three checkpoints; and around the commit of each."""
    generator = random.Random(0)
    writing = [(generator.randrange(2), "write_slices", generator.randrange(24)) for _ in range(3)]
    return [*writing, (0, "append", 1), (0, "rename", 2), (0, "rename", 4)]


@pytest.mark.slow
@pytest.mark.parametrize("dies_in", kills())
def test_workers_killed_in_a_checkpoint_go_on_bit_for_bit(
    calm: Path, tmp_path: Path, dies_in: tuple[int, str, int]
) -> None:
    job = {"experts": 2, "dies_in": dies_in}
    exits = run_workers(tmp_path, 2, job, KILLED)
    assert exits[dies_in[0]] == -signal.SIGKILL
    assert not (tmp_path / "losses.json").exists()
    assert run_workers(tmp_path, 2, job) == [0, 0]
    assert records(tmp_path) == records(calm)
    assert last_checkpoint(tmp_path) == last_checkpoint(calm)
    assert not list((tmp_path / "checkpoints").glob(".*"))


@pytest.mark.slow
def test_torchrun_starts_the_same_loop_and_restarts_it_where_a_worker_died(calm: Path, tmp_path: Path) -> None:
    job = {"experts": 2}
    jobs = [write_jobs(tmp_path, {**job, "kill_at": 7}, "killed.json"), write_jobs(tmp_path, job, "restarted.json")]
    # Its agents meet at a file as well: its own way opens a port to everybody.
    meeting = ["--rdzv-backend=c10d", "--rdzv-conf=store_type=file", f"--rdzv-endpoint={tmp_path / 'agents'}"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--max-restarts=1", *meeting]
    command = [*torchrun, str(UNDER_TORCHRUN), str(tmp_path / "rendezvous"), *jobs]
    portless = os.environ | {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    subprocess.run(command, env=portless, check=True, timeout=300)
    assert (tmp_path / "rendezvous-1.begun").exists()
    assert records(tmp_path) == records(calm)
    assert last_checkpoint(tmp_path) == last_checkpoint(calm)


MOVES = [
    [{"world": 1, "zero": 0}, {"world": 2, "zero": 1, "experts": 2}, {"world": 4, "zero": 2, "experts": 4}],
    [{"world": 4, "zero": 1, "experts": 2}, {"world": 2, "zero": 0, "experts": 1}, {"world": 1, "zero": 2}],
]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("moves", MOVES, ids=["more_workers", "fewer_workers"])
def test_a_run_moves_between_workers_without_leaving_its_curve(
    calm: Path, tmp_path: Path, moves: list[dict], dtype: str
) -> None:
    """Every four steps another world, split of experts and ZeRO stage: the curve of two workers within 2e-6 (float32)
    or 0.02 (bfloat16) nats, and the same steps of data."""
    for number, move in enumerate(moves, 1):
        world = move["world"]
        zero = 1 if dtype == "bfloat16" and move["zero"] == 0 else move["zero"]
        job = {**move, "zero": zero, "dtype": dtype, "steps": 4 * number}
        assert run_workers(tmp_path, world, job) == [0] * world
    result, expected = records(tmp_path), records(calm)
    assert [record["step"] for record in result] == list(range(1, STEPS + 1))
    bound = 2e-6 if dtype == "float32" else 0.02
    assert [record["loss"] for record in result] == pytest.approx([r["loss"] for r in expected], abs=bound, rel=0)
