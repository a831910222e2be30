"""Every arrangement of workers writes the same files and reads them back, without a gather; and training need not wait
for them."""

import json
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
import torch

from arctic_model.checkpoint.model_folder import WEIGHTS_INDEX
from arctic_model.checkpoint.reading import Checkpoint, checkpoint_name
from arctic_model.checkpoint.tensors.names import ParameterSlice
from arctic_model.checkpoint.writing import layout, write_checkpoint
from arctic_model.model import ArcticModel
from arctic_model.training.optimization.settings import Optimization

WORKER = Path(__file__).with_name("saving_worker.py")


def load_worker() -> Any:
    spec = spec_from_file_location("saving_worker", WORKER)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


worker = load_worker()
AS_ONE = [
    {"zero": 0, "experts": 1},
    {"zero": 0, "experts": 2},
    {"zero": 1, "experts": 2},
    {"zero": 2, "experts": 1},
    {"zero": 2, "experts": 2, "dtype": "bfloat16"},
    {"zero": 1, "experts": 2, "optimizer": "muon"},
    {"engine": "flat", "zero": 2, "experts": 2, "dtype": "bfloat16"},
    {"engine": "flat", "zero": 3, "experts": 1, "optimizer": "muon"},
]
AS_ONE_OF_FOUR = [
    {"engine": engine, "zero": zero, "shards": shards, "experts": experts, "dtype": dtype, "optimizer": optimizer}
    for engine, zero, shards in (
        *(("deepspeed", zero, 0) for zero in (0, 1, 2)),
        *(("flat", zero, shards) for zero in (0, 1, 3) for shards in ((0, 2) if zero else (0,))),
    )
    for experts in (1, 2, 4)
    for dtype in ("float32", "bfloat16")
    for optimizer in ("adamw", "muon")
    if zero or dtype == "float32"
]


def run_workers(home: Path, world: int, jobs: list[dict]) -> list[list[Any]]:
    """Each job's answers, one a worker."""
    home.mkdir(parents=True, exist_ok=True)
    (home / "jobs.json").write_text(json.dumps(jobs), encoding="utf-8")
    (home / "rendezvous").unlink(missing_ok=True)
    command = [str(world), str(home / "rendezvous"), str(home), str(home / "jobs.json")]
    workers = [subprocess.Popen([sys.executable, str(WORKER), str(rank), *command]) for rank in range(world)]
    assert [each.wait(timeout=500) for each in workers] == [0] * world
    return [
        [json.loads((home / f"{number}-of-{rank}.json").read_text(encoding="utf-8")) for rank in range(world)]
        for number in range(len(jobs))
    ]


def write_alone(folder: Path, optimizer: str) -> None:
    """The oracle: one process that holds everything, without DeepSpeed."""
    model = ArcticModel(worker.CONFIG)
    names = Optimization(optimizer=optimizer).state_names
    tensors = [(name, kind, p) for name, p in model.named_parameters() for kind in ("weight", *names(name))]
    tensors += [(name, "weight", bias) for name, bias in model.named_buffers()]
    parts = [
        ParameterSlice(name, kind, 0, worker.values(name, kind, torch.arange(tensor.numel())))
        for name, kind, tensor in tensors
    ]
    locations = layout(model, names)
    write_checkpoint(folder / "checkpoints" / checkpoint_name(3), worker.CONFIG, worker.state(3), locations, parts)


def digests(folder: Path) -> dict[str, str]:
    checkpoint = Checkpoint(folder / "checkpoints" / checkpoint_name(3)).verify()
    return json.loads((checkpoint.folder / "checkpoint.json").read_text(encoding="utf-8"))


def saves_and_loads(home: Path, arrangements: list[dict]) -> list[dict]:
    """Jobs that save each arrangement's own checkpoint, and load the one that was written alone."""
    for optimizer in ("adamw", "muon"):
        write_alone(home / optimizer, optimizer)
    jobs = []
    for number, arrangement in enumerate(arrangements):
        jobs.append({"do": "save", "folder": f"{number}", **arrangement})
        jobs.append({"do": "load", "folder": arrangement.get("optimizer", "adamw"), **arrangement})
    return jobs


def require_as_alone(home: Path, world: int, arrangements: list[dict], answers: list[list[Any]]) -> None:
    for number, arrangement in enumerate(arrangements):
        assert digests(home / f"{number}") == digests(home / arrangement.get("optimizer", "adamw")), arrangement
    assert answers == [[None] * world, [[]] * world] * len(arrangements)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[list[Any]]]:
    """Two workers whose results the tests below examine."""
    home = tmp_path_factory.mktemp("pair")
    jobs = [
        {"do": "change_meanwhile", "folder": "changed", "zero": 1, "experts": 2},
        {"do": "fail", "folder": "failed", "zero": 1, "experts": 2},
        *saves_and_loads(home, AS_ONE),
    ]
    return home, run_workers(home, 2, jobs)


@pytest.fixture(scope="module")
def disks(tmp_path_factory: pytest.TempPathFactory) -> list[list[Any]]:
    """Two workers with disks that are slow, block, and corrupt data."""
    arrangement = {"zero": 1, "experts": 2}
    jobs = [{"do": name, "folder": name, **arrangement} for name in ("slow_disk", "hung_disk", "damaged")]
    return run_workers(tmp_path_factory.mktemp("disks"), 2, jobs)


def test_two_workers_write_and_read_what_one_does(pair: tuple[Path, list[list[Any]]]) -> None:
    home, answers = pair
    require_as_alone(home, 2, AS_ONE, answers[2:])


@pytest.mark.slow
@pytest.mark.parametrize("world", [1, 4])
def test_any_number_of_workers_writes_and_reads_what_one_does(tmp_path: Path, world: int) -> None:
    arrangements = [each for each in AS_ONE_OF_FOUR if world % each["experts"] == world % (each["shards"] or 1) == 0]
    answers = run_workers(tmp_path, world, saves_and_loads(tmp_path, arrangements))
    require_as_alone(tmp_path, world, arrangements, answers)


def test_a_checkpoint_is_of_its_step_though_training_goes_on(pair: tuple[Path, list[list[Any]]]) -> None:
    home, (answers, *_) = pair
    assert digests(home / "changed") == digests(home / "adamw")
    folder = str(home / "changed" / "checkpoints" / checkpoint_name(3))
    assert answers == [[0, folder]] * 2


def test_a_disk_may_take_longer_than_a_collective_to_write_and_to_verify(
    disks: list[list[Any]],
) -> None:
    """And each file is hashed by one worker, all files by different workers."""
    (wrong, first), (also_wrong, last) = disks[0]
    assert wrong == also_wrong == []
    assert len(first) + len(last) == worker.NUM_FILES == len({*first, *last})
    assert abs(len(first) - len(last)) <= 1


def test_a_disk_that_stands_still_ends_the_work_of_all(disks: list[list[Any]]) -> None:
    first, last = disks[1]
    assert first == "PeerError: A checkpoint failed on workers [1], whose own errors have the reason."
    assert last.startswith("StalledError: worker 1: nothing was read or written for train.collective_timeout_s = 1.5.")


def test_every_worker_takes_the_same_checkpoint_whichever_file_is_damaged(disks: list[list[Any]]) -> None:
    first, last = disks[2]
    assert first == last
    assert len(first) == 2 * worker.NUM_FILES
    for number, (fallen_back, refused) in enumerate(zip(first[::2], first[1::2], strict=True)):
        assert fallen_back == 3
        assert f"damaged/{number}/checkpoints/{checkpoint_name(3)}/" in refused
        assert f"Delete {refused.split(': ')[0].rpartition('/')[0]} to use the one before." in refused


def test_an_error_of_the_writing_is_raised_on_every_worker(pair: tuple[Path, list[list[Any]]]) -> None:
    home, (_, answers, *_) = pair
    first, last = answers
    assert "No space left on device" in last[0]
    assert "model-00001-of-00004.safetensors" in last[0]
    assert first[0] == "A checkpoint failed on workers [1], whose own errors have the reason."
    assert first[1:] == last[1:] == [checkpoint_name(3)]
    written = (home / "failed" / "history.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["step"] for line in written] == [3]
    index = Checkpoint(home / "failed" / "checkpoints" / checkpoint_name(3)).verify().folder / WEIGHTS_INDEX
    assert index.is_file()
