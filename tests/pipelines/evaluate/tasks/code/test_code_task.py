"""HumanEval+ and MBPP+ from prompt to verdict, on a few problems in this file."""

import gzip
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from unittest import mock

import pytest

from pipelines.evaluate.data import files as data
from pipelines.evaluate.data.files import DataFile, content_digest
from pipelines.evaluate.engine.requests import Generation, Likelihood, LogLikelihood, Text
from pipelines.evaluate.from_recipe import named_suite
from pipelines.evaluate.suites import SUITES
from pipelines.evaluate.task import DataError, Item, TaskOptions, Verdict
from pipelines.evaluate.tasks.code import task as code
from pipelines.evaluate.tasks.code.task import HUMANEVAL_PLUS, MBPP_PLUS, TASKS, CodeTask, pass_at_k
from pipelines.sandbox import PythonSandbox

HUMANEVAL_ROWS = [
    {
        "task_id": "HumanEval/900",
        "prompt": 'def mean(xs):\n    """ Mean of xs, 0.0 where there are none. """\n',
        "entry_point": "mean",
        "canonical_solution": "    return sum(xs) / len(xs) if xs else 0.0\n\n",
        "base_input": [[[1, 2]], [[0.1, 0.2]]],
        "plus_input": [[[]], [[5]], [[1, 1, 2]]],
        "atol": 0,
    },
    {
        "task_id": "HumanEval/901",
        "prompt": 'def running_max(xs):\n    """ The largest so far, at each place. """\n',
        "entry_point": "running_max",
        "canonical_solution": "    return [max(xs[: i + 1]) for i in range(len(xs))]\n",
        "base_input": [[[1, 3, 2]], [[2, 1]], [[4, 4, 5]]],
        "plus_input": [[[-3, -1, -2]], [[]], [[7, 6, 8, 1]]],
        "atol": 0,
    },
]
MBPP_ROWS = [
    {
        "task_id": "Mbpp/2",
        "prompt": '"""\nFind what two tuples share.\nassert set(similar_elements((1, 2), (2, 3))) == {2}\n"""\n',
        "entry_point": "similar_elements",
        "canonical_solution": "\ndef similar_elements(a, b):\n  return tuple(set(a) & set(b))\n",
        "base_input": [[[1, 2], [2, 3]]],
        "plus_input": [[[], [1]], [[1, 2, 3], [3, 2]]],
        "atol": 0,
    },
    {
        "task_id": "Mbpp/901",
        "prompt": '"""\nWrite a function to count letters.\nassert count("aab") == {"a": 2, "b": 1}\n"""\n',
        "entry_point": "count",
        "canonical_solution": "\nfrom collections import Counter\ndef count(text):\n  return Counter(text)\n",
        "base_input": [["aab"]],
        "plus_input": [[""], ["xyzzy"]],
        "atol": 0,
    },
    {
        "task_id": "Mbpp/902",
        "prompt": '"""\nWrite a function to match text that starts with a vowel.\nassert check_str("ape")\n"""\n',
        "entry_point": "check_str",
        "canonical_solution": "\nimport re\ndef check_str(text):\n  return re.match('[aeiou]', text)\n",
        "base_input": [["ape"], ["bee"]],
        "plus_input": [[""], ["u"]],
        "atol": 0,
    },
]
GOLD = Likelihood(-8.0, False, 0)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    fingerprints = {}
    for benchmark, rows in ((HUMANEVAL_PLUS, HUMANEVAL_ROWS), (MBPP_PLUS, MBPP_ROWS)):
        path = tmp_path / benchmark.file
        path.parent.mkdir(parents=True)
        path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
        fingerprints[benchmark.file] = DataFile(benchmark.file, content_digest(path), len(rows), "bytes", "", "")
    for module in (data, code):
        monkeypatch.setattr(module, "data_files", lambda: fingerprints)
    return tmp_path


def judge(task: CodeTask, items: Sequence[Item], answers: Sequence[str]) -> list[Verdict]:
    task.num_sandboxes = task.num_sandboxes or 1
    return task.score(items, [(Text(answer, "end", 0), GOLD) for answer in answers])


def verdicts(root: Path, task: str, item_id: str, answers: Sequence[str]) -> list[Verdict]:
    """Of several answers to one problem."""
    built = TASKS[task](TaskOptions(root, chat=True))
    (item,) = [item for item in built.items() if item.item_id == item_id]
    return judge(built, [item] * len(answers), answers)


def passed(verdict: Verdict) -> tuple[float, float]:
    return verdict.shares["pass@1_base"].part, verdict.shares["pass@1"].part


@pytest.mark.parametrize("name", ["humaneval_plus", "mbpp_plus", "mbpp_plus-bigcode"])
def test_canonical_solutions_are_right(root: Path, name: str) -> None:
    task = TASKS[name](TaskOptions(root, chat=True))
    items = task.items()
    for verdict in judge(task, items, [item.gold.canonical_solution for item in items]):
        assert verdict.reason == "correct"
        assert passed(verdict) == (1.0, 1.0)


def test_gold_bits_are_of_all_that_is_predicted(root: Path) -> None:
    task = TASKS["humaneval_plus"](TaskOptions(root, chat=True))
    item = task.items()[0]
    gold = item.requests[-1]
    assert isinstance(gold, LogLikelihood)
    assert gold.context + gold.continuation == item.gold.canonical_program.rstrip()
    assert gold.continuation == "\n    return sum(xs) / len(xs) if xs else 0.0"
    share = judge(task, [item], [""])[0].shares["gold_bits_per_byte"]
    assert share == (8.0 / math.log(2), len(gold.continuation))


def test_an_item_says_where_it_stands_and_what_must_not_be_by_problem(root: Path) -> None:
    item = TASKS["mbpp_plus"](TaskOptions(root, chat=True)).items()[1]
    assert item.place == (MBPP_PLUS.file, 1)
    assert item.text == MBPP_ROWS[1]["prompt"] + MBPP_ROWS[1]["canonical_solution"]
    assert item.gold_text == MBPP_ROWS[1]["canonical_solution"]


def test_each_style_asks_in_its_way(root: Path) -> None:
    def request(name: str, chat: bool = True) -> Generation:
        (result, _) = TASKS[name](TaskOptions(root, chat=chat)).items()[0].requests
        assert isinstance(result, Generation)
        return result

    prompt = HUMANEVAL_ROWS[0]["prompt"]
    assert request("humaneval_plus").form == "message"
    assert request("humaneval_plus").prompt.endswith(f"markdown code block:\n```\n{prompt.strip()}\n```\n")
    assert request("humaneval_plus-base").prompt == prompt.strip() + "\n"
    assert request("humaneval_plus-bigcode").prompt == prompt.strip()
    assert request("mbpp_plus-bigcode").prompt == MBPP_ROWS[0]["prompt"]
    assert "\ndef " in request("humaneval_plus-base").stops
    assert "\ndef " not in request("humaneval_plus").stops
    assert '\n"""' in request("mbpp_plus-base").stops
    assert request("humaneval_plus", chat=False) == request("humaneval_plus-base")
    for name in ("humaneval_plus-base", "humaneval_plus-bigcode", "mbpp_plus-base"):
        assert request(name, chat=False) == request(name, chat=True)
        assert request(name).form == "plain"
    assert {request(name).temperature for name in ("humaneval_plus", "mbpp_plus-bigcode")} == {0.0}


def test_protocols_name_the_data_and_the_way(root: Path) -> None:
    lines = {name: TASKS[name](TaskOptions(root, chat=True)).protocol for name in TASKS if "v0.1.0" not in name}
    assert len(set(lines.values())) == len(lines)
    assert "EvalPlus's instruction in the chat template" in lines["humaneval_plus"]
    plain = TASKS["humaneval_plus"](TaskOptions(root)).protocol
    assert plain == lines["humaneval_plus-base"]
    assert "EvalPlus's prompt for base models, without a chat template" in plain
    assert "HumanEval+ v0.1.10 (" in lines["humaneval_plus"]
    assert "MBPP+ v0.2.0 (" in lines["mbpp_plus"]
    assert "greedy" in lines["mbpp_plus"]
    assert "20 samples" in lines["mbpp_plus-20_samples"]


CHAT = """Of course:

```python
def running_max(xs):
    best = []
    for x in xs:
        best.append(max(x, best[-1]) if best else x)
    return best

print(running_max([1]))
```
"""
CONTINUED = "    return [max(xs[:i]) for i in range(1, len(xs) + 1)]\n"


JUDGED = [
    (CHAT, (1, 1), "correct"),
    (CONTINUED, (1, 1), "correct"),  # a base model continues
    (CONTINUED.replace("max(", "max(0, *"), (1, 0), "plus input 1: wrong result"),
    (CONTINUED.replace("max(", "min("), (0, 0), "base input 1: wrong result"),
    (CONTINUED.replace("return [", "return None if not xs else ["), (1, 0), "plus input 2: wrong result"),
    ("    return [1, 3, 3] if xs[0] == 1 else 1 / 0\n", (0, 0), "base input 2: raised, ZeroDivisionError"),
    ("    return 1 +\n", (0, 0), "base input 1: raised, KeyError: 'running_max'"),
    ("I do not know.", (0, 0), "base input 1: raised, KeyError: 'running_max'"),
]


def test_verdicts_say_what_is_wrong(root: Path) -> None:
    result = verdicts(root, "humaneval_plus", "HumanEval/901", [answer for answer, _, _ in JUDGED])
    for (answer, shares, reason), verdict in zip(JUDGED, result, strict=True):
        assert passed(verdict) == shares, answer
        assert verdict.reason.startswith(reason)
        assert "print" not in verdict.answer


def test_answer_to_the_base_prompt_goes_on_from_it(root: Path) -> None:
    task = TASKS["humaneval_plus"](TaskOptions(root))
    item = task.items()[1]
    assert task.style.texts(item.gold, CONTINUED) == (item.requests[0].prompt + CONTINUED,)
    result = judge(task, [item] * 2, [CONTINUED, CONTINUED.replace("max(", "min(")])
    assert [passed(verdict) for verdict in result] == [(1, 1), (0, 0)]


FUNCTION = "def running_max(xs):\n"
CHEATS = {
    "equal to all": "class Same:\n    def __eq__(self, other):\n        return True\n"
    "    __hash__ = None\n" + FUNCTION + "    return Same()\n",
    "a list equal to all": "class Same(list):\n    def __eq__(self, other):\n        return True\n"
    + FUNCTION
    + "    return Same()\n",
    "elements equal to all": "class Same(int):\n    def __eq__(self, other):\n        return True\n"
    + FUNCTION
    + "    return [Same() for _ in xs]\n",
    "steals from frames": "import sys, gc\n" + FUNCTION + "    frame = sys._getframe()\n"
    "    while frame:\n"
    "        for name, value in {**frame.f_globals, **frame.f_locals}.items():\n"
    "            if any(word in name for word in ('expect', 'reference', 'value', 'gold', 'canon')) and value:\n"
    "                return value\n"
    "        frame = frame.f_back\n"
    "    return [o for o in gc.get_objects() if isinstance(o, list)][0]\n",
    "exits": "import sys\n" + FUNCTION + "    sys.exit(0)\n",
    "exits at once": "import os\n" + FUNCTION + "    os._exit(0)\n",
    "prints": FUNCTION + "    print([max(xs[: i + 1]) for i in range(len(xs))])\n",
    "not implemented": FUNCTION + "    return NotImplemented\n",
    "rewrites its caller": FUNCTION + "    import program\n"
    "    program._plain = program._value = lambda value: True\n"
    "    program.VIEWS['value'] = lambda value: True\n"
    "    return True\n",
    "forges the reply": FUNCTION + "    import json, os\n"
    "    reply = json.dumps({'value': [['', True, 0.0]] * 9}).encode()\n"
    "    os.write(4, len(reply).to_bytes(4, 'big') + reply)\n"
    "    return True\n",
    "forges no reply": FUNCTION + "    import json, os\n"
    "    reply = json.dumps({'value': []}).encode()\n"
    "    os.write(4, len(reply).to_bytes(4, 'big') + reply)\n"
    "    return True\n",
    "gives back its input": FUNCTION + "    return xs\n",
    "raises success": FUNCTION + "    raise SystemExit(0)\n",
}


WITH_NUMPY = {
    "an array's numbers": ("list(np.maximum.accumulate(np.array(xs, int)))", "correct"),
    "floats that are equal": ("[np.float64(x) for x in itertools.accumulate(xs, max)]", "correct"),
    "an array": ("np.maximum.accumulate(np.array(xs, int))", "base input 1: unusable, "),
    "a number": ("np.int64(3)", "base input 1: wrong result"),
    "arrays in a list": ("[np.array([x]) for x in xs]", "base input 1: unusable, "),
    "a number whose item is anything": (
        "type('Yes', (np.int64,), {'item': lambda self: object()})(1)",
        "base input 1: ",
    ),
    "numpy as it was not": ("[np.random.seed(1), xs][1]", "base input 1: wrong result"),
}


def test_programs_import_numpy_only_if_the_task_lets_them(root: Path) -> None:
    task, with_numpy = (TASKS["humaneval_plus-bigcode"](TaskOptions(root, numpy=numpy)) for numpy in (False, True))
    item = next(item for item in task.items() if item.item_id == "HumanEval/901")
    answers = [
        f"\n    pass\nimport itertools\nimport numpy as np\n{FUNCTION}    return {way}\n"
        for way, _ in WITH_NUMPY.values()
    ]
    allowed = judge(with_numpy, [item] * len(answers), answers)
    for (name, (_, reason)), verdict in zip(WITH_NUMPY.items(), allowed, strict=True):
        assert verdict.reason.startswith(reason), (name, verdict.reason)
    for verdict in judge(task, [item] * 2, answers[:2]):
        assert verdict.reason == "program: raised, ModuleNotFoundError: No module named 'numpy'"


def test_cheats_earn_nothing(root: Path) -> None:
    answers = [f"\n    pass\n{program}" for program in CHEATS.values()]
    result = verdicts(root, "humaneval_plus-bigcode", "HumanEval/901", answers)
    for name, verdict in zip(CHEATS, result, strict=True):
        assert passed(verdict) == (0.0, 0.0), (name, verdict.reason)


def test_a_program_that_hangs_is_ended_by_its_cpu_time(root: Path) -> None:
    (verdict,) = verdicts(
        root, "humaneval_plus", "HumanEval/901", [FUNCTION + "    while xs:\n        pass\n    return xs\n"]
    )
    assert verdict.reason == "base input 1: timeout, more than 4 s of CPU time"


def test_inputs_and_results_have_their_types(root: Path) -> None:
    needs_tuples = "def similar_elements(a, b):\n    return {*(a + ()), *(b + ())} & {*a} & {*b}\n"
    assert verdicts(root, "mbpp_plus", "Mbpp/2", [needs_tuples])[0].reason == "correct"
    plain = "def count(text):\n    return {letter: text.count(letter) for letter in text}\n"
    assert verdicts(root, "mbpp_plus", "Mbpp/901", [plain])[0].reason == "correct"
    ways = ["return text[:1] in list('aeiou')", "return 0 if text[:1] in list('aeiou') else None", "return 1"]
    result = verdicts(root, "mbpp_plus", "Mbpp/902", [f"def check_str(text):\n    {way}\n" for way in ways])
    assert [passed(verdict) for verdict in result] == [(1, 1), (1, 1), (0, 0)]


def with_sandboxes(root: Path, number: int) -> CodeTask:
    return replace(TASKS["humaneval_plus"](TaskOptions(root, chat=True)), num_sandboxes=number)


def test_verdicts_do_not_depend_on_how_many_sandboxes_there_are(root: Path) -> None:
    answers = [answer for answer, _, _ in JUDGED]
    tasks = (with_sandboxes(root, number) for number in (1, 3))
    one, three = (judge(task, task.items()[1:2] * len(answers), answers) for task in tasks)
    assert [verdict.reason for verdict in one] == [verdict.reason for verdict in three]


def test_no_more_sandboxes_start_than_there_are_problems(root: Path) -> None:
    """Of more, each would have less of the machine's memory."""
    task = with_sandboxes(root, 3)
    with mock.patch("pipelines.evaluate.tasks.code.judging.PythonSandbox", wraps=PythonSandbox) as made:
        task.score(task.items()[1:2], [[*[Text(FUNCTION + "    return xs\n", "end", 0)] * 3, GOLD]])
    assert made.call_count == 1


def test_an_answer_that_takes_too_long_to_parse_costs_no_other_its_program(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first, the last and two in a row, of answers that one process parses."""
    monkeypatch.setattr("pipelines.evaluate.tasks.code.judging.EXTRACTION_CPU_S", 0.2)
    right, endless = FUNCTION + "    return [max(xs[: i + 1]) for i in range(len(xs))]\n", "a b\n" * 20_000
    answers = [endless, right, endless, endless, right, "no program", endless]
    result = verdicts(root, "humaneval_plus", "HumanEval/901", answers)
    assert [passed(verdict) for verdict in result] == [(float(answer == right),) * 2 for answer in answers]


def test_long_results_are_compared_too(root: Path) -> None:
    gold = "    return [n / 2 if n % 2 else n for n in range(xs)] if type(xs) is int else xs\n"
    row = HUMANEVAL_ROWS[1] | {"base_input": [[[1]]], "plus_input": [[120_001]], "canonical_solution": gold}
    task = TASKS["humaneval_plus"](TaskOptions(replaced(root, row), chat=True))
    answers = [
        gold,
        gold.replace("else n for", "else float(n) for"),  # 2.0 is 2
        gold.replace("else n for", "else n + (n == 120_000) for"),
        "    return xs if type(xs) is list else 'no'\n",
    ]
    result = judge(task, task.items() * 4, answers)
    assert [passed(verdict) for verdict in result] == [(1, 1), (1, 1), (1, 0), (1, 0)]


def replaced(root: Path, row: dict) -> Path:
    """The data root with `row` as the only one of HumanEval+."""
    path = root / HUMANEVAL_PLUS.file
    path.write_bytes(gzip.compress(json.dumps(row).encode()))
    data.data_files()[HUMANEVAL_PLUS.file] = DataFile(HUMANEVAL_PLUS.file, content_digest(path), 1, "bytes", "", "")
    return root


def test_samples_give_unbiased_pass_at_k(root: Path) -> None:
    task = TASKS["humaneval_plus-20_samples"](TaskOptions(root, chat=True))
    item = task.items()[1]
    generations = item.requests[:-1]
    assert [request.sample for request in generations] == list(range(20))
    assert {request.temperature for request in generations} == {0.2}
    answers = [Text(CONTINUED if n % 4 == 0 else "", "end", 0) for n in range(20)]
    (verdict,) = task.score([item], [(*answers, GOLD)])
    assert verdict.shares["pass@1"].part == pytest.approx(5 / 20)
    assert verdict.shares["pass@10"].part == pytest.approx(1 - math.comb(15, 10) / math.comb(20, 10))
    assert "pass@100" not in verdict.shares


@pytest.mark.parametrize(("num_samples", "num_right", "k"), [(5, 2, 1), (5, 2, 3), (6, 0, 2), (4, 4, 3), (4, 2, 3)])
def test_pass_at_k_is_the_share_of_draws_with_a_right_sample(num_samples: int, num_right: int, k: int) -> None:
    draws = list(combinations(range(num_samples), k))
    share = sum(any(sample < num_right for sample in draw) for draw in draws) / len(draws)
    assert pass_at_k(num_samples, num_right, k) == pytest.approx(share)


def test_what_is_right_is_computed_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = TASKS["humaneval_plus"](TaskOptions(root, chat=True))
    item = task.items()[1]
    judge(task, [item], [""])
    assert {kind for _, kind in task.references._by_problem} == {"base"}  # nobody needed the others
    judge(task, [item], [CONTINUED])
    existing = dict(task.references._by_problem)
    assert {kind for _, kind in existing} == {"base", "plus"}
    judge(task, [item], [CONTINUED])
    assert all(task.references._by_problem[key] is reference for key, reference in existing.items())


def test_a_broken_canonical_solution_is_an_error_and_no_zero(root: Path) -> None:
    broken = HUMANEVAL_ROWS[0] | {"canonical_solution": "    return 1 / len(xs)\n"}
    task = TASKS["humaneval_plus"](TaskOptions(replaced(root, broken), chat=True))
    with pytest.raises(DataError, match=r"HumanEval/900: its canonical solution fails at plus input 1: .*ZeroDivision"):
        judge(task, task.items(), ["    return 1 / len(xs)\n"])


def test_an_altered_row_names_its_file(root: Path) -> None:
    with pytest.raises(DataError, match=r"HumanEvalPlus.jsonl.gz: row 1 is no problem of EvalPlus"):
        TASKS["humaneval_plus"](TaskOptions(replaced(root, {"task_id": "HumanEval/0"}), chat=True)).items()


def test_every_variant_can_be_named_in_a_suite(root: Path) -> None:
    suite = named_suite(["humaneval_plus-base", "mbpp_plus-bigcode-20_samples"], root, None)
    assert [task.name for task in suite.build(chat=True)] == ["humaneval_plus-base", "mbpp_plus-bigcode-20_samples"]
    assert {"humaneval_plus", "mbpp_plus"} < set(SUITES["enterprise"])
