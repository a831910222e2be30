"""Deduplication as a function: the same decisions as the definition, for every form of the input."""

from dataclasses import asdict

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_recipes.schema import DedupSection
from pipelines.dedup import deduplicate as module
from pipelines.dedup.deduplicate import Columns, DedupInputError, deduplicate
from pipelines.dedup.options import DedupOptions


def test_the_defaults_are_those_of_a_recipe():
    section = DedupSection()
    assert asdict(DedupOptions()) == {name: getattr(section, name) for name in asdict(DedupOptions())}


def by_definition(texts: list[str], options: DedupOptions, oracle) -> list[bool]:
    """Keep by brute force: longer texts first; removed if a kept one is near. Needs texts of different lengths."""
    sets = [oracle.shingles(text, options.ngram) for text in texts]
    remaining: list[int] = []
    for location in sorted(range(len(texts)), key=lambda site: -len(texts[site].encode())):
        if all(oracle.jaccard(sets[location], sets[other]) < options.jaccard_threshold for other in remaining):
            remaining.append(location)
    return [site in remaining for site in range(len(texts))]


@pytest.fixture
def corpus(texts) -> list[str]:
    """Originals, slightly edited copies of some of them, strangers; all of different lengths."""
    originals = [texts.some(number, 200 + 3 * number) for number in range(12)]
    copies = [f"{texts.edited(text, number, 2)} end" for number, text in enumerate(originals[:6])]
    return [*originals, *copies, "short", "another text of a few words"]


def test_decisions_are_those_of_the_definition(corpus, oracle):
    options = DedupOptions()
    decisions = deduplicate(pa.table({"text": corpus}), options)
    assert decisions["keep"].to_pylist() == by_definition(corpus, options, oracle)
    assert decisions["doc_id"].to_pylist() == [str(row) for row in range(1, len(corpus) + 1)]
    for row in decisions.to_pylist():
        if not row["keep"]:
            pair = [oracle.shingles(corpus[int(row[name]) - 1], options.ngram) for name in ("doc_id", "kept_id")]
            assert row["jaccard"] == pytest.approx(oracle.jaccard(*pair))


def test_files_and_threads_and_portions_change_nothing(corpus, tmp_path, monkeypatch):
    expected = deduplicate(pa.table({"text": corpus}), num_threads=1)["keep"].to_pylist()
    for number in range(3):
        pq.write_table(pa.table({"text": corpus[7 * number : 7 * number + 7]}), tmp_path / f"part-{number}.parquet")
    files = deduplicate(tmp_path)
    assert files["keep"].to_pylist() == expected
    assert files["doc_id"][7].as_py() == "part-1.parquet#1"
    assert deduplicate(sorted(tmp_path.iterdir()), num_threads=5).equals(files)
    monkeypatch.setattr(module, "SHARD_ROWS", 4)
    assert deduplicate(pa.table({"text": corpus}))["keep"].to_pylist() == expected


def test_temporary_files_lie_in_the_scratch_folder_and_are_gone(corpus, tmp_path, monkeypatch):
    scratch, system = tmp_path / "scratch", tmp_path / "system"
    scratch.mkdir()
    system.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(system))
    for folder in (scratch, None):
        deduplicate(pa.table({"text": corpus}), scratch=folder)
    assert list(scratch.iterdir()) == list(system.iterdir()) == []


def test_the_better_quality_stands_for_the_others(corpus):
    table = pa.table({"body": [corpus[0], corpus[0]], "name": ["a", "b"], "stars": [1, 5]})
    decisions = deduplicate(table, columns=Columns(text="body", doc_id="name", quality="stars"))
    assert decisions.select(["doc_id", "keep", "reason", "kept_id", "cluster_size"]).to_pylist() == [
        {"doc_id": "a", "keep": False, "reason": "exact_duplicate", "kept_id": "b", "cluster_size": 2},
        {"doc_id": "b", "keep": True, "reason": "", "kept_id": None, "cluster_size": 2},
    ]


def test_a_document_without_text_is_dropped_by_name():
    decisions = deduplicate(pa.table({"text": pa.array([None, "one text"], pa.string())}))
    assert decisions["reason"].to_pylist() == ["no_text", ""]
    assert deduplicate(pa.table({"text": pa.array([None, None], pa.string())}))["keep"].to_pylist() == [False, False]


def test_nothing_gives_nothing(tmp_path):
    assert len(deduplicate(pa.table({"text": pa.array([], pa.string())}))) == 0


@pytest.mark.parametrize(
    ("documents", "columns", "message"),
    [
        ({"body": ["a"]}, None, "documents: no column 'text'. There are body"),
        ({"text": ["a", "b"], "id": ["x", "x"]}, Columns(doc_id="id"), "doc_id = 'x': given twice"),
        ({"text": ["a", "b"], "id": ["x", None]}, Columns(doc_id="id"), "a document has no id"),
        ({"text": [b"ok", b"\xff"]}, None, r"documents: column 'text' \(binary\): cannot be read \(.*UTF8"),
        ({"text": [["a"]]}, None, r"documents: column 'text' \(list<item: string>\): cannot be read"),
        ({"text": ["a"], "stars": ["b"]}, Columns(quality="stars"), r"documents: column 'stars' \(string\): cannot be"),
        ("no/such/folder", None, "no/such/folder: no Parquet file"),
    ],
)
def test_an_input_that_cannot_be_used_is_named(documents, columns, message):
    with pytest.raises(DedupInputError, match=message):
        deduplicate(documents if isinstance(documents, str) else pa.table(documents), columns=columns)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + bytes(100) + b"\x10\0\0\0PARE"])
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / "part.parquet").write_bytes(content)
    with pytest.raises(DedupInputError, match=r"part\.parquet: cannot be read \(.*\)\. Correct it, or leave it out"):
        deduplicate(tmp_path)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.text(max_size=12), max_size=12))
def test_equal_texts_leave_one(texts):
    decisions = deduplicate(pa.table({"text": pa.array(texts, pa.string())}), num_threads=2)
    others = [texts[int(row["doc_id"]) - 1] for row in decisions.to_pylist() if row["reason"] != "exact_duplicate"]
    assert len(decisions) == len(texts)
    assert len(others) == len(set(others)), "every further copy of a text is an exact duplicate"
    for row in decisions.to_pylist():
        assert row["keep"] == (row["kept_id"] is None)
        if row["kept_id"]:
            assert decisions["keep"][int(row["kept_id"]) - 1].as_py()
