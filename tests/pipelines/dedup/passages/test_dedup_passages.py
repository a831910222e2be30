"""Passages that others have too are cut from all but the first; the cut spans are the definition's, by brute force."""

import random
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_recipes.schema import DedupSection
from pipelines import deduplicate
from pipelines.artifacts.documents import CUT_DECISIONS, Document, iter_kept, join_spans, redact, write_shard
from pipelines.dedup.options import DedupOptions

SECTION = DedupSection(min_passage_words=12, max_line_documents=2)
LETTERS = "abcdefg"


def pages(seed: int, number: int) -> list[Document]:
    """Lines of few different words, so that runs of words repeat inside pages and across them."""
    draw = random.Random(seed)
    menus = [" ".join(draw.choices(LETTERS, k=draw.randint(1, 9))) for _ in range(6)]
    long = [" ".join(draw.choices(LETTERS, k=draw.randint(10, 40))) for _ in range(8)]
    texts = []
    for page in range(number):
        own = [" ".join(draw.choices([f"{letter}{page}" for letter in LETTERS], k=60)) for _ in range(3)]
        lines = own + draw.sample(menus, 3) + draw.choices(long, k=3)
        draw.shuffle(lines)
        texts.append("".join(f"{line}{draw.choice(['', ' ', '  '])}{draw.choice(['', chr(10)])}\n" for line in lines))
    return [Document(text, f"http://example.org/{page}", "crawl") for page, text in enumerate(texts)]


def words_by_line(text: str) -> Iterator[list[re.Match]]:
    for line in re.finditer(r"[^\n]+", text):
        yield [*re.compile(r"\S+").finditer(text, line.start(), line.end())]


def cut_words(texts: Sequence[str], section: DedupSection) -> list[set[int]]:
    """The definition: first characters of the words of each text that are left out."""
    cut: list[set[int]] = [set() for _ in texts]
    documents = defaultdict(list)
    for number, text in enumerate(texts):
        for line in words_by_line(text):
            if len(line) >= 3:
                documents[" ".join(word[0] for word in line)].append((number, {word.start() for word in line}))
    for locations in documents.values():
        if len({number for number, _ in locations}) > section.max_line_documents:
            for number, starts in locations:
                cut[number] |= starts if number != locations[0][0] else set()
    first: dict[str, tuple[int, int]] = {}
    for number, text in enumerate(texts):
        words = [*re.finditer(r"\S+", text)]
        for start in range(len(words) - section.min_passage_words + 1):
            run = words[start : start + section.min_passage_words]
            earlier = first.setdefault(" ".join(word[0] for word in run), (number, start))
            if earlier[0] != number or start - earlier[1] >= section.min_passage_words:
                cut[number] |= {word.start() for word in run}
    return cut


@pytest.mark.parametrize("seed", range(3))
def test_exactly_the_words_of_the_definition_are_cut(deduplicate, seed):
    documents = pages(seed, 14)
    made = deduplicate([documents[:5], [], documents[5:6], documents[6:]], SECTION)
    result = made.decisions()
    remaining = [each for each in documents if result[each.doc_id]["keep"]]
    expected = cut_words([each.text for each in remaining], SECTION)
    assert any(expected)
    for document, starts in zip(remaining, expected, strict=True):
        spans = result[document.doc_id]["passages"]
        inside = {
            word.start()
            for word in re.finditer(r"\S+", document.text)
            for span in spans
            if span["start"] <= word.start() and word.end() <= span["end"]
        }
        assert inside == starts
        left = [word[0] for word in re.finditer(r"\S+", document.text) if word.start() not in starts]
        assert redact(document.text, join_spans([], spans)).split() == left
        assert all(span["kept_id"] in result and result[span["kept_id"]]["keep"] for span in spans)


def test_evidence_names_the_document_that_keeps_the_text_and_how_many_have_it(deduplicate, texts):
    line, passage = "Share this page with a friend", texts.some("licence", 60)
    parts = [(texts.some((n, "own"), 60), texts.some(n, 40)) for n in range(5)]
    documents = [
        Document(f"{passage if n in (1, 4) else own}\n{more}\n{line}\nEnd", f"u{n}", "crawl")
        for n, (own, more) in enumerate(parts)
    ]
    section = DedupSection(min_passage_words=50, max_line_documents=4)
    rows = deduplicate([documents[:2], documents[2:]], section).decisions()
    spans = [rows[each.doc_id]["passages"] for each in documents]
    kinds = [[span["kind"] for span in each] for each in spans]
    assert kinds == [[], ["line"], ["line"], ["line"], ["passage", "line"]]
    assert {(span["kept_id"], span["documents"]) for span in spans[3]} == {(documents[0].doc_id, 5)}
    assert [spans[4][0][name] for name in ("kept_id", "documents")] == [documents[1].doc_id, 2]
    assert documents[4].text[spans[4][0]["start"] : spans[4][0]["end"]].strip() == passage
    assert redact(documents[2].text, join_spans([], spans[2])) == documents[2].text.replace(f"{line}\n", "")


def test_lines_and_passages_are_cut_in_scripts_without_blanks():
    sentence = "早上六点老张就推着车来到河边的市场他卖的豆腐是妻子昨天晚上做的还带着一点热气"
    table = pa.table({"text": [f"甲乙丙丁{sentence}", f"戊己庚辛{sentence}壬癸"]})
    result = deduplicate(table, DedupOptions(min_passage_words=20))
    assert result.schema == CUT_DECISIONS
    assert result["passages"].to_pylist() == [
        [],
        [{"start": 4, "end": 4 + len(sentence), "kind": "passage", "kept_id": "1", "documents": 2}],
    ]


def test_removed_documents_count_for_nothing_and_options_that_are_off_change_no_key(deduplicate, texts):
    base = texts.some("base", 200)
    documents = [Document(base, "u0", "crawl"), Document(base.title(), "u1", "crawl")]
    made = deduplicate([documents], DedupSection(min_passage_words=50))
    assert [row["passages"] for row in made.decisions().values()] == [[], []]
    assert {"min_passage_words", "max_line_documents"}.isdisjoint(deduplicate([documents]).dedup.params)
    assert "passages" not in pq.read_schema(next(deduplicate([documents]).path.glob("decisions/*"))).names


def test_what_is_read_for_training_has_neither_passages_nor_personal_data(tmp_path):
    text = "Write to a@example.org or call. Share this page with a friend. The end."
    start = text.index("Share")
    filtered = {"doc_id": "a" * 32, "redactions": [{"start": 9, "end": 22, "kind": "email"}]}
    passages = [{"start": 18, "end": 25, "kind": "line", "kept_id": "b" * 32, "documents": 9}]
    passages += [{"start": start, "end": text.index("The end"), "kind": "passage", "kept_id": "b" * 32, "documents": 2}]
    decision = {"doc_id": "a" * 32, "keep": True, "reason": "", "cluster_size": 1, "passages": passages}
    write_shard(pa.table({"doc_id": ["a" * 32], "text": [text], "split": ["train"]}), tmp_path / "documents", 0)
    write_shard(pa.Table.from_pylist([filtered]), tmp_path / "filtered", 0)
    write_shard(pa.Table.from_pylist([decision], schema=CUT_DECISIONS), tmp_path / "decisions", 0)
    paths = (tmp_path / kind / "00000.parquet" for kind in ("documents", "filtered", "decisions"))
    read = [row["text"] for batch in iter_kept(*paths, "train") for row in batch.to_pylist()]
    assert read == ["Write to <EMAIL> call. The end."]


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_the_result_does_not_depend_on_the_number_of_threads(threads, monkeypatch):
    monkeypatch.setattr("pipelines.dedup.passes.buckets.ROWS_PER_RANGE", 500)
    table = pa.table({"text": [each.text for each in pages(3, 30)]})
    options = DedupOptions(min_passage_words=12, max_line_documents=2)
    assert deduplicate(table, options, num_threads=threads).equals(deduplicate(table, options, num_threads=3))


def test_keys_of_runs_differ_where_their_words_or_the_order_of_these_do():
    from pipelines.dedup.passages.kernels import run_keys

    draw = np.random.default_rng(0)
    words = draw.integers(0, 2**63, 4, dtype=np.uint64)
    numbers = draw.integers(0, 4, 3000)
    keys = run_keys(words[numbers], 6)
    runs = [tuple(numbers[start : start + 6]) for start in range(len(keys))]
    assert len(set(keys.tolist())) == len(set(runs))
    assert len(set(zip(keys.tolist(), runs, strict=True))) == len(set(runs))
    assert len(run_keys(words[:3], 6)) == 0
