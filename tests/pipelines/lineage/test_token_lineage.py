"""From a token back to its document and WARC record, reading next to nothing."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.artifact import Artifact, Manifest
from pipelines.artifacts.documents import DOCUMENTS, Document, write_documents
from pipelines.artifacts.tokenization.tokens import PIECES, Piece, TokensIndex, write_token_shard
from pipelines.errors import NotInStoreError
from pipelines.lineage.tokens import find_token


def artifact(path: Path, name: str, key: str, **inputs: str) -> Artifact:
    return Artifact(path, Manifest(f"{name}[web]", name, "web", key, 2, {}, inputs, (), {}, (), 0.0, {}))


def crawled(number: int) -> Document:
    return Document(
        f"text {number}", f"https://example.org/{number}", "crawl.warc.gz", offset=100 * number, length=90 + number
    )


@pytest.fixture
def store(tmp_path: Path) -> list[Artifact]:
    """Two shards; T = 4; document 2 is long and is split over two sequences of the second shard, with document 3 in one
    of them."""
    write_documents([crawled(0), crawled(1)], tmp_path / "source", 0)
    write_documents([crawled(2), crawled(3)], tmp_path / "source", 1)
    columns = PIECES.names
    rows = [
        [(0, 0, 3, crawled(1).doc_id, 0, 1)],
        [
            (0, 0, 5, crawled(2).doc_id, 0, 0),
            (1, 0, 3, crawled(2).doc_id, 4, 0),
            (1, 3, 2, crawled(3).doc_id, 0, 1),
        ],
    ]
    for shard, pieces in enumerate(rows):
        table = pa.Table.from_pylist([dict(zip(columns, piece, strict=True)) for piece in pieces], schema=PIECES)
        ids = np.arange(5 * (shard + 1), dtype=np.uint16).reshape(-1, 5) + 100 * shard
        write_token_shard(ids, table, tmp_path / "tokens", "train", shard)
    TokensIndex(4, "uint16", 300, 0, 1, {"train": [1, 2], "heldout": []}, {}, {}).write(tmp_path / "tokens")
    return [
        artifact(tmp_path / "source", "source", "s1"),
        artifact(tmp_path / "tokens", "tokenize", "t1", source="s1"),
        artifact(tmp_path / "absent", "dedup", "d1"),
    ]


@pytest.mark.parametrize(
    ("position", "sequence", "offset", "token", "number", "doc_position"),
    [(0, 0, 0, 0, 1, 0), (2, 0, 2, 2, 1, 2), (9, 1, 4, 104, 2, 4), (12, 2, 2, 107, 2, 6), (13, 2, 3, 108, 3, 0)],
)
def test_token_leads_to_its_document_and_warc_record(
    store: list[Artifact], position: int, sequence: int, offset: int, token: int, number: int, doc_position: int
) -> None:
    location = find_token(store, "web", position)
    assert (location.sequence, location.offset, location.token) == (sequence, offset, token)
    assert location.piece is not None and location.piece.doc_id == crawled(number).doc_id
    assert location.doc_position == doc_position
    fields = location.as_fields()
    assert fields["url"] == f"https://example.org/{number}"
    assert (fields["origin"], fields["offset"], fields["length"]) == ("crawl.warc.gz", 100 * number, 90 + number)
    assert find_token(store, "t1", position) == location


def test_padding_has_no_document(store: list[Artifact]) -> None:
    for position in (3, 4):
        location = find_token(store, "web", position)
        assert (location.piece, location.doc_position, location.as_fields()["document"]) == (
            None,
            None,
            "none: padding",
        )


def test_what_is_not_there_is_said_with_what_is(store: list[Artifact]) -> None:
    with pytest.raises(
        NotInStoreError, match=r"no training token 15: there are 3 sequences of 5, so positions end at 14"
    ):
        find_token(store, "web", 15)
    with pytest.raises(NotInStoreError, match=r"corpus sql: not tokenized in this store\. It has web \(t1\)"):
        find_token(store, "sql", 0)
    again = artifact(store[1].path, "tokenize", "t2", source="s1")
    with pytest.raises(NotInStoreError, match=r"corpus web: tokenized 2 times: web \(t1\), web \(t2\)\. Name one"):
        find_token([*store, again], "web", 0)
    with pytest.raises(NotInStoreError, match="its source s1 is not in this store"):
        find_token(store[1:], "web", 0)


def test_source_of_another_build_is_not_mistaken_for_the_document(store: list[Artifact], tmp_path: Path) -> None:
    write_documents([crawled(3), crawled(2)], tmp_path / "source", 1)
    with pytest.raises(NotInStoreError, match=f"document {crawled(2).doc_id}: not in row 0 of shard 1"):
        find_token(store, "web", 5)


def test_hundred_million_tokens_cost_two_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sequences, per_sequence, row_length = 24_576, 8, 4097
    count = sequences * per_sequence
    doc_ids = pa.array([f"{number:032x}" for number in range(count)])
    pieces = {
        "sequence": np.repeat(np.arange(sequences), per_sequence),
        "start": np.tile(np.arange(per_sequence) * 512, sequences),
        "length": np.full(count, 512),
        "doc_id": doc_ids,
        "doc_start": np.zeros(count, dtype=np.int64),
        "doc_row": np.arange(count),
    }
    zeros = (np.zeros(row_length, np.uint16) for _ in range(sequences))
    write_token_shard(zeros, pa.table(pieces), tmp_path / "tokens", "train", 0)
    TokensIndex(row_length - 1, "uint16", 300, 0, 1, {"train": [sequences]}, {}, {}).write(tmp_path / "tokens")
    (tmp_path / "source" / "documents").mkdir(parents=True)
    empty = {field.name: pa.nulls(count, field.type) for field in DOCUMENTS if field.nullable}
    named = {field.name: pa.array([""] * count, field.type) for field in DOCUMENTS if not field.nullable}
    columns = empty | named | {"doc_id": doc_ids, "offset": pa.array(np.arange(count) * 1000)}
    documents = pa.table([columns[field.name] for field in DOCUMENTS], schema=DOCUMENTS)
    pq.write_table(documents, tmp_path / "source" / "documents" / "00000.parquet", row_group_size=8192)

    rows_read = []
    read_row_group = pq.ParquetFile.read_row_group

    def counted(*args: object, **kwargs: object) -> pa.Table:
        table = read_row_group(*args, **kwargs)
        rows_read.append(len(table))
        return table

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counted)
    monkeypatch.setattr(pq, "read_table", None)
    store = [artifact(tmp_path / "source", "source", "s"), artifact(tmp_path / "tokens", "tokenize", "t", source="s")]
    location = find_token(store, "web", 100_000_000)
    sequence, offset = divmod(100_000_000, row_length)
    number = sequence * per_sequence + offset // 512
    assert location.piece == Piece(offset // 512 * 512, 512, f"{number:032x}", 0, number)
    assert location.provenance is not None and location.provenance["offset"] == number * 1000
    assert rows_read == [16_384, 8192]
