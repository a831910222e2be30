"""Generated ledgers: the content of their sentences, by separate rules, and how little they share with the tasks."""

import re
from collections import Counter
from pathlib import Path

import pytest

from pipelines.evaluate.tasks.long_context import texts
from pipelines.source.document_sink import DocumentSink
from pipelines.source.generated.ledgers import SUBJECTS, WORDS, LedgerNumbers, Ledgers, numbered_ledger
from pipelines.source.io.input_folder import InputFolder
from tests.kit.documents import Collected

SECTION = Ledgers(kind="ledgers", num_documents=60, min_bytes=600, max_bytes=12_000, seed=5)


@pytest.fixture(scope="module")
def ledgers() -> list[str]:
    return [numbered_ledger(SECTION, number) for number in range(SECTION.num_documents)]


def asked(text: str) -> list[tuple[str, str]]:
    return re.findall(r"What is the ([^?]+)\? The \1 is ([^.]+)\.", text)


def test_every_question_is_answered_as_the_text_has_it_before(ledgers: list[str]) -> None:
    count = 0
    for text in ledgers:
        for key, value in asked(text):
            before = text[: text.index(f"What is the {key}?")]
            assert value in before
            assert key.lower() in before.lower()
            count += 1
    assert count > 500


def test_long_ledgers_look_far_back(ledgers: list[str]) -> None:
    longest = max(ledgers, key=len)
    distances = [longest.index(f"What is the {key}?") - longest.lower().index(key.lower()) for key, _ in asked(longest)]
    assert max(distances) > len(longest) / 2


def test_sizes_are_those_of_the_section(ledgers: list[str]) -> None:
    assert all(600 <= len(text.encode()) < 12_000 + 3_000 for text in ledgers)
    shorter = sum(len(text) < (600 * 12_000) ** 0.5 for text in ledgers)
    assert 20 < shorter < 40, "half of them are below the geometric mean"


def test_the_tasks_on_long_texts_stay_a_test(ledgers: list[str]) -> None:
    """None of their words, and none of their sentences."""
    words = Counter(word for text in ledgers for word in re.findall(r"[a-z]+", text.lower()))
    assert not {*texts.WORDS, "pass", "key", "number", "var"} & words.keys()
    sentences = {sentence for block in texts.FILLER for sentence in block.split(". ")}
    assert not [sentence for sentence in sentences for text in ledgers if sentence in text]
    assert {*SUBJECTS} < {*WORDS} and "room" in words


def test_some_are_held_out_whatever_the_shards(ledgers: list[str], tmp_path: Path) -> None:
    collected = Collected()
    for first, last in ((0, 17), (17, 60)):
        LedgerNumbers(SECTION, first, last).read(DocumentSink(tmp_path, "cascade", 0.3, collected))
    documents = collected.documents
    assert [document.text for document in documents] == ledgers
    assert 8 < sum(document.split == "heldout" for document in documents) < 28
    assert len({document.url for document in documents}) == 60


def test_a_shard_has_a_thousand_and_another_seed_gives_others(ledgers: list[str], tmp_path: Path) -> None:
    more = Ledgers(kind="ledgers", num_documents=2001, min_bytes=600, max_bytes=12_000, seed=5)
    shards = [split.reader for split in more.splits({}, InputFolder(tmp_path))]
    assert [(each.first, each.last) for each in shards] == [(0, 1000), (1000, 2000), (2000, 2001)]
    other = Ledgers(kind="ledgers", num_documents=60, min_bytes=600, max_bytes=12_000, seed=6)
    assert not {numbered_ledger(other, number) for number in range(60)} & {*ledgers}
