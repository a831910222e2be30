"""A fine-tune is asked IFEval, GSM8K and SQL questions in the chat, its start in its own form, and both are compared
item by item."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import pytest

from infra.events import EventLog
from infra.plan import plan
from infra.runner import run_inline
from infra.store import Store
from pipelines import Recipe
from pipelines.artifacts.evaluation import SAMPLES_FILE, Difference, Scores, read_differences
from pipelines.evaluate import suites
from pipelines.evaluate.data import files as data
from pipelines.evaluate.data.files import DataFile, content_digest
from pipelines.evaluate.tasks.ifeval.task import PROMPTS
from tests.kit.optional import needs

pytestmark = [pytest.mark.slow, needs("langdetect"), needs("lm_eval")]

SQL = {"kind": "text_to_sql", "num_schemas": 40, "num_heldout_schemas": 10, "pairs_per_schema": 4, "seed": 1}
CHAT = {"kind": "text_to_sql_chat", "num_schemas": 40, "pairs_per_schema": 4, "seed": 1}
LIMITS = ["top_2gram", "top_3gram", "top_4gram", *(f"duplicate_{n}gram" for n in range(5, 11))]
LENIENT = {f"max_{name}_fraction": 0.9 for name in LIMITS} | {"min_words": 5, "min_stop_words": 0}
RUN: Mapping[str, Any] = {
    "name": "tiny",
    "description": "",
    "tokenizer": {"vocab_size": 512, "sample_bytes_per_corpus": 50_000},
    "tokenize": {"sequence_length": 512},
    "phases": [{"name": "sql", "tokens": 40_960, "weights": {"sql": 1.0}}],
    "mix": {"max_epochs": 8.0},
    "model": {"preset": "tiny", "overrides": {"max_positions": 1024}},
    "train": {"global_batch_sequences": 4, "micro_batch_sequences": 4, "peak_lr": 0.02},
    "finetune": [{"name": "instruct", "from": "sql", "tokens": 40_960, "weights": {"chat": 1.0}, "peak_lr": 0.02}],
}
INSTRUCTIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("punctuation:no_comma", {}),
    ("change_case:english_lowercase", {}),
    ("length_constraints:number_words", {"relation": "less than", "num_words": 12}),
    ("keywords:forbidden_words", {"forbidden_words": ["zebra"]}),
)
NUM_PROMPTS, NUM_SUMS, NUM_QUESTIONS = 24, 8, 12
ASKED = {"ifeval": NUM_PROMPTS, "lm_eval:gsm8k": NUM_SUMS, "text_to_sql": NUM_QUESTIONS}
"""Items by task."""
HEADLINES = {
    "ifeval": "prompt_strict",
    "lm_eval:gsm8k": "exact_match/strict-match",
    "text_to_sql": "execution_accuracy",
}


class Side(NamedTuple):
    """The evaluation of one checkpoint."""

    scores: Scores
    rows: list[dict[str, Any]]
    differences: dict[str, Difference]

    def is_right(self, task: str) -> dict[str, bool]:
        return {row["item_id"]: row["correct"] for row in self.rows if row["task"] == task}


class Judged(NamedTuple):
    """The base, the fine-tune, and the page about both."""

    base: Side
    tuned: Side
    page: str


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prompts of IFEval and sums of GSM8K in a data root."""
    folder = tmp_path_factory.mktemp("root")
    prompts = [
        {"key": key, "prompt": f"Describe table {key}.", "instruction_id_list": [name], "kwargs": [arguments]}
        for key in range(NUM_PROMPTS)
        for name, arguments in [INSTRUCTIONS[key % len(INSTRUCTIONS)]]
    ]
    sums = [{"question": f"What is {n} plus 2?", "answer": f"{n} + 2 is {n + 2}.\n#### {n + 2}"} for n in range(20)]
    for file, rows in (
        (PROMPTS, prompts),
        ("lm_eval/openai/gsm8k/main/test.jsonl", sums[:NUM_SUMS]),
        ("lm_eval/openai/gsm8k/main/train.jsonl", sums[NUM_SUMS:]),
    ):
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def judged(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Judged:
    pages = [
        {"name": name, "description": "", "source": {"inputs": [made]}, "filter": LENIENT}
        for name, made in (("sql", SQL), ("chat", CHAT))
    ]
    section = {
        "heldout_bytes_per_corpus": 4000,
        "text_to_sql_questions": NUM_QUESTIONS,
        "max_new_tokens": 24,
        "tasks": ["ifeval", {"kind": "lm_eval:gsm8k"}],
        "data_root": str(root),
    }
    store = Store(tmp_path_factory.mktemp("judged") / "store").open()
    pinned = DataFile(PROMPTS, content_digest(root / PROMPTS), NUM_PROMPTS, "bytes", "", "")
    fingerprints = {**data.data_files(), PROMPTS: pinned}
    with pytest.MonkeyPatch.context() as patched:
        for module in (data, suites):
            patched.setattr(module, "data_files", lambda: fingerprints)
        graph = Recipe.of({**RUN, "evaluate": section}, *pages).graph()
        events = EventLog(store.root / "runs" / "run")
        outcome = run_inline(plan(store, list(graph.stages.values())), store, events, [].append)
    assert outcome.ok, outcome.failed
    base, tuned = (outcome.artifacts[f"evaluate[{name}]"].path for name in ("1", "instruct"))
    page = (outcome.artifacts["report"].path / "report.html").read_text(encoding="utf-8")
    return Judged(side(base), side(tuned), page)


def side(folder: Path) -> Side:
    return Side(Scores.read(folder), pq.read_table(folder / SAMPLES_FILE).to_pylist(), read_differences(folder))


@pytest.mark.parametrize("task", ASKED)
def test_the_fine_tune_is_asked_in_the_chat_and_its_start_is_not(judged: Judged, task: str) -> None:
    assert "in the chat" in judged.tuned.scores.protocols[task].split("without")[0]
    assert "without a chat template" in judged.base.scores.protocols[task]
    assert judged.tuned.scores.asked_before[task] == judged.base.scores.protocols[task]


@pytest.mark.parametrize("task", ASKED)
def test_both_are_compared_on_the_same_items_by_paired_tests(judged: Judged, task: str) -> None:
    from scipy.stats import binomtest, ttest_rel

    before, after = judged.base.is_right(task), judged.tuned.is_right(task)
    assert before.keys() == after.keys()
    assert len(before) == ASKED[task]

    result = judged.tuned.differences[f"{task}/{HEADLINES[task]}"]

    pairs = [(int(before[item]), int(after[item])) for item in before]
    better, worse = pairs.count((0, 1)), pairs.count((1, 0))
    assert result.n == len(pairs)
    assert result.value == pytest.approx((better - worse) / len(pairs))
    expected = binomtest(better, better + worse).pvalue if better + worse else 1.0
    assert result.mcnemar == pytest.approx(expected)
    if better + worse and task != "text_to_sql":
        assert result.p_value == pytest.approx(ttest_rel(*zip(*pairs, strict=True)).pvalue, rel=1e-6)


def test_what_is_compared_differs(judged: Judged) -> None:
    """Otherwise the tests above would prove nothing."""
    before, after = judged.base.is_right("ifeval"), judged.tuned.is_right("ifeval")
    assert set(before.values()) == {True, False}
    assert before != after


def test_forgetting_and_every_task_are_on_the_page(judged: Judged) -> None:
    assert judged.tuned.differences["bits_per_byte/sql"].n > 1
    section = judged.page.split("Base against instruct")[-1]
    assert all(measure in section for measure in HEADLINES.values())
