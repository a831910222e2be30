"""All requests of a suite: the same bytes for any batch, any number of actors and after any kill; each asked once."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.context import StageContext
from infra.store.journal import Journal
from pipelines.evaluate.engine import answering
from pipelines.evaluate.engine.answering import Worker, answer, plan, units
from pipelines.evaluate.engine.execution import Execution
from pipelines.evaluate.engine.requests import Answer, Generation, LogLikelihood, Request, Text
from pipelines.models.loading import load_model
from pipelines.models.source import ModelSource
from tests.kit.servers.local_ray import local_ray

SHOTS = "Row 1: naïve café. SELECT x FROM t; " * 6
QUESTIONS: list[list[Request]] = [
    [
        LogLikelihood(f"{SHOTS if n % 2 else ''}Q{n}:", " yes"),
        Generation(f"{SHOTS[: 20 * n]}Say {n}", ("a",), 3 + n % 4, temperature=float(n % 3 == 2)),
        LogLikelihood(f"{SHOTS if n % 2 else ''}Q{n}:", " no, café"),
    ]
    for n in range(12)
]
QUESTIONS.append(QUESTIONS[3])


@pytest.fixture
def ask(our_model: ModelSource, tmp_path: Path) -> Callable[..., list[list[Answer]]]:
    def ask(name: str, questions: list[list[Request]] = QUESTIONS, parallel: bool = False, **options: Any) -> Any:
        context = StageContext("evaluate[1]", tmp_path, tmp_path, events.append, parallel)
        with Journal(tmp_path / f"{name}.jsonl") as journal:
            return answer(questions, our_model, journal, context, Execution(**options))

    events: list[dict[str, Any]] = []
    ask.events = events  # type: ignore[attr-defined]
    return ask


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Sizes of the batches that the model answered."""
    sizes: list[int] = []
    real = Worker.__call__

    def counted(self: Worker, batch: Any) -> Any:
        sizes.append(len(batch))
        return real(self, batch)

    monkeypatch.setattr(answering.Worker, "__call__", counted)
    yield sizes


def test_answers_are_the_same_for_every_size_of_batch(ask: Any, batches: list[int], tmp_path: Path) -> None:
    expected = ask("whole", tokens_per_batch=10**6)
    assert batches == [12, 12]
    for size in (1, 16, 64):
        assert ask(f"by {size}", tokens_per_batch=size) == expected
    remaining = [sorted(file.read_text().splitlines()) for file in tmp_path.glob("*.jsonl")]
    assert len({tuple(line for line in lines if not line.startswith('["seconds/')) for lines in remaining}) == 1
    assert [len(result) for result in expected] == [3] * 13
    assert all(isinstance(result[1], Text) for result in expected)
    assert expected[12] == expected[3]


@pytest.mark.parametrize("batched", [False, True])
def test_every_question_has_the_tokens_and_the_time_of_its_answers(
    our_model: ModelSource, tmp_path: Path, batched: bool
) -> None:
    seconds: dict[Request, float] = {}
    context = StageContext("evaluate[1]", tmp_path, tmp_path, lambda _: None)
    with Journal(tmp_path / "journal.jsonl") as journal:
        result = answer(QUESTIONS, our_model, journal, context, Execution(batched=batched), seconds)
    with Journal(tmp_path / "journal.jsonl") as journal:
        resumed: dict[Request, float] = {}
        answer(QUESTIONS, our_model, journal, context, Execution(batched=batched), resumed)
    assert seconds.keys() == {unit[0] for question in QUESTIONS for unit in units(question)}
    assert all(value > 0 for value in seconds.values()) and resumed == seconds
    for question, answers in zip(QUESTIONS, result, strict=True):
        for request, each in zip(question, answers, strict=True):
            longest = request.max_new_tokens if isinstance(request, Generation) else len(request.continuation)
            assert each.num_tokens is not None and 0 < each.num_tokens <= longest


def test_answers_do_not_depend_on_what_else_is_asked(ask: Any) -> None:
    expected = ask("all")
    assert ask("few", QUESTIONS[4:7]) == expected[4:7]
    assert ask("backwards", QUESTIONS[::-1]) == expected[::-1]


@pytest.mark.parametrize("finished", [0, 1, 5, 17])
def test_killed_run_goes_on_with_the_batch_it_was_in(
    ask: Any, batches: list[int], monkeypatch: pytest.MonkeyPatch, finished: int
) -> None:
    expected = ask("undisturbed", tokens_per_batch=16)
    num_batches = len(batches)
    batches.clear()
    counted = Worker.__call__

    def killed(self: Worker, batch: Any) -> Any:
        if len(batches) == finished:
            raise KeyboardInterrupt
        return counted(self, batch)

    monkeypatch.setattr(answering.Worker, "__call__", killed)
    with pytest.raises(KeyboardInterrupt):
        ask("killed", tokens_per_batch=16)
    monkeypatch.setattr(answering.Worker, "__call__", counted)
    assert ask("killed", tokens_per_batch=16) == expected
    assert len(batches) == num_batches
    batches.clear()
    assert ask("killed", tokens_per_batch=3) == expected
    assert not batches


def test_equal_questions_are_asked_once_and_progress_ends_at_all(ask: Any, batches: list[int]) -> None:
    ask("once", [QUESTIONS[0]] * 5 + [QUESTIONS[1][:1]])
    assert sum(batches) == 3
    assert [event["done"] for event in ask.events][-1] == ask.events[-1]["total"] == 3


def test_another_model_is_another_question(our_model: ModelSource) -> None:
    assert our_model.digest() == ModelSource(our_model.checkpoint, our_model.tokenizer).digest()
    assert our_model.digest() != ModelSource(our_model.checkpoint, our_model.tokenizer, dtype="bfloat16").digest()


def test_batched_answers_are_the_same_but_for_rounding(ask: Any) -> None:
    for exact, rounded in zip(ask("exact"), ask("rounded", batched=True), strict=True):
        assert exact[1] == rounded[1]
        for one, two in ((exact[0], rounded[0]), (exact[2], rounded[2])):
            assert one.log_probability == pytest.approx(two.log_probability, rel=1e-5)


def test_batches_hold_every_unit_once_and_stay_within_their_size() -> None:
    todo = [unit for question in QUESTIONS for unit in units(question)]
    for batched in (False, True):
        planned = list(plan(todo, 40, batched=batched))
        assert sorted(map(repr, todo)) == sorted(repr(unit) for batch in planned for unit in batch)
        assert planned == list(plan(todo[::-1], 40, batched=batched))
        for batch in planned:
            assert len({type(unit[0]) for unit in batch}) == 1
            assert len(batch) == 1 or sum(answering._tokens(unit) for unit in batch) <= 40


def test_folder_without_a_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no checkpoint. It holds neither checkpoint.json"):
        load_model(ModelSource(tmp_path))


def test_execution_without_actors_is_refused() -> None:
    with pytest.raises(ValueError, match="must be 1 or more"):
        Execution(num_actors=0)


@pytest.mark.parametrize("batched", [False, True])
def test_answers_are_the_same_for_any_number_of_threads(
    ask: Any, batched: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them begin together, and there is one model."""
    expected = ask("one", batched=batched, tokens_per_batch=16)
    together, workers, threads = threading.Barrier(4), set(), set()
    real = Worker.__call__

    def watched(self: Worker, batch: Any) -> Any:
        if threading.get_ident() not in threads:
            threads.add(threading.get_ident())
            together.wait(timeout=60)
        workers.add(self)
        return real(self, batch)

    monkeypatch.setattr(Worker, "__call__", watched)
    assert ask("four", batched=batched, tokens_per_batch=16, cpus_per_actor=4.0) == expected
    assert (len(workers), len(threads)) == (1, 4)


@pytest.mark.slow
def test_answers_are_the_same_for_any_number_of_actors(ask: Any) -> None:
    expected = ask("here")
    with local_ray(num_cpus=4):
        for count in (1, 2, 4):
            assert ask(f"{count} actors", parallel=True, num_actors=count, tokens_per_batch=16) == expected
        options = {"num_actors": 2, "cpus_per_actor": 2.0, "tokens_per_batch": 16}
        assert ask("2 actors with 2 threads", parallel=True, **options) == expected
