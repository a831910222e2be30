"""A model whose experts lie on several processes: the numbers of one process, a part of its memory, and no answer lost
when a process is killed."""

import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from arctic_model.model import ArcticModel
from arctic_model.moe.replicated_moe import share
from arctic_model.presets import preset
from arctic_model.sizing.evaluation import evaluation_memory
from infra.artifact import Artifact
from infra.context import StageContext
from infra.groups.group import Member
from infra.store.journal import Journal
from pipelines.artifacts.tokenization.tokenizer import TextTokenizer
from pipelines.artifacts.tokenization.tokens import TokenSequences
from pipelines.evaluate import bits_per_byte
from pipelines.evaluate.data.heldout import choose_pieces
from pipelines.evaluate.engine import answering
from pipelines.evaluate.engine.answering import Worker, answer
from pipelines.evaluate.engine.execution import Execution
from pipelines.evaluate.engine.requests import Answer, Generation, LogLikelihood, Request
from pipelines.evaluate.scorer import Scorer
from pipelines.models.sharing import expert_group
from pipelines.models.source import ModelSource
from tests.kit.servers.local_ray import local_ray

PAIR = Execution(expert_parallel_size=2, tokens_per_batch=64)
QUESTIONS: list[list[Request]] = [
    [
        LogLikelihood(f"Row {n}: naïve café. " * n, " yes"),
        Generation(f"Row {n}: SELECT x{n}", (";",), 6 + n, temperature=float(n % 2)),
        LogLikelihood(f"Row {n}: naïve café. " * n, " no, café"),
    ]
    for n in range(6)
]


def context(folder: Path, *, parallel: bool = False) -> StageContext:
    return StageContext("evaluate[1]", folder, folder / "state", [].append, parallel)


@pytest.fixture
def source(our_model: ModelSource, tmp_path: Path) -> ModelSource:
    return saved(tmp_path / "model", our_model)


def saved(folder: Path, like: ModelSource, **shape: Any) -> ModelSource:
    """A drawn model whose rows are whole 128 bytes: a product of so aligned rows rounds the same at any address."""
    config = preset("tiny", {"max_positions": 512, "init_std": 0.3, "expert_size": 32, **shape})
    ArcticModel(config, seed=0).save_pretrained(folder)
    return ModelSource(folder, like.tokenizer)


def answers(source: ModelSource, folder: Path, execution: Execution, *, parallel: bool = False) -> list[list[Answer]]:
    with Journal(folder / "items.jsonl") as journal:
        return answer(QUESTIONS, source, journal, context(folder, parallel=parallel), execution)


def test_answers_are_those_of_one_process_to_the_bit(source: ModelSource, tmp_path: Path) -> None:
    expected = answers(source, tmp_path / "one", Execution())
    assert answers(source, tmp_path / "two", PAIR) == expected
    files = [tmp_path / name / "items.jsonl" for name in ("one", "two")]
    # Seconds are those of each attempt.
    lines = [[line for line in file.read_text().splitlines() if "seconds/" not in line] for file in files]
    assert sorted(lines[0]) == sorted(lines[1])


class KilledOnce(Worker):
    """Its second member is killed in the second batch of the first attempt."""

    def __init__(self, folder: Path, source: ModelSource, batched: bool, member: Member) -> None:
        super().__init__(source, batched, member)
        self._folder, self._rank, self._num_calls = folder, member.rank, 0

    def __call__(self, batch: Any) -> Any:
        self._num_calls += 1
        if self._rank == 1 and self._num_calls == 2 and not (self._folder / "once").exists():
            (self._folder / "once").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(batch)


@pytest.mark.slow
def test_answers_are_the_same_after_a_kill(
    source: ModelSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = answers(source, tmp_path / "one", Execution())
    monkeypatch.setattr(answering, "Worker", partial(KilledOnce, tmp_path))
    assert answers(source, tmp_path / "killed", PAIR) == expected
    assert (tmp_path / "once").exists()
    keys = [line.split(",")[0] for line in (tmp_path / "killed" / "items.jsonl").read_text().splitlines()]
    assert len(keys) == len(set(keys))


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 4])
def test_bits_per_byte_are_those_of_one_process_to_the_bit(
    source: ModelSource, corpus: dict[str, Artifact], tmp_path: Path, size: int
) -> None:
    count_bytes = TextTokenizer(corpus["tokenizer"].path).num_predicted_bytes
    pieces = {"notes": choose_pieces(TokenSequences(corpus["tokens"].path, "heldout"), count_bytes, 10**6, 10**6)}

    def nats(execution: Execution, folder: Path) -> Any:
        with Journal(folder / "items.jsonl") as journal:
            make = partial(Scorer, source)
            return bits_per_byte.measure_nats("bits_per_byte", make, pieces, journal, context(folder), execution)

    expected = nats(Execution(), tmp_path / "one")
    assert nats(Execution(expert_parallel_size=size), tmp_path / "more") == expected


@pytest.mark.slow
@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize(
    "shape",
    [{"layer_shape": "shared"}, {"layer_shape": "moe", "router_bias": True}, {"moe_layer_frequency": 2}],
    ids=str,
)
def test_other_shapes_of_model_and_batches(
    our_model: ModelSource, tmp_path: Path, shape: dict[str, Any], batched: bool
) -> None:
    source = saved(tmp_path / "model", our_model, **shape)
    expected = answers(source, tmp_path / "one", Execution(batched=batched))
    assert answers(source, tmp_path / "two", Execution(expert_parallel_size=2, batched=batched)) == expected


@pytest.mark.slow
def test_rows_that_are_not_aligned_round_otherwise_at_most(our_model: ModelSource, tmp_path: Path) -> None:
    expected, result = answers(our_model, tmp_path / "one", Execution()), answers(our_model, tmp_path / "two", PAIR)
    for one, two in zip(expected, result, strict=True):
        assert one[1] == two[1]
        assert [two[n].log_probability for n in (0, 2)] == pytest.approx([one[n].log_probability for n in (0, 2)], 1e-5)


@pytest.mark.slow
def test_answers_on_ray(source: ModelSource, tmp_path: Path) -> None:
    expected = answers(source, tmp_path / "one", Execution())
    with local_ray(num_cpus=4):
        result = answers(source, tmp_path / "four", Execution(2, 1.0, expert_parallel_size=2), parallel=True)
        assert result == expected


def private_bytes() -> int:
    """Memory of this process that is not mapped from a file."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in status if line.startswith("RssAnon"))


class Measured:
    """Bytes of memory that the model adds."""

    def __init__(self, source: ModelSource, member: Member) -> None:
        # Torch loads parts of itself at the first collective and the first model without memory: they do not count.
        group = expert_group(member, "cpu")
        share(torch.ones(1, 1), group)
        with torch.device("meta"):
            ArcticModel(preset("tiny"))
        before = private_bytes()
        self._model = source.read_weights(group)
        self._added = private_bytes() - before

    def __call__(self, _: int) -> int:
        return self._added


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 2, 8])
def test_memory_of_a_process_is_the_dense_part_and_its_experts(tmp_path: Path, size: int) -> None:
    sizes = {"hidden_size": 256, "num_layers": 4, "num_experts": 32, "expert_size": 1024, "num_heads": 8}
    config = preset("tiny", sizes)
    ArcticModel(config, seed=0).save_pretrained(tmp_path / "model")
    execution = Execution(expert_parallel_size=size)
    ((_, added),) = execution.map(partial(Measured, ModelSource(tmp_path / "model")), [0], context(tmp_path))
    memory = evaluation_memory(config, size, num_sequences=0, dtype="float32")
    expected = memory.dense_weights + memory.expert_weights
    print(f"{size} processes: {added / 1e6:.0f} MB added to each, {expected / 1e6:.0f} MB by the sizes")
    assert expected * 0.98 < added < expected * 1.05 + 20e6


def test_sizes_that_cannot_work_are_refused(our_model: ModelSource, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expert_parallel_size = 3 does not divide num_experts = 4. Choose a divisor."):
        our_model.require_shareable(3)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(ValueError, match="shares the experts of Arctic models only"):
        ModelSource(tmp_path).require_shareable(2)
    with pytest.raises(ValueError, match="expert_parallel_size must be 1 or more"):
        Execution(expert_parallel_size=0)
