"""Gradients in bfloat16 are added in float32, over passes and over workers, unless the recipe wants it otherwise."""

import json
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest

WORKER = Path(__file__).with_name("train_worker.py")
ARRANGEMENTS = [
    {"engine": engine, "zero": zero, "experts": experts, "optimizer": optimizer, "gradient_dtype": gradient_dtype}
    for engine, zero, experts, optimizer, gradient_dtype in (
        *product(("deepspeed",), (1, 2), (1, 2), ("adamw", "muon"), ("float32", "bfloat16")),
        *product(("flat",), (1, 2), (1, 2), ("muon",), ("float32", "bfloat16")),
    )
]
NUM_PASSES = 24


def errors(folder: Path, world: int, arrangements: list[dict]) -> list[list[dict[str, float]]]:
    """Of each arrangement and worker, by parameter."""
    jobs = []
    for number, arrangement in enumerate(arrangements):
        (folder / str(number)).mkdir()
        job = {"gradients": "known", "folder": str(folder / str(number)), "dtype": "bfloat16", "passes": NUM_PASSES}
        jobs.append(job | arrangement)
    (folder / "jobs.json").write_text(json.dumps(jobs), encoding="utf-8")
    command = [str(world), str(folder / "rendezvous"), str(folder / "jobs.json")]
    workers = [subprocess.Popen([sys.executable, str(WORKER), str(rank), *command]) for rank in range(world)]
    assert [each.wait(timeout=400) for each in workers] == [0] * world
    return [
        [json.loads((folder / f"{number}/{rank}.json").read_text("utf-8")) for rank in range(world)]
        for number in range(len(jobs))
    ]


def require_exact_in_float32(result: list[list[dict[str, float]]], arrangements: list[dict]) -> None:
    """And visibly worse in bfloat16, so that the option does something."""
    for arrangement, workers in zip(arrangements, result, strict=True):
        for each in workers:
            if arrangement["gradient_dtype"] == "float32":
                assert max(each.values()) < 1e-6, arrangement
            else:
                assert 1e-3 < max(each.values()) < 0.05, arrangement


def test_two_workers_add_up_in_float32(tmp_path: Path) -> None:
    require_exact_in_float32(errors(tmp_path, 2, ARRANGEMENTS), ARRANGEMENTS)


@pytest.mark.slow
@pytest.mark.parametrize("world", [1, 3, 4])
def test_any_number_of_workers_adds_up_in_float32(tmp_path: Path, world: int) -> None:
    """Three workers as well: bfloat16 cannot represent a share of a third."""
    arrangements = [each for each in ARRANGEMENTS if world % each["experts"] == 0]
    require_exact_in_float32(errors(tmp_path, world, arrangements), arrangements)
