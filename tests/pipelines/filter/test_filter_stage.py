"""Decisions follow from scores and thresholds; a row of scores stands beside each document."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_recipes.refining import FilterSection
from infra.stage import Stage
from infra.store import Artifact
from pipelines import filter as filter_
from pipelines.artifacts.documents import Document, write_documents
from pipelines.filter.rules import RULES, decide
from pipelines.filter.scores import SCORES, score
from pipelines.filter.stage import FilterError

GOOD = "The people of the town have to be with the river when it is high, and that is how it always was. " * 4
GERMAN = (
    "In der Nacht war der Fluss gestiegen, und am Morgen standen viele Menschen auf der Brücke, um ihn zu sehen. "
    "Niemand konnte sagen, wie lange es dauern würde, bis die Straßen wieder frei wären und die Kinder zur Schule "
    "gehen könnten. Der Bürgermeister ließ Sand bringen, damit die Häuser am Ufer geschützt blieben."
)
BREAKS = {
    "language": GERMAN,
    "min_words": "The river and the town.",
    "max_words": " ".join([GOOD] * 30),
    "min_mean_word_length": GOOD + "a b " * 200,
    "max_mean_word_length": GOOD + "river-and-town-and-bridge-and-lamp " * 100,
    "symbol_to_word_ratio": GOOD.replace(" the ", " # ").replace(" is ", " ## "),
    "bullet_lines": "\n".join(f"- {n} {GOOD}" for n in range(3)),
    "ellipsis_lines": "\n".join(f"{n} {GOOD.strip()}..." for n in range(3)),
    "alpha_words": GOOD + " ".join(str(10**5 + n) for n in range(60)),
    "stop_words": " ".join(f"word{'abcdefghij'[n % 10]} river{n}x" for n in range(60)),
    "duplicate_lines": "\n".join([GOOD.replace("river", "lake")] * 3),
    "top_4gram": GOOD + "so it was then " * 30,
    "lorem_ipsum": GOOD + "Lorem ipsum dolor.",
    "curly_brackets": GOOD + "{",
}
SECTION = FilterSection(max_words=1000, drop_curly_brackets=True, max_top_4gram_fraction=0.25)
SOURCE = Stage("source", "notes", 1, {}, {}, lambda context, inputs: {})


def table(*texts: str) -> pa.Table:
    return pa.Table.from_pylist([score(text) for text in texts], schema=SCORES)


@pytest.fixture
def source(tmp_path):
    """A source artifact with one shard for each list of texts."""

    def source(*shards: list[str]) -> Artifact:
        for number, texts in enumerate(shards):
            documents = [Document(text, f"http://example.org/{number}/{n}", "test") for n, text in enumerate(texts)]
            write_documents(documents, tmp_path / "source", number)
        return Artifact(tmp_path / "source", None)

    return source


def rows(attempt) -> list[dict]:
    return [row for path in sorted(attempt.artifact.path.glob("scores/*")) for row in pq.read_table(path).to_pylist()]


@pytest.mark.parametrize("reason", RULES)
def test_each_rule_drops_what_it_is_made_for(reason):
    section = SECTION.model_copy(update={"languages": ["en"] if reason == "language" else []})
    keep, reasons = decide(table(GOOD, BREAKS[reason]), section)
    assert keep.tolist() == [True, False]
    assert reasons.tolist() == ["", reason]


def test_the_first_rule_gives_the_reason():
    english = SECTION.model_copy(update={"languages": ["en"], "min_words": 1000})
    assert decide(table(GERMAN), english)[1].tolist() == ["language"]
    assert decide(table(GERMAN), english.model_copy(update={"languages": []}))[1].tolist() == ["min_words"]


def test_thresholds_that_let_everything_pass_keep_everything():
    open_ = FilterSection(
        min_words=0,
        max_words=10**9,
        min_mean_word_length=0.0,
        max_mean_word_length=1e9,
        max_symbol_to_word_ratio=1e9,
        max_bullet_lines_fraction=1.0,
        max_ellipsis_lines_fraction=1.0,
        min_alpha_words_fraction=0.0,
        min_stop_words=0,
        max_duplicate_line_fraction=1.0,
        max_top_4gram_fraction=1.0,
        drop_lorem_ipsum=False,
    )
    assert decide(table("", *BREAKS.values()), open_)[0].all()


def test_scores_stand_beside_the_documents_and_the_funnel_adds_up(attempt, source):
    shards = [[GOOD, BREAKS["min_words"], ""], [], [BREAKS["stop_words"], GOOD + "x"]]
    documents = source(*shards)
    made = attempt(filter_.stage("notes", SECTION, SOURCE), "made", source=documents)
    again = attempt(filter_.stage("notes", SECTION, SOURCE), "again", source=documents)
    for number in range(3):
        stored = pq.read_table(documents.path / "documents" / f"{number:05d}.parquet")
        scored = pq.read_table(made.artifact.path / "scores" / f"{number:05d}.parquet")
        assert scored["doc_id"].to_pylist() == stored["doc_id"].to_pylist()
        name = f"scores/{number:05d}.parquet"
        assert (made.artifact.path / name).read_bytes() == (again.artifact.path / name).read_bytes()
    texts = [text for shard in shards for text in shard]
    assert [row["words"] for row in rows(made)] == [len(text.split()) for text in texts]
    kept = [text for text, row in zip(texts, rows(made), strict=True) if row["keep"]]
    assert kept == [GOOD, GOOD + "x"]
    assert made.metrics["data/documents_in"] == 5 and made.metrics["data/documents"] == 2
    assert made.metrics["data/bytes"] == sum(map(len, kept)) < made.metrics["data/bytes_in"]
    dropped = {name: value for name, value in made.metrics.items() if name.startswith("data/dropped_")}
    assert sum(dropped.values()) == 3 and dropped["data/dropped_min_words"] >= 1


def test_a_corpus_that_is_dropped_whole_fails_with_the_reasons(attempt, source):
    with pytest.raises(FilterError, match=r"corpus notes: the rules dropped all 2 documents \(min_words 2\). Loosen"):
        attempt(filter_.stage("notes", FilterSection(), SOURCE), "empty", source=source(["few words", "fewer"]))
