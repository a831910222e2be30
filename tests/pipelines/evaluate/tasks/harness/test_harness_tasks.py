"""The academic tasks ask and score as lm-evaluation-harness's own evaluator does on the same files, item by item.

The rows are in `rows.py`, in the format of each file of the data root.
"""

import gzip
import hashlib
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.host.packages import PackageError
from pipelines.evaluate.data import files as data
from pipelines.evaluate.data.files import DataFile, content_digest
from pipelines.evaluate.engine.requests import Answer, Generation, Likelihood, LogLikelihood, Request, Text
from pipelines.evaluate.evaluation import read_items, scores
from pipelines.evaluate.statistics.enterprise import GOLD
from pipelines.evaluate.suites import LANGUAGE
from pipelines.evaluate.task import DataError, Item, TaskResult, Verdict
from pipelines.evaluate.tasks.harness.task import CLOZE, DEFINITIONS, HarnessTask
from tests.kit.harness_reference import evaluated
from tests.kit.optional import needs
from tests.pipelines.evaluate.tasks.harness.rows import ROWS, WORDS, gsm8k, race

pytestmark = needs("lm_eval")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("root")
    for file, rows in ROWS.items():
        path = folder / file
        path.parent.mkdir(exist_ok=True)
        text = "".join(json.dumps(row) + "\n" for row in rows).encode()
        path.write_bytes(gzip.compress(text) if file.endswith(".gz") else text)
    return folder


@pytest.fixture(autouse=True)
def pinned(root: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, DataFile]:
    real = data.data_files()
    fingerprints = dict(real) | {
        file: replace(real[file], sha256=content_digest(root / file)) for file in ROWS if real[file].sha256
    }
    monkeypatch.setattr(data, "data_files", lambda: fingerprints)
    return fingerprints


def drawn_number(*parts: str) -> int:
    return int.from_bytes(hashlib.sha256("\0".join(parts).encode()).digest()[:4], "big")


def likelihood(context: str, continuation: str) -> tuple[float, bool]:
    """Log-probabilities of a model with strong and arbitrary opinions."""
    number = drawn_number(context, continuation)
    return -(number % 9973) / 100 - 0.01, number % 3 == 0


def written(prompt: str) -> str:
    """Answers of all kinds to GSM8K's questions: right in both readings, in one, in none."""
    count = int(prompt.rsplit("Ann has ", 1)[1].split()[0]) + 1000
    ways = ("#### {0:,}", "She has $ {0}.", "{0}\n#### {0}.", "#### 7, no, {0:,}", "Many.", "#### {0}0")
    return ways[(count - 1000) % len(ways)].format(count)


def respond(request: Request) -> Answer:
    if isinstance(request, LogLikelihood):
        return Likelihood(*likelihood(request.context, request.continuation), 0)
    return Text(written(request.prompt), "end", 0)


def answers_to(item: Item) -> list[Answer]:
    return list(map(respond, item.requests))


def ours(name: str, root: Path, limit: int | None = None) -> list[tuple[Item, Verdict]]:
    task = HarnessTask(name, root, limit)
    items = task.items()
    return list(zip(items, task.score(items, list(map(answers_to, items))), strict=True))


Sample = tuple[list[tuple[str, str]], dict[str, float]]
"""The harness's requests about one document, and each of its metrics, by the name of ours."""


@pytest.fixture(scope="module")
def harness(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, list[Sample]]:
    """Every task by name as the harness's own evaluator, loader and shots have it over the same files."""
    folder = tmp_path_factory.mktemp("pages")
    pages = {name: list(_pages(folder, root, name)) for name in DEFINITIONS}
    result = evaluated(folder, [page for own in pages.values() for page in own], likelihood, written)
    return {name: [sample for page in own for sample in _samples(result[page])] for name, own in pages.items()}


def _pages(folder: Path, root: Path, name: str) -> Sequence[str]:
    """Writes the page of a task, one for each subject of MMLU, as the harness's manual describes for local files."""
    import lm_eval
    import yaml

    definition = DEFINITIONS[name]
    for subject in ("anatomy", "world_religions") if definition.by else ("",):
        page = f"local_{name}{subject}"
        files = {split: root / file for split, file in definition.files.items()}
        if subject:
            files = {split: _only(path, subject, folder) for split, path in files.items()}
        data_files = {split: str(path) for split, path in files.items()}
        config = {
            "include": str(Path(lm_eval.__file__).parent / "tasks" / definition.page.format(subject)),
            "task": page,
            "tag": None,
            "dataset_path": "json",
            "dataset_name": None,
            "dataset_kwargs": {"data_files": data_files, "cache_dir": str(folder)},
            "training_split": "train" if "train" in files else None,
            "validation_split": None,
            "test_split": "test",
            "num_fewshot": 5 if name in ("mmlu", "gsm8k") else 0,
        } | ({"doc_to_target": "{{1 if answer else 0}}"} if name == "boolq" else {})
        (folder / f"{page}.yaml").write_text(yaml.safe_dump(config))
        yield page


def _only(path: Path, subject: str, folder: Path) -> Path:
    rows = [json.loads(line) for line in gzip.decompress(path.read_bytes()).decode().splitlines()]
    target = folder / f"{subject}-{path.name.removesuffix('.gz')}"
    target.write_text("".join(json.dumps(row) + "\n" for row in rows if row["subject"] == subject))
    return target


def _samples(result: Sequence[Mapping[str, Any]]) -> list[Sample]:
    samples: dict[int, Sample] = {}
    for each in sorted(result, key=lambda each: each["doc_id"]):
        _, metrics = samples.setdefault(each["doc_id"], ([tuple(provided) for provided in each["arguments"]], {}))
        suffix = "" if each["filter"] == "none" else f"/{each['filter']}"
        metrics |= {f"{metric}{suffix}": float(each[metric]) for metric in each["metrics"] if metric != "perplexity"}
    return list(samples.values())


@pytest.mark.parametrize("name", DEFINITIONS)
def test_prompts_and_scores_are_those_of_the_harness_s_own_evaluator(
    name: str, root: Path, harness: Mapping[str, list[Sample]]
) -> None:
    result = ours(name, root)
    assert len(result) == len(ROWS[DEFINITIONS[name].files["test"]])
    for (item, verdict), (asked, metrics) in zip(result, harness[name], strict=True):
        for request, provided in zip(item.requests, asked, strict=False):
            if isinstance(request, LogLikelihood):
                assert (request.context, request.continuation, request.templated) == (*provided, False)
            else:
                context, settings = provided
                assert request == Generation(context, tuple(settings["until"]), 256)
        assert {name for name in verdict.shares if name not in (GOLD, CLOZE)} == set(metrics)
        assert all(verdict.shares[metric] == (value, 1.0) for metric, value in metrics.items())
        assert verdict.reason == ("correct" if metrics[DEFINITIONS[name].headline] else "wrong")
    assert len({verdict.shares[DEFINITIONS[name].headline] for _, verdict in result}) == 2, "a test that tells nothing"


@pytest.mark.parametrize("name", ["mmlu", "gsm8k", "piqa"])
def test_a_limit_leaves_every_question_as_it_is(name: str, root: Path) -> None:
    whole = {item.item_id: (item.requests, verdict) for item, verdict in ours(name, root)}
    few = ours(name, root, 2)
    assert len(few) == 2
    assert all(whole[item.item_id] == (item.requests, verdict) for item, verdict in few)


@pytest.mark.parametrize("name", ["mmlu", "gsm8k"])
def test_a_task_that_is_read_twice_has_the_same_examples(name: str, root: Path) -> None:
    task = HarnessTask(name, root)
    assert task.items() == task.items()


@pytest.mark.parametrize(
    ("name", "row", "gold", "chance"),
    [
        ("arc_easy", 1, " a stone, which sinks", 1 / 4),
        ("boolq", 0, " yes", 1 / 2),
        ("copa", 1, " she fell.", 1 / 2),
        ("lambada_openai", 2, " naïve", 0.0),
        ("winogrande", 1, " was late.", 1 / 2),
        ("gsm8k", 3, " " + gsm8k(3)["answer"], 0.0),
    ],
)
def test_gold_answer_is_weighed_in_bits_for_each_of_its_bytes(
    name: str, row: int, gold: str, chance: float, root: Path
) -> None:
    item, verdict = ours(name, root)[row]
    assert item.gold_text.replace("  ", " ") == gold
    (right,) = {
        request.context
        for request in item.requests
        if isinstance(request, LogLikelihood) and request.continuation == item.gold_text and _is_gold(name, request)
    }
    bits = -likelihood(right, item.gold_text)[0] / math.log(2)
    assert verdict.shares[GOLD] == (pytest.approx(bits), len(item.gold_text.encode()))
    assert item.chance == chance
    assert item.place == (DEFINITIONS[name].files["test"], row)


def _is_gold(name: str, request: LogLikelihood) -> bool:
    """The right one of WinoGrande's contexts, which all have the same continuation."""
    return name != "winogrande" or request.context.endswith("because Bo")


@pytest.mark.parametrize("name", ["mmlu", "commonsense_qa"])
def test_a_task_of_letters_is_also_asked_for_the_texts_of_its_choices(name: str, root: Path) -> None:
    asked = ours(name, root)
    rows = ROWS[DEFINITIONS[name].files["test"]]
    for item, verdict in asked:
        row = rows[item.place[1]]
        letters = name == "mmlu"
        texts = row["choices"] if letters else row["choices"]["text"]
        right = row["answer"] if letters else row["choices"]["label"].index(row["answerKey"])
        values = [likelihood(f"Question: {row['question'].strip()}\nAnswer:", f" {text}")[0] for text in texts]
        best = max(range(len(texts)), key=lambda index: values[index] / len(texts[index]))
        assert verdict.shares[CLOZE] == (float(best == right), 1.0)
        bits = -values[right] / math.log(2)
        assert verdict.shares[GOLD] == (pytest.approx(bits), len(f" {texts[right]}".encode()))
        assert len(item.requests) == 2 * len(texts)


@pytest.mark.parametrize(
    ("name", "choices", "right"),
    [
        ("mmlu", "{{choices}}", "{{answer}}"),
        ("commonsense_qa", "{{choices.text}}", "{{choices.label.index(answerKey)}}"),
    ],
)
def test_the_cloze_form_is_scored_as_the_harness_scores_a_page_of_it(
    name: str, choices: str, right: str, root: Path, tmp_path: Path
) -> None:
    """The page has OLMES' words; its acc_norm is for each character, and the bits are those of its right request."""
    import yaml

    page = {
        "task": "cloze",
        "dataset_path": "json",
        "dataset_kwargs": {
            "data_files": {"test": str(root / DEFINITIONS[name].files["test"])},
            "cache_dir": str(tmp_path),
        },
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "Question: {{question.strip()}}\nAnswer:",
        "doc_to_choice": choices,
        "doc_to_target": right,
        "num_fewshot": 0,
        "metric_list": [{"metric": "acc_norm"}],
    }
    (tmp_path / "cloze.yaml").write_text(yaml.safe_dump(page))
    samples = {each["doc_id"]: each for each in evaluated(tmp_path, ["cloze"], likelihood, written)["cloze"]}
    asked = ours(name, root)
    assert len(asked) == len(samples)
    for item, verdict in asked:
        sample = samples[item.place[1]]
        expected = [tuple(each) for each in sample["arguments"]]
        cloze = [request for request in item.requests if isinstance(request, LogLikelihood)][-len(expected) :]
        assert [(request.context, request.continuation) for request in cloze] == expected
        assert verdict.shares[CLOZE] == (sample["acc_norm"], 1.0)
        gold = expected[int(sample["target"])]
        assert verdict.shares[GOLD] == (pytest.approx(-likelihood(*gold)[0] / math.log(2)), len(gold[1].encode()))
    assert len({sample["acc_norm"] for sample in samples.values()}) == 2


def test_subjects_are_clusters_of_one_score(root: Path) -> None:
    result = ours("mmlu", root)
    assert [item.cluster for item, _ in result] == ["anatomy"] * 4 + ["world_religions"] * 4
    assert {item.requests[0].context.split("\n")[0].rpartition(" about ")[2] for item, _ in result} == {
        "anatomy.",
        "world religions.",
    }


def test_race_is_asked_of_the_user_and_ten_tasks_have_no_mean(
    root: Path, tmp_path: Path, pinned: dict[str, DataFile]
) -> None:
    for file in ROWS:
        if not file.startswith("race"):
            (tmp_path / file).parent.mkdir(exist_ok=True)
            (tmp_path / file).symlink_to(root / file)
    selected, skipped = read_items([HarnessTask(name, tmp_path) for name in LANGUAGE], None)
    assert set(skipped) == {"race"}
    assert "race/test.jsonl: missing. Bring it there by hand: " in skipped["race"]
    assert pinned["race/test.jsonl"].origin in skipped["race"]
    results = []
    for task, items in selected:
        answers = list(map(answers_to, items))
        results.append(TaskResult(task.name, task.headline, task.protocol, items, task.score(items, answers), answers))
    assert len(results) == 10
    assert {name.partition("/")[0] for name in scores(results, {})} == set(LANGUAGE) - {"race"}


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[1]",
        json.dumps({"article": "Bo is old."}),
        json.dumps({"article": "Bo is old.", "problems": "[{"}),
        json.dumps(race(0) | {"problems": str([{"question": "Who?", "answer": "E", "options": list(WORDS)}])}),
    ],
)
def test_file_that_the_user_brought_and_nobody_can_read_is_left_out_and_told(line: str, tmp_path: Path) -> None:
    (tmp_path / "race").mkdir()
    (tmp_path / "race" / "test.jsonl").write_text(f"{json.dumps(race(1))}\n{line}\n")
    selected, skipped = read_items([HarnessTask("race", tmp_path)], None)
    assert not selected
    assert "race/test.jsonl: not as the harness' race/race.yaml reads them (" in skipped["race"]


def test_file_without_a_row_is_told(tmp_path: Path) -> None:
    (tmp_path / "race").mkdir()
    (tmp_path / "race" / "test.jsonl").write_text("\n")
    with pytest.raises(DataError, match=r"race/test\.jsonl: not as .* reads them \(ValueError\('no rows'\)\)"):
        HarnessTask("race", tmp_path).items()


def test_altered_file_and_missing_harness_name_the_mend(
    root: Path, pinned: dict[str, DataFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "lm_eval", None)
        with pytest.raises(
            PackageError, match=r"lm_eval missing \(needs ==0\.4\.13\)\. Run: pip install -e '\.\[evaluate\]'"
        ):
            HarnessTask("piqa", root).items()
    file = "piqa/validation.jsonl.gz"
    pinned[file] = replace(pinned[file], sha256="0" * 64)
    with pytest.raises(DataError, match=r"validation\.jsonl\.gz: not the pinned version.* Run: arctic eval-data fetch"):
        HarnessTask("piqa", root).items()


@pytest.mark.parametrize("name", DEFINITIONS)
def test_protocol_tells_version_shots_and_that_no_template_is_used(name: str, root: Path) -> None:
    shots = 5 if name in ("mmlu", "gsm8k") else 0
    expected = f"lm-evaluation-harness 0.4.13, {shots}-shot, without a chat template"
    cloze = "; cloze: OLMES' form, 0-shot, for each character" if name in ("mmlu", "commonsense_qa") else ""
    assert HarnessTask(name, root).protocol == expected + cloze
