"""Damage to the inputs of a phase: the error names the file and the result to delete, for one worker or several."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arctic_model.checkpoint.errors import CheckpointError
from arctic_model.training.loop import TrainingError
from infra.artifact import Artifact
from infra.runner import build
from infra.store import Store
from infra.store.integrity import DamageError
from pipelines.artifacts.checkpoint import checkpoint_folder
from pipelines.train.workers.failure import raise_failure, write_failure
from tests.kit.files import flip

BITS_PER_FILE = 3


class Chain:
    """Two phases of two steps in a store, the first of them committed."""

    def __init__(self, workshop: Any, store: Store) -> None:
        self.workshop, self.store = workshop, store
        self.first = self._build(1, None)
        self.checkpoint = checkpoint_folder(self.first.path)

    def second(self, **section: Any) -> Artifact:
        """The second phase, from its start, without an earlier attempt."""
        for folder in self.first.path.parent.glob("*2-*"):
            shutil.rmtree(folder)
        return self._build(2, self.first.path, **section)

    def _build(self, number: int, previous: Path | None, **section: Any) -> Artifact:
        inputs = self.workshop.inputs(number, steps=2, previous=previous)
        stage = self.workshop.stage(number, **section)
        return build(stage, self.store, [].append, None, *(inputs[name] for name in stage.inputs))


@pytest.fixture
def chain(workshop, tmp_path: Path) -> Chain:
    return Chain(workshop, Store(tmp_path / "store").open())


def mend_of(chain: Chain) -> str:
    return f"Delete {chain.first.path} and run the same command again"


def test_a_flipped_bit_in_any_file_of_the_checkpoint_before_is_damage(chain: Chain) -> None:
    expected = chain.second().manifest.digests()
    files = sorted(chain.checkpoint.iterdir())
    kinds = {file.name.partition("-")[0] for file in files}
    assert {"model", "optimizer", "config.json", "checkpoint.json", "training_state.json"} <= kinds
    generator = np.random.default_rng(5)
    for file in files:
        whole = file.read_bytes()
        for bit in generator.integers(0, 8 * len(whole), BITS_PER_FILE).tolist():
            flip(file, bit)
            with pytest.raises(DamageError) as raised:
                chain.second()
            assert str(raised.value).startswith(f"{file}: damaged"), f"bit {bit}"
            assert mend_of(chain) in str(raised.value)
            file.write_bytes(whole)
    assert chain.second().manifest.digests() == expected


@pytest.mark.parametrize("name", ["checkpoint.json", "training_state.json", "config.json", "model-00001-of-00004"])
def test_a_missing_file_of_the_checkpoint_before_is_damage(chain: Chain, name: str) -> None:
    (file,) = chain.checkpoint.glob(f"{name}*")
    file.unlink()
    with pytest.raises(DamageError, match=f"^{file}: damaged"):
        chain.second()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["model-00002-of-00004.safetensors", "optimizer-00001-of-00004.safetensors"])
def test_several_workers_raise_the_same_error(chain: Chain, name: str) -> None:
    flip(chain.checkpoint / name, 9001)
    with pytest.raises(DamageError, match=f"{name}: damaged") as raised:
        chain.second(num_workers=2, cpus_per_worker=0.5)
    assert mend_of(chain) in str(raised.value)


@pytest.mark.parametrize("kind", [DamageError, TrainingError, CheckpointError, ValueError, MemoryError])
def test_an_error_of_a_worker_keeps_its_class_and_message(tmp_path: Path, kind: type[Exception]) -> None:
    write_failure(tmp_path / "failure.json", kind("step 3: no ünits"))
    with pytest.raises(kind, match="^step 3: no ünits$") as raised:
        raise_failure(tmp_path / "failure.json")
    assert type(raised.value) is kind


def test_an_error_that_takes_more_than_a_message_keeps_its_name_and_message(tmp_path: Path) -> None:
    class LocalError(Exception):
        pass

    for error in (UnicodeDecodeError("utf-8", b"x", 0, 1, "odd"), LocalError("odd")):
        write_failure(tmp_path / "failure.json", error)
        with pytest.raises(RuntimeError, match=rf"{type(error).__name__}: .*odd"):
            raise_failure(tmp_path / "failure.json")


def test_a_phase_without_a_failed_worker_raises_nothing(tmp_path: Path) -> None:
    raise_failure(tmp_path / "failure.json")
