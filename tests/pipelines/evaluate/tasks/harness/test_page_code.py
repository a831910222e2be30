"""Packages that a page's own code imports: a needed one is missed before anything runs, and scores name the others."""

from pathlib import Path

import pytest

from infra.host.packages import PackageError, problems
from pipelines.evaluate.suites import Suite
from pipelines.evaluate.task import DataError
from pipelines.evaluate.tasks.harness.named import HarnessOptions, NamedHarnessTask
from tests.kit.optional import needs

pytestmark = needs("lm_eval")

PAGE = """
task: own_counts
dataset_path: json
dataset_kwargs: {data_files: {test: counts.jsonl}}
output_type: generate_until
test_split: test
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
process_results: !function scoring.process_results
metric_list: [{metric: right, aggregation: mean, higher_is_better: true}]
"""
SCORING = "def process_results(doc, results):\n    return {'right': 1.0}\n"
QUESTION = '{"question": "How many?", "answer": "3"}\n'
GONE = "no_such_package_here"


def task(folder: Path, imports: str, page: str = PAGE, beside: str = "") -> NamedHarnessTask:
    """The task of a page whose module begins with `imports`; `helper.py` beside it begins with `beside`."""
    folder.mkdir(exist_ok=True)
    (folder / "own_counts.yaml").write_text(page)
    (folder / "scoring.py").write_text(f"{imports}\n{SCORING}")
    (folder / "helper.py").write_text(f"{beside}\nvalue = 1\n")
    (folder / "counts.jsonl").write_text(QUESTION)
    return HarnessOptions.named("lm_eval:own_counts", folder).task(folder, None, False)


@pytest.mark.parametrize(
    ("imports", "beside"),
    [
        (f"import {GONE}", ""),
        (f"import json, {GONE}.inner as inner", ""),
        (f"from {GONE}.inner import value", ""),
        (f"try:\n    import {GONE}\nexcept ImportError:\n    raise ImportError('install it')", ""),
        (f"try:\n    import json\nfinally:\n    import {GONE}", ""),
        (f"class Scorer:\n    import {GONE}", ""),
        ("import helper", f"import {GONE}"),
        ("from helper import value", f"from {GONE} import name"),
    ],
)
def test_a_page_whose_code_needs_a_missing_package_is_refused_with_the_remedy(
    imports: str, beside: str, tmp_path: Path
):
    needy = task(tmp_path, imports, beside=beside)
    assert problems(needy.packages) == [f"{GONE} missing (needs any)"], "which a plan shows and a stage asks first"
    with pytest.raises(PackageError, match=rf"lm_eval:own_counts needs {GONE} missing.*Run: pip install .*{GONE}"):
        needy.items()


@pytest.mark.parametrize(
    "imports",
    [
        "try:\n    import {}\nexcept ImportError:\n    {} = None",
        "try:\n    import {}\n    HAS = True\nexcept (ImportError, AttributeError):\n    HAS = False",
        "def later():\n    import {}",
        "if len('a') > 1:\n    import {}",
    ],
)
def test_a_page_whose_code_can_do_without_a_package_names_it_in_the_key(
    imports: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Otherwise scores that were taken without it would be used for ever."""
    without = task(tmp_path / "pages", imports.replace("{}", GONE))
    assert problems(without.packages) == []
    assert len(without.items()) == 1
    assert without.protocol.endswith(f", {GONE} missing")
    before = Suite((), tmp_path, harness=(without.options,)).params()
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / f"{GONE}.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    assert without.protocol.endswith(f", {GONE} without version")
    assert Suite((), tmp_path, harness=(without.options,)).params() != before


def test_a_page_without_such_imports_names_none(tmp_path: Path):
    plain = task(tmp_path, "import json, re\nfrom collections import Counter\nimport helper")
    assert plain.packages == ("lm_eval",)
    assert "missing" not in plain.protocol


def test_code_in_another_folder_is_in_the_key(tmp_path: Path):
    shared, pages = tmp_path / "shared", tmp_path / "pages"
    shared.mkdir()
    (shared / "base.yaml").write_text(PAGE.replace("own_counts", "base"))
    (shared / "scoring.py").write_text(SCORING)
    page = "include: ../shared/base.yaml\ntask: own_counts\n"
    first = task(pages, "", page).protocol
    assert task(pages, "", page).protocol == first
    (shared / "scoring.py").write_text(SCORING.replace("1.0", "0.0"))
    assert task(pages, "", page).protocol != first


def test_code_that_is_no_python_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match=r"own_counts\.yaml: its code is no Python"):
        _ = task(tmp_path, "def (").packages


def test_too_few_rows_for_the_shots_are_a_fault_of_the_data(tmp_path: Path):
    task(tmp_path, "")
    options = HarnessOptions.named("lm_eval:own_counts", tmp_path, num_fewshot=5)
    with pytest.raises(DataError, match=r"row 0 of its dataset cannot be asked"):
        options.task(tmp_path, None, False).items()
