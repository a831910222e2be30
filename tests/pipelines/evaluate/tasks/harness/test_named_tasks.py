"""Any task of the harness by name: asked and judged as by the harness' own evaluator, on local files."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from data_recipes.section import RecipeError
from data_recipes.sections.evaluation import TaskSection
from pipelines.evaluate.data.files import missing
from pipelines.evaluate.engine.requests import Generation, LogLikelihood
from pipelines.evaluate.from_recipe import named_suite
from pipelines.evaluate.suites import Suite
from pipelines.evaluate.task import DataError
from pipelines.evaluate.tasks.harness.named import HarnessOptions, NamedHarnessTask
from tests.kit.harness_reference import evaluated
from tests.kit.optional import needs
from tests.pipelines.evaluate.tasks.harness.rivers import likelihood, respond, write_pages, written

pytestmark = needs("lm_eval")


@pytest.fixture(scope="module")
def include(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("include")
    write_pages(folder)
    return folder


def samples_of(include: Path, name: str, num_fewshot: int) -> list[dict[str, Any]]:
    """Samples of the harness' own evaluator."""
    samples = evaluated(include, [name], likelihood, written, num_fewshot)[name]
    return sorted(samples, key=lambda sample: sample["doc_id"])


def ours(include: Path, name: str, num_fewshot: int | None, limit: int | None = None) -> NamedHarnessTask:
    return HarnessOptions.named(f"lm_eval:{name}", include, num_fewshot).task(include, limit, chat=False)


def bits_of_right(sample: dict[str, Any]) -> dict[str, tuple[float, float]]:
    """Of the continuation that the harness' sample names as its target."""
    context, continuation = sample["arguments"][int(sample["target"])]
    bits = -likelihood(context, continuation)[0] / math.log(2)
    return {"gold_bits_per_byte": (pytest.approx(bits), float(len(continuation.encode())))}


@pytest.mark.parametrize("num_fewshot", [0, 2])
@pytest.mark.parametrize(
    ("name", "metrics"),
    [("own_rivers", {"acc", "acc_norm"}), ("own_names", {"exact_match"}), ("own_begun", {"exact_match"})],
)
def test_prompts_and_scores_are_those_of_the_harness_own_evaluator(
    include: Path, name: str, metrics: set[str], num_fewshot: int
) -> None:
    task = ours(include, name, num_fewshot)
    items = task.items()
    verdicts = task.score(items, [list(map(respond, item.requests)) for item in items])
    suffix = "" if name == "own_rivers" else "/first"
    samples = samples_of(include, name, num_fewshot)
    assert len(items) == len(samples) == 12
    for item, verdict, sample in zip(items, verdicts, samples, strict=True):
        asked = [
            (one.context, one.continuation) if isinstance(one, LogLikelihood) else one.prompt for one in item.requests
        ]
        provided = [
            tuple(each) if isinstance(item.requests[0], LogLikelihood) else each[0] for each in sample["arguments"]
        ]
        assert asked == provided
        gold = bits_of_right(sample) if name == "own_rivers" else {}
        assert verdict.shares == {f"{metric}{suffix}": (float(sample[metric]), 1.0) for metric in metrics} | gold
    assert task.headline in verdicts[0].shares
    assert len({verdict.reason for verdict in verdicts}) == 2, "a test that tells nothing"
    if num_fewshot:
        assert items[0].prompt.count("Q:") == 3


@pytest.mark.parametrize("num_fewshot", [0, 2])
@pytest.mark.parametrize("kind", ["Choices", "Mixed"])
def test_likelihoods_beside_a_conversation_are_of_the_harness_own_texts(
    include: Path, kind: str, num_fewshot: int
) -> None:
    items = HarnessOptions.named(f"lm_eval:own_{kind}", include, num_fewshot).task(include, None, chat=True).items()
    plain = ours(include, f"own_{kind}", num_fewshot).items()
    texts = [sample["arguments"][0][0] for sample in samples_of(include, "own_names", num_fewshot)]
    for item, alone, text in zip(items, plain, texts, strict=True):
        assert item.requests[-1] == alone.requests[-1] == LogLikelihood(text, " unanswerable")
        asked = [request.shown for request in item.requests if isinstance(request, Generation)]
        assert all(shown.count("Which river is") == num_fewshot + 1 for shown in asked)
        assert len(asked) == (kind == "Mixed")


def test_a_text_is_asked_for_with_the_stops_of_the_page_and_in_the_chat_if_told_so(include: Path) -> None:
    options = HarnessOptions.named("lm_eval:own_names", include)
    for chat, form in ((False, "plain"), (True, "message")):
        task = options.task(include, 2, chat)
        (request,) = task.items()[0].requests
        assert isinstance(request, Generation)
        assert (request.stops, request.max_new_tokens, request.form) == (("\n", "Q:"), 7, form)
    assert "in the chat template" in options.task(include, None, chat=True).protocol
    assert (
        "without a chat template"
        in HarnessOptions.named("lm_eval:own_rivers", include).task(include, None, True).protocol
    )


def test_a_limit_leaves_every_question_as_it_is(include: Path) -> None:
    whole = {item.item_id: item for item in ours(include, "own_rivers", 2).items()}
    few = ours(include, "own_rivers", 2, limit=3).items()
    assert len(few) == 3
    assert all(whole[item.item_id] == item for item in few)


def test_a_task_that_is_read_twice_has_the_same_examples(include: Path) -> None:
    task = ours(include, "own_rivers", 2)
    assert task.items() == task.items()


def test_a_dataset_of_the_hub_is_read_from_the_data_root(tmp_path: Path) -> None:
    folder = tmp_path / "lm_eval" / "allenai" / "ai2_arc" / "ARC-Easy"
    folder.mkdir(parents=True)
    options = HarnessOptions.named("lm_eval:arc_easy")
    with pytest.raises(DataError, match=r"lm_eval:arc_easy: its dataset is not at hand .*ARC-Easy/<split>\.jsonl"):
        options.task(tmp_path, None, False).items()
    rows = [
        {
            "id": str(n),
            "question": f"Q{n}?",
            "choices": {"text": ["a", "b"], "label": ["A", "B"]},
            "answerKey": "AB"[n % 2],
        }
        for n in range(4)
    ]
    (folder / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = options.task(tmp_path, None, False)
    items = task.items()
    assert [item.prompt for item in items] == [f"Question: Q{n}?\nAnswer:" for n in range(4)]
    assert task.files == ("lm_eval/allenai/ai2_arc/ARC-Easy/test.jsonl",)
    assert missing(tmp_path, task.files) == []


def test_a_suite_takes_such_tasks_with_their_options_and_its_key_follows_from_them(
    include: Path, tmp_path: Path
) -> None:
    def suite(**fields: Any) -> Suite:
        section = {"kind": "lm_eval:own_rivers", "include": str(include), **fields}
        return named_suite([TaskSection.model_validate(section)], tmp_path, None)

    plain, shots, seed = suite(), suite(num_fewshot=2), suite(num_fewshot=2, seed=7)
    assert not plain.is_empty
    assert [task.name for task in plain.build(chat=False)] == ["lm_eval:own_rivers"]
    assert len({json.dumps(each.params(), sort_keys=True) for each in (plain, shots, seed)}) == 3
    page = include / "own_rivers.yaml"
    before = plain.params()
    text = page.read_text()
    page.write_text(text.replace("A:", "Answer:"))
    assert suite().params() != before
    page.write_text(text)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "lm_eval:no_such_task_at_all"}, r"lm_eval:no_such_task_at_all: neither among the harness' tasks"),
        ({"kind": "lm_eval:arc_easy", "num_fewshot": -1}, r"num_fewshot = -1: not a whole number from 0\. Change it"),
        ({"kind": "lm_eval:arc_easy", "shots": 3}, r"shots: no such field of lm_eval:arc_easy\. The fields are"),
    ],
)
def test_mistakes_are_told_when_the_graph_is_built(fields: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=message):
        named_suite([TaskSection.model_validate(fields)], tmp_path, None)
