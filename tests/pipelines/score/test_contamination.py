"""Evaluation items in training text: planted leaks are detected, whole and edited; innocent text is not."""

import json
import random

import pytest

from data_recipes.sections.refining import BenchmarkSection, FilterSection
from pipelines.score.benchmark_files import read_benchmark
from pipelines.score.contamination import MIN_ITEM_WORDS, BenchmarkIndex, build_index
from pipelines.score.text.characters import Characters
from tests.kit.real_data import REAL_DATA

EVAL = REAL_DATA / "eval"
THRESHOLD = FilterSection().max_contamination
NOUNS = [
    "river",
    "town",
    "bridge",
    "lamp",
    "stone",
    "garden",
    "horse",
    "winter",
    "letter",
    "wheel",
    "market",
    "tower",
    "forest",
    "island",
    "kitchen",
    "window",
]
VERBS = [
    "carries",
    "sees",
    "paints",
    "follows",
    "sells",
    "builds",
    "remembers",
    "crosses",
    "opens",
    "counts",
    "leaves",
    "mends",
]
SMALL = ["the", "a", "of", "in", "on", "with", "for", "and", "to", "from", "under", "over", "that", "which", "when"]


def sentence(random_: random.Random, words: int) -> str:
    selected = [random_.choice((NOUNS, VERBS, SMALL, SMALL)[random_.randrange(4)]) for _ in range(words)]
    return " ".join(selected).capitalize() + "?"


def edited(text: str, random_: random.Random) -> str:
    """One word in ten replaced (one at least), another case, other punctuation."""
    words = text.split()
    for location in random_.sample(range(len(words)), max(1, len(words) // 10)):
        words[location] = random_.choice(NOUNS)
    return " ".join(words).upper().replace("?", " ...").replace(",", ";")


def planted(text: str, random_: random.Random) -> Characters:
    before, after = (" ".join(sentence(random_, 12) for _ in range(8)) for _ in range(2))
    return Characters(f"{before}\n{text}\n{after}")


def recall(index: BenchmarkIndex, items: list[str], edit, seed: int) -> float:
    random_ = random.Random(seed)
    result = 0
    for number, text in enumerate(items):
        hits = index.find(planted(edit(text, random_), random_))
        result += any(hit.item == number and hit.share > THRESHOLD for hit in hits)
    return result / len(items)


def index_of(items: list[str]) -> BenchmarkIndex:
    return build_index(("own", number, "question", text) for number, text in enumerate(items))


@pytest.fixture(scope="module")
def own_items() -> list[str]:
    random_ = random.Random(1)
    return [sentence(random_, random_.randrange(10, 60)) for _ in range(400)]


def test_planted_leaks_are_found_whole_and_edited(own_items):
    index = index_of(own_items)
    assert recall(index, own_items, lambda text, _: text, 2) >= 0.99
    assert recall(index, own_items, edited, 3) >= 0.95


def test_innocent_text_is_not_blamed(own_items):
    index = index_of(own_items)
    random_ = random.Random(4)
    texts = [" ".join(sentence(random_, random_.randrange(5, 60)) for _ in range(40)) for _ in range(200)]
    assert not [hit for text in texts for hit in index.find(Characters(text)) if hit.share > THRESHOLD]


def test_the_evidence_says_which_item_how_much_and_where(own_items):
    text = f"Words that stand before. {own_items[7]} Words that stand after."
    (hit,) = index_of(own_items).find(Characters(text))
    assert (hit.benchmark, hit.item, hit.field, hit.share) == ("own", 7, "question", 1.0)
    assert own_items[7].rstrip("?") in text[hit.start : hit.end]


def test_half_an_item_is_half_of_it():
    item = " ".join(f"word{n}" for n in range(40))
    (hit,) = index_of([item]).find(Characters(" ".join(f"word{n}" for n in range(30))))
    assert hit.share == 30 / 40
    assert index_of([item]).find(Characters(" ".join(f"word{n}" for n in range(20)))) == []


def test_short_items_are_left_out_and_counted():
    index = index_of(["What is the capital of France?", " ".join(f"w{n}" for n in range(MIN_ITEM_WORDS))])
    assert (len(index.names), index.num_too_short) == (1, 1)
    assert index.find(Characters("What is the capital of France?")) == []


def test_no_items_find_nothing():
    assert index_of([]).find(Characters("some words that stand here for nothing at all")) == []


def test_evaluation_files_are_read_in_every_form(tmp_path):
    import gzip

    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"q": "one", "a": {"text": ["x", "y"]}}, {"q": "", "a": {"text": []}}, {"q": "three", "a": {"text": ["z"]}}]
    lines = "\n".join(map(json.dumps, rows)) + "\n"
    (tmp_path / "f.jsonl").write_text(lines)
    (tmp_path / "f.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (tmp_path / "f.json").write_text(json.dumps(rows))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "f.parquet")
    expected = [(0, "q", "one"), (0, "a.text", "x\ny"), (2, "q", "three"), (2, "a.text", "z")]
    for name in ("f.jsonl", "f.jsonl.gz", "f.json", "f.parquet"):
        section = BenchmarkSection(name="b", path=name, fields=["q", "a.text"])
        assert list(read_benchmark(tmp_path / name, section.fields)) == expected, name
    (tmp_path / "f.tsv").write_text('q\ta\nsay "one"\tx\n')
    section = BenchmarkSection(name="b", path="f.tsv", fields=["q"])
    assert list(read_benchmark(tmp_path / "f.tsv", section.fields)) == [(0, "q", 'say "one"')]
    with pytest.raises(ValueError, match=r"item 0: no field 'gone'; it has q, a\. Name one"):
        list(read_benchmark(tmp_path / "f.json", ["gone"]))


PUBLIC = {
    "gsm8k/test.jsonl": "question",
    "humaneval/HumanEval.jsonl.gz": "prompt",
    "spider/dev.json": "question",
}


@pytest.mark.skipif(not EVAL.is_dir(), reason=f"public evaluation files are not on this machine: {EVAL}")
@pytest.mark.parametrize("name", PUBLIC)
def test_leaks_of_public_benchmarks_are_found(name):
    section = BenchmarkSection(name="public", path=name, fields=[PUBLIC[name]])
    texts = list(read_benchmark(EVAL / name, section.fields))[:400]
    index = build_index(("public", *result) for result in texts)
    existing = {item for _, item, _ in index.names}
    items = [result.text for result in texts if result.item in existing]
    renumbered = index_of(items)
    assert len(items) >= (0.85 if "spider" in name else 0.99) * len(texts)
    assert recall(renumbered, items, lambda text, _: text, 5) >= 0.99
    assert recall(renumbered, items, edited, 6) >= 0.95
