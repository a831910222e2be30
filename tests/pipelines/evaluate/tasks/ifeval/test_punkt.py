"""Sentences of IFEval by NLTK's trained Punkt, if its files are there, and by rules that are close to it otherwise."""

import re
from pathlib import Path

import pytest

from pipelines.evaluate.engine.requests import Text
from pipelines.evaluate.tasks.ifeval.punkt import FILES, FOLDER, find_trained, trained_sentences
from pipelines.evaluate.tasks.ifeval.task import IFEval, ifeval_item
from pipelines.evaluate.tasks.ifeval.text import count_sentences, rule_sentences, sentences_by
from tests.kit.optional import needs

pytestmark = needs("nltk")
DOCS = Path(__file__).parents[5] / "docs"
TRAINED = {"abbrev_types.txt": "zool", "collocations.tab": "", "ortho_context.tab": "", "sent_starters.txt": ""}
"""A model that knows one abbreviation."""
RESPONSE = "We saw the zool. Garden was closed."
ROW = {"key": 1, "prompt": "Tell.", "instruction_id_list": ["length_constraints:number_sentences"]} | {
    "kwargs": [{"num_sentences": 2, "relation": "less than"}]
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "nltk_data" / FOLDER
    folder.mkdir(parents=True)
    for name, content in TRAINED.items():
        (folder / name).write_text(content)
    return tmp_path


def test_trained_files_of_the_user_decide_and_are_in_the_protocol(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NLTK_DATA", "")
    monkeypatch.setenv("HOME", str(root / "nobody"))
    item = ifeval_item(0, ROW, False)
    answers = [[Text(RESPONSE, "end", 0)]]
    trained, rules = IFEval(root), IFEval(root / "elsewhere")
    assert [trained.score([item], answers)[0].reason, rules.score([item], answers)[0].reason] == [
        "correct",
        "not followed: length_constraints:number_sentences",
    ]
    assert trained.protocol != rules.protocol
    changed = trained.protocol
    (root / "nltk_data" / FOLDER / FILES[0]).unlink()
    assert IFEval(root).protocol == rules.protocol != changed


def test_nltk_data_of_the_environment_is_used(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NLTK_DATA", str(root / "nltk_data"))
    result = find_trained(Path("nowhere"))
    assert result == root / "nltk_data" / FOLDER
    with sentences_by(trained_sentences(result)):
        assert count_sentences(RESPONSE) == 1
    assert count_sentences(RESPONSE) == 2


def test_the_rules_agree_with_the_trained_model_on_nearly_all_paragraphs_of_these_docs() -> None:
    """The trained model is the oracle; it is there only if the user brings it."""
    folder = find_trained(Path("eval_data"))
    if folder is None:
        pytest.skip("NLTK's punkt_tab is not on this machine")
    trained = trained_sentences(folder)
    pages = [page.read_text(encoding="utf-8") for page in sorted(DOCS.rglob("*.md"))]
    paragraphs = [part for page in pages for part in re.split(r"\n\s*\n", page) if part.strip()]
    differing = [part for part in paragraphs if len(rule_sentences(part)) != len(trained(part))]
    assert len(differing) <= 0.01 * len(paragraphs), differing[:5]
