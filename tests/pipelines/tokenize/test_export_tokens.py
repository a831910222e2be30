"""Exports are read by the readers of those who will read them, and give every document back in order."""

import csv
import gzip
import importlib.util
import struct
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.artifacts.tokenization.tokens import PIECES, TokensIndex, id_dtype, write_token_shard
from pipelines.tokenize.export import FORMATS, export_tokens
from pipelines.tokenize.packing import fill_rows, pack

END, ROW = 0, 17
VOCABULARIES = {"uint16": 3000, "uint32": 100_000}


@pytest.fixture(params=VOCABULARIES)
def dtype(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def documents() -> list[list[list[int]]]:
    """Ids of the text of each document of three shards, the second empty; some are longer than two rows."""
    random = np.random.default_rng(7)
    return [
        [random.integers(1, 3000, size).tolist() for size in sizes]
        for sizes in ([5, 40, 0, 1, 15, 16, 17], [], [100, 3])
    ]


@pytest.fixture
def tokens(documents: list, dtype: str, tmp_path: Path) -> Path:
    """The documents packed, as `tokenize` leaves them; every second row of the source was dropped."""
    for shard, texts in enumerate(documents):
        whole = [np.array([END, *text, END], dtype=dtype) for text in texts]
        lengths = np.array([len(ids) for ids in whole], dtype=np.int64)
        placement = pack(lengths, ROW)
        ids = np.concatenate([np.empty(0, dtype=dtype), *whole])
        pieces = {
            "sequence": placement.row,
            "start": placement.start,
            "length": placement.length,
            "doc_id": [f"{shard}-{number}" for number in placement.document],
            "doc_start": placement.doc_start,
            "doc_row": 2 * placement.document,
        }
        table = pa.table(pieces).cast(PIECES)
        write_token_shard(fill_rows(ids, lengths, placement, ROW, 1), table, tmp_path / "tokens", "train", shard)
    counts = [(tmp_path / "tokens" / "train" / f"{n:05d}.bin").stat().st_size for n in range(len(documents))]
    shards = [count // np.dtype(dtype).itemsize // ROW for count in counts]
    assert id_dtype(VOCABULARIES[dtype]) == dtype
    index = TokensIndex(ROW - 1, dtype, VOCABULARIES[dtype], END, 1, {"train": shards, "heldout": []}, {}, {})
    index.write(tmp_path / "tokens")
    return tmp_path / "tokens"


@pytest.fixture
def expected(documents: list) -> list[list[int]]:
    return [[*text, END] for texts in documents for text in texts]


def ends(expected: list[list[int]]) -> list[int]:
    return np.cumsum([len(ids) for ids in expected]).tolist()


def module_of(package: str, path: str) -> ModuleType:
    """One file of an installed package, without the package's other imports."""
    package_spec = importlib.util.find_spec(package)
    assert package_spec is not None and package_spec.origin is not None
    spec = importlib.util.spec_from_file_location(Path(path).stem, Path(package_spec.origin).parent / path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_megatron_files_are_those_of_datatroves_own_writer(
    tokens: Path, expected: list, dtype: str, tmp_path: Path
) -> None:
    from datatrove.pipeline.tokens.megatron_tokenizer import MegatronTokenizedFile

    export = export_tokens(tokens, "train", "megatron", tmp_path / "out" / "web")
    peer = MegatronTokenizedFile(str(tmp_path / "peer"), "web", token_size=np.dtype(dtype).itemsize)
    for ids in expected:
        peer.write(ids)
    peer.close()
    assert (export.documents, export.tokens) == (len(expected), ends(expected)[-1])
    for suffix in (".bin", ".idx"):
        written = (tmp_path / "out" / f"web{suffix}").read_bytes()
        assert written == (tmp_path / "peer" / f"web{suffix}").read_bytes()


def test_megatron_files_are_read_by_megatron(tokens: Path, expected: list, tmp_path: Path) -> None:
    indexed_dataset = pytest.importorskip("megatron.core.datasets.indexed_dataset", reason="needs megatron-core")
    export_tokens(tokens, "train", "megatron", tmp_path / "web")
    dataset = indexed_dataset.IndexedDataset(str(tmp_path / "web"))
    assert [ids.tolist() for ids in dataset] == expected
    assert dataset.document_indices.tolist() == list(range(len(expected) + 1))


def test_megatron_files_are_read_by_deepspeed(tokens: Path, expected: list, dtype: str, tmp_path: Path) -> None:
    if dtype == "uint16":
        pytest.skip("DeepSpeed numbers uint16 otherwise than Megatron does")
    peer = module_of("deepspeed", "runtime/data_pipeline/data_sampling/indexed_dataset.py")
    export_tokens(tokens, "train", "megatron", tmp_path / "web")
    dataset = peer.MMapIndexedDataset(str(tmp_path / "web"), skip_warmup=True)
    assert [dataset[number].tolist() for number in range(len(dataset))] == expected
    assert dataset.doc_idx.tolist() == list(range(len(expected) + 1))


def test_megatron_index_has_the_layout_of_version_1(tokens: Path, expected: list, dtype: str, tmp_path: Path) -> None:
    export_tokens(tokens, "train", "megatron", tmp_path / "web")
    index = (tmp_path / "web.idx").read_bytes()
    count = len(expected)
    assert index[:9] == b"MMIDIDX\x00\x00"
    assert struct.unpack("<QBQQ", index[9:34]) == (1, {"uint16": 8, "uint32": 4}[dtype], count, count + 1)
    assert np.frombuffer(index, "<i4", count, 34).tolist() == [len(ids) for ids in expected]
    pointers = np.frombuffer(index, "<i8", count, 34 + 4 * count)
    assert pointers.tolist() == [end * np.dtype(dtype).itemsize for end in [0, *ends(expected)[:-1]]]
    assert np.frombuffer(index, "<i8", count + 1, 34 + 12 * count).tolist() == list(range(count + 1))
    assert len(index) == 34 + 20 * count + 8


def test_datatrove_reads_its_own_format(tokens: Path, expected: list, dtype: str, tmp_path: Path) -> None:
    from datatrove.utils.dataset import DatatroveFileDataset

    export = export_tokens(tokens, "train", "datatrove", tmp_path / "web")
    flat = [index for ids in expected for index in ids]
    window = len(flat) - 1
    dataset = DatatroveFileDataset(
        str(tmp_path / "web.ds"), seq_len=window, token_size=np.dtype(dtype).itemsize, return_positions=True
    )
    [item] = [dataset[number] for number in range(len(dataset))]
    assert item["input_ids"].tolist() == flat
    assert item["positions"].tolist() == [position for ids in expected for position in range(len(ids))]
    assert export.tokens == len(flat)


def test_olmo_ids_have_no_header_and_say_where_each_document_is_from(
    tokens: Path, expected: list, documents: list, dtype: str, tmp_path: Path
) -> None:
    export_tokens(tokens, "train", "olmo", tmp_path / "web")
    ids = np.memmap(tmp_path / "web.npy", dtype=dtype, mode="r")
    with gzip.open(tmp_path / "web.csv.gz", "rt", newline="") as lines:
        rows = list(csv.reader(lines))
    assert [ids[int(start) : int(end)].tolist() for start, end, *_ in rows] == expected
    assert [row[2:] for row in rows] == [
        [f"{shard}-{number}", f"documents/{shard:05d}.parquet", str(2 * number)]
        for shard, texts in enumerate(documents)
        for number in range(len(texts))
    ]


def test_npy_is_one_numpy_array(tokens: Path, expected: list, dtype: str, tmp_path: Path) -> None:
    export_tokens(tokens, "train", "npy", tmp_path / "web")
    ids = np.load(tmp_path / "web.npy", mmap_mode="r", allow_pickle=False)
    assert ids.dtype == dtype
    assert ids.tolist() == [index for text in expected for index in text]


@pytest.mark.parametrize("form", FORMATS)
def test_every_export_says_which_document_stands_where_and_is_the_same_each_time(
    tokens: Path, expected: list, tmp_path: Path, form: str
) -> None:
    first, second = (export_tokens(tokens, "train", form, tmp_path / name / "web") for name in ("a", "b"))
    table = pq.read_table(tmp_path / "a" / "web.documents.parquet")
    assert table["end"].to_pylist() == ends(expected)
    assert table["start"].to_pylist() == [0, *ends(expected)[:-1]]
    assert set(zip(table["doc_shard"].to_pylist(), table["doc_row"].to_pylist(), strict=True)) == {
        *((0, 2 * number) for number in range(7)),
        (2, 0),
        (2, 2),
    }
    for file, other in zip(first.files, second.files, strict=True):
        assert file.read_bytes() == other.read_bytes()


@pytest.mark.parametrize("form", FORMATS)
def test_split_without_documents_gives_empty_files(tokens: Path, tmp_path: Path, form: str) -> None:
    export = export_tokens(tokens, "heldout", form, tmp_path / "web")
    assert (export.documents, export.tokens) == (0, 0)
    assert all(file.is_file() for file in export.files)


def test_unknown_format_is_refused_with_those_there_are(tokens: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="export format 'tfrecord': not known. Choose one of megatron, datatrove"):
        export_tokens(tokens, "train", "tfrecord", tmp_path / "web")
