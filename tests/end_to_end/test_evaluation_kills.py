"""Kill an evaluation at any point: finished answers stay, and the scores are the same to the byte."""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from arctic_model.checkpoint.reading import TrainingState
from arctic_model.checkpoint.tensors.names import ParameterSlice
from arctic_model.checkpoint.writing import layout, write_checkpoint
from arctic_model.model import ArcticModel
from arctic_model.presets import preset
from infra.store import Store
from pipelines.artifacts.evaluation import DIFFERENCES, SAMPLES_FILE, SCORES
from pipelines.artifacts.tokenization.tokenizer import TOKENIZER_FILE, write_config
from pipelines.tokenize.vocabulary import END, train_tokenizer
from tests.kit.optional import needs
from tests.kit.real_data import REAL_DATA

pytestmark = [
    pytest.mark.slow,
    needs("lm_eval", reason="lm-evaluation-harness asks the questions of this test: pip install lm_eval"),
]

REAL = REAL_DATA / "eval"
NUM_ITEMS = 40
"""Of each task; of articles so long that they make several batches."""
ARTICLE = "The {n}th pupil of the school by the sea took the early train to town, as on every other day of term. "
FROM_REAL_DATA = ("humanevalplus", "ifeval", "spider")
"""Folders of tasks that write answers, and run or judge them: if the data is there, they are asked as well."""
WAIT_S = 300


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root: RACE with questions of our own, and the available data of the others."""
    folder = tmp_path_factory.mktemp("root")
    (folder / "race").mkdir()
    lines = []
    for n in range(NUM_ITEMS):
        problem = {"question": f"What did pupil {n} take?", "answer": "ABCD"[n % 4], "options": ["A bus", "A train"]}
        problem["options"] += [f"Bicycle {n}", "Nothing"]
        lines.append(json.dumps({"article": ARTICLE.format(n=n) * 30, "problems": repr([problem])}))
    (folder / "race" / "test.jsonl").write_text("\n".join(lines))
    for name in FROM_REAL_DATA:
        if (REAL / name).is_dir():
            (folder / name).symlink_to((REAL / name).resolve())
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights, large enough that they prefer some ids, with their tokenizer in the same folder."""
    folder = tmp_path_factory.mktemp("checkpoint") / "toy"
    model = ArcticModel(preset("tiny", {"max_positions": 512}))
    generator = torch.Generator().manual_seed(0)
    parts = [
        ParameterSlice(name, "weight", 0, 0.3 * torch.randn(parameter.numel(), generator=generator))
        for name, parameter in model.named_parameters()
    ]
    layers, experts = model.config.num_layers, model.config.num_experts
    state = TrainingState(7, 7168, [[0.0] * experts] * layers, [[0.0] * experts] * layers, 7, [], [], [])
    write_checkpoint(folder, model.config, state, layout(model, lambda name: ()), parts)
    tokenizer = train_tokenizer([ARTICLE.format(n=n) for n in range(50)], 300)
    tokenizer.save(str(folder / TOKENIZER_FILE))
    write_config(tokenizer, END, folder)
    return folder


class Evaluation:
    """`arctic evaluate` of the same checkpoint and questions into one store, started as often as one likes."""

    def __init__(self, start: Callable[..., subprocess.Popen], checkpoint: Path, root: Path, store: Path) -> None:
        self._start, self._store = start, store
        self._arguments = ("evaluate", checkpoint, "--suite", "smoke", "--limit", NUM_ITEMS, "--root", root)
        self._linked = store.with_suffix(".jsonl")

    def start(self, num_actors: int) -> subprocess.Popen:
        return self._start(*self._arguments, "--store", self._store, "--actors", num_actors)

    def finish(self, process: subprocess.Popen) -> str:
        """Its output, when it has come to its end."""
        process.wait()
        output = process.output.read_text()
        assert process.returncode == 0, output
        return output

    def wait_for(self, process: subprocess.Popen, share: float, total: int) -> None:
        """Until the journal has `share` of `total` lines, or more."""
        deadline = time.monotonic() + WAIT_S
        while len(self.journal()) < share * total:
            assert process.poll() is None, process.output.read_text()
            assert time.monotonic() < deadline, process.output.read_text()
            time.sleep(0.01)

    def journal(self) -> list[tuple[str, Any]]:
        """Whole lines of the journal. It is read by a separate name, which outlives the state of a finished stage."""
        if not self._linked.exists():
            for path in self._store.glob("stages/evaluate/*.state/items.jsonl"):
                os.link(path, self._linked)
        text = self._linked.read_text() if self._linked.exists() else ""
        return [json.loads(line) for line in text.split("\n")[:-1]]

    def results(self) -> dict[str, bytes]:
        (artifact,) = (each for each in Store(self._store).artifacts() if each.manifest.name == "evaluate")
        return {name: (artifact.path / name).read_bytes() for name in (SCORES, DIFFERENCES, SAMPLES_FILE)}


@pytest.fixture
def evaluation(start, checkpoint: Path, root: Path, tmp_path: Path) -> Callable[[str], Evaluation]:
    return lambda name: Evaluation(start, checkpoint, root, tmp_path / name)


def answers(journal: Sequence[tuple[str, Any]]) -> list[str]:
    """Keys of the model's answers; the others are verdicts, and the seconds of each answer."""
    return [key for key, _ in journal if "/" not in key]


def progress(output: str) -> list[int]:
    """Numbers of answers in its progress events; none if all are there from the start."""
    return [int(count) for count in re.findall(r" (\d+)/\d+ answers", output)]


def kill_and_wait(process: psutil.Process | subprocess.Popen) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.timeout(1500)
def test_killed_at_any_point_it_goes_on_with_what_is_missing_and_ends_in_the_same_bytes(evaluation) -> None:
    calm = evaluation("calm")
    process = calm.start(1)
    calm.wait_for(process, 1, 1)
    calm.finish(process)
    whole, expected = calm.journal(), calm.results()
    assert len(answers(whole)) > len(whole) / 3
    assert len({*dict(whole)}) == len(whole)

    storm = evaluation("storm")
    for num_actors, share in ((1, 0.01), (2, 0.3), (1, 0.6), (2, 0.97)):
        before = storm.journal()
        process = storm.start(num_actors)
        storm.wait_for(process, max(share, (len(before) + 1) / len(whole)), len(whole))
        kill_and_wait(process)
        # Nothing that was stored before is gone, and nothing is reported as done that is not stored.
        assert storm.journal()[: len(before)] == before
        reported = progress(process.output.read_text())
        assert reported[:1] in ([], [len(answers(before))])
        assert all(count <= len(answers(storm.journal())) for count in reported)

    remaining = storm.journal()
    output = storm.finish(storm.start(2))
    assert progress(output)[:1] in ([], [len(answers(remaining))])
    assert storm.journal()[: len(remaining)] == remaining
    assert sorted(dict(storm.journal())) == sorted(dict(whole))
    # No answer and no verdict was made twice.
    assert len(storm.journal()) == len(whole)
    assert storm.results() == expected

    # An actor, and then the worker of the stage itself: Ray replaces both, and the same command goes on.
    gust = evaluation("gust")
    process = gust.start(2)
    for title, share in (("ray::_Actor", 0.05), ("ray::evaluate", 0.5)):
        gust.wait_for(process, share, len(whole))
        workers = psutil.Process(process.pid).children(recursive=True)
        kill_and_wait(next(worker for worker in workers if worker.name().startswith(title[:15])))
    assert "started (attempt 2)" in gust.finish(process)
    assert gust.results() == expected
    assert len(gust.journal()) == len(dict(gust.journal())) == len(whole)
