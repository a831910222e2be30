"""Evaluation items that occur in a corpus: a whole run detects and counts them, shows the documents, and scores without
them."""

import json
import random
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipelines.artifacts.evaluation import EVIDENCE_FILE, SAMPLES_FILE, Contamination, Scores
from pipelines.report.stage import PAGE
from tests.kit.optional import needs

pytestmark = [
    pytest.mark.slow,
    needs("lm_eval", reason="lm-evaluation-harness asks the questions of this test: pip install lm_eval"),
]

NUM_ITEMS = 12
EXACT, EDITED, TAKEN_DOWN = range(4), range(4, 8), 8
"""Items that occur in the corpus word for word, with one word in ten changed, and in a document that was taken down."""
CORPUS = """
name = "notes"
description = "Notes, some of which hold questions of an evaluation"
[source]
heldout_fraction = 0.1
inputs = [{ kind = "jsonl", paths = ["notes.jsonl"], url_field = "url" }]
[score]
decontaminate = [{ name = "reading", path = "eval_data/race/test.jsonl", fields = ["article"] }]
[filter]
max_contamination = 1.0
takedown = ["takedown.txt"]
languages = []
min_stop_words = 0
min_alpha_words_fraction = 0.0
"""
RUN = """
name = "leaky"
description = "Trained on its own examination"
corpora = ["notes.toml"]
[tokenizer]
vocab_size = 400
sample_bytes_per_corpus = 100000
[tokenize]
sequence_length = 64
[[phases]]
name = "one"
tokens = 8192
weights = { notes = 1.0 }
[model]
preset = "tiny"
[train]
num_workers = 1
global_batch_sequences = 8
micro_batch_sequences = 8
peak_lr = 0.003
warmup_tokens = 1024
[evaluate]
heldout_bytes_per_corpus = 2000
tasks = ["race"]
data_root = "eval_data"
"""


def text(draw: random.Random, num_words: int) -> str:
    """Words of two syllables, of which there are so many that no run of them comes twice."""
    syllables = [first + second for first in "bdfgklmnprst" for second in "aeiou"]
    words = ["".join(draw.choices(syllables, k=2)) for _ in range(num_words)]
    return ". ".join(" ".join(words[start : start + 9]) for start in range(0, num_words, 9))


def edited(article: str) -> str:
    words = article.split()
    return " ".join("changed" if number % 10 == 4 else word for number, word in enumerate(words))


@pytest.fixture
def leaky(tmp_path: Path) -> Path:
    """The run recipe, with its corpus and its evaluation data in the same folder."""
    draw = random.Random(0)
    articles = [text(draw, 60) for _ in range(NUM_ITEMS)]
    (tmp_path / "eval_data" / "race").mkdir(parents=True)
    with (tmp_path / "eval_data" / "race" / "test.jsonl").open("w") as file:
        for number, article in enumerate(articles):
            options = [text(draw, 2) for _ in range(4)]
            problems = repr([{"question": "What is it about?", "answer": "ABCD"[number % 4], "options": options}])
            file.write(json.dumps({"article": article, "problems": problems}) + "\n")
    planted = dict(enumerate(articles[: EDITED.stop])) | {TAKEN_DOWN: articles[TAKEN_DOWN]}
    planted |= {number: edited(articles[number]) for number in EDITED}
    with (tmp_path / "notes.jsonl").open("w") as file:
        for number in range(200):
            note = f"{text(draw, 80)}\n{planted.get(number, '')}\n{text(draw, 80)}"
            file.write(json.dumps({"text": note, "url": address(number)}) + "\n")
    (tmp_path / "takedown.txt").write_text(address(TAKEN_DOWN) + "\n")
    (tmp_path / "notes.toml").write_text(CORPUS)
    (tmp_path / "leaky.toml").write_text(RUN)
    return tmp_path / "leaky.toml"


def address(number: int) -> str:
    return f"https://example.org/notes/{number}"


@pytest.mark.timeout(600)
def test_planted_items_are_counted_shown_and_left_out_of_the_clean_score(leaky, arctic, committed, tmp_path) -> None:
    arctic("run", leaky, "--store", tmp_path / "store")
    made = committed(tmp_path / "store")
    scores = Scores.read(made["evaluate[1]"].path)
    assert scores.contamination["race"] == Contamination(NUM_ITEMS, NUM_ITEMS, len(EXACT) + len(EDITED))

    documents = pq.read_table(made["source[notes]"].path / "documents").to_pylist()
    addresses = {document["doc_id"]: document["url"] for document in documents}
    evidence = pq.read_table(made["evaluate[1]"].path / EVIDENCE_FILE).to_pylist()
    result = {row["item_id"]: row for row in evidence}
    assert len(result) == len(evidence)
    for number in (*EXACT, *EDITED):
        row = result.pop(f"race/{number:05d}")
        assert (row["task"], row["corpus"], row["field"]) == ("race", "notes", "article")
        assert addresses[row["doc_id"]] == address(number)
        assert row["share"] == 1.0 if number in EXACT else 0.85 < row["share"] < 1.0
        assert row["excerpt"] in next(each["text"] for each in documents if each["doc_id"] == row["doc_id"])
    assert result == {}

    samples = pq.read_table(made["evaluate[1]"].path / SAMPLES_FILE).to_pylist()
    asked = [sample for sample in samples if sample["task"] == "race"]
    clean = [sample["correct"] for sample in asked if sample["contamination"] is None]
    whole, without = scores.scores["race/acc"], scores.scores["race/acc/clean"]
    assert (whole.n, without.n) == (NUM_ITEMS, len(clean)) == (12, 4)
    assert whole.value == pytest.approx(sum(sample["correct"] for sample in asked) / NUM_ITEMS)
    assert without.value == pytest.approx(sum(clean) / len(clean))

    page = (made["report"].path / PAGE).read_text()
    section = page[page.index('id="contamination"') :]
    section = section[: section.index("<h2")]
    for shown in (">8</td>", "n = 12", "n = 4", "race/00000", "100%", found_share(evidence, EDITED[0])):
        assert shown in section, shown


def found_share(evidence: list[dict], number: int) -> str:
    return next(f"{row['share']:.0%}" for row in evidence if row["item_id"] == f"race/{number:05d}")
