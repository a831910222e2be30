"""A flipped bit in a committed file is damage that names its result, or changes nothing that is read."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from infra.artifact import Artifact
from infra.store import MANIFEST, Store, StoreError
from infra.store.integrity import DamageError, read_committed, require_intact
from pipelines.artifacts.formats.parquet import ParquetFile, read_table, write_table
from pipelines.artifacts.sequence_order.phase_plan import CorpusShare, PhasePlan
from pipelines.artifacts.sequence_order.token_rows import read_rows
from pipelines.artifacts.tokenization.tokens import PIECES, TokenSequences, TokensIndex, write_token_shard
from tests.kit.files import flip
from tests.kit.stages import idle_stage

ROWS = 2000


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    """A result with a file of each kind: Parquet of several pages, packed tokens, a plan with an array."""
    store = Store(tmp_path / "store").open()
    stage = idle_stage("tokenize", "web")
    scratch = store.scratch(stage)
    generator = np.random.default_rng(3)
    table = pa.table(
        {
            "text": [f"row {number} of the river" for number in range(ROWS)],
            "number": generator.integers(0, 2**40, ROWS),
            "keep": generator.integers(0, 2, ROWS).astype(bool),
            "kind": pa.array([None if number % 7 == 0 else f"kind {number % 5}" for number in range(ROWS)]),
        }
    )
    write_table(table, scratch / "rows.parquet", data_page_size=512, row_group_size=800, max_rows_per_page=100)
    pieces = [[0, 0, 4, "a", 0, 0], [0, 4, 5, "b", 0, 1], [1, 0, 7, "c", 0, 2]]
    columns = dict(zip(PIECES.names, map(list, zip(*pieces, strict=True)), strict=True))
    write_token_shard(
        np.arange(18, dtype=np.uint16).reshape(2, 9), pa.table(columns, schema=PIECES), scratch, "train", 0
    )
    TokensIndex(8, "uint16", 300, 0, 1, {"train": [2]}, {"train": 9}, {"train": 16}).write(scratch)
    PhasePlan("one", 8, 3, (CorpusShare("web", 4, 0, 4),), ((0,),), {}, {"web": np.arange(4)}).write(scratch)
    return store.commit(
        stage, scratch, metrics={"kept": 3.5}, quarantined=[], seconds=1, provenance={"code": "c"}, shards={}
    )


def everything(folder: Path) -> str:
    """All that a later stage can read of the result, as one text."""
    file = ParquetFile(folder / "rows.parquet")
    batches = [batch.to_pylist() for batch in file.iter_batches(300)]
    table = read_table(folder / "rows.parquet").to_pylist()
    tokens = TokenSequences(folder, "train")
    rows = [column.tolist() for column in read_rows([tokens], np.zeros(2, int), np.arange(2))]
    pieces = [tokens.pieces(number) for number in range(2)]
    plan = PhasePlan.read(folder)
    manifest = Store(folder.parents[2]).read(folder).manifest
    return repr((batches, table, rows, pieces, plan, plan.ranked["web"].tolist(), tokens.index, manifest))


def bits(file: Path, most: int) -> list[int]:
    """All bits of a small file; of a large one the first and last bytes', and some between."""
    count = 8 * file.stat().st_size
    if count <= most:
        return list(range(count))
    return sorted({*np.random.default_rng(0).integers(0, count, most).tolist()})


@pytest.mark.parametrize(
    "name",
    [
        *("rows.parquet", "train/00000.parquet", "train/00000.bin", "train/00000.bounds.npy"),
        *("tokens.json", "plan.json", "ranked/web.npy", MANIFEST),
    ],
)
def test_any_flipped_bit_is_named_or_changes_nothing(artifact: Artifact, name: str):
    file, expected, noticed = artifact.path / name, everything(artifact.path), 0
    whole = file.read_bytes()
    for bit in bits(file, 250):
        flip(file, bit)
        try:
            assert everything(artifact.path) == expected, f"{name}: bit {bit} changed a result silently"
        except StoreError as error:
            noticed += 1
            assert str(artifact.path) in str(error), "the result is named"
            assert "Delete" in str(error), "and the remedy"
        file.write_bytes(whole)
    assert noticed > 0


def test_each_page_header_of_parquet_is_either_read_right_or_refused(artifact: Artifact):
    """A page's checksum covers its values and not its header; the bytes before each page are flipped one by one."""
    file = artifact.path / "rows.parquet"
    whole, expected = file.read_bytes(), everything(artifact.path)
    chunk = ParquetFile(file).metadata.row_group(0).column(1)
    for bit in range(8 * chunk.data_page_offset, 8 * (chunk.data_page_offset + 40)):
        flip(file, bit)
        try:
            assert everything(artifact.path) == expected, f"bit {bit}"
        except DamageError as error:
            assert str(file) in str(error)
        file.write_bytes(whole)


def test_files_that_belong_to_no_result_are_read_as_they_are(tmp_path: Path):
    (tmp_path / "plain.json").write_text("{}")
    assert read_committed(tmp_path / "plain.json") == b"{}"
    require_intact(tmp_path / "plain.json")


def test_a_missing_committed_file_is_damage(artifact: Artifact):
    (artifact.path / "ranked" / "web.npy").unlink()
    with pytest.raises(DamageError, match=r"web\.npy: damaged.*Delete"):
        require_intact(artifact.path / "ranked" / "web.npy")


def test_a_manifest_of_the_first_version_is_still_read(artifact: Artifact):
    file = artifact.path / MANIFEST
    fields = json.loads(file.read_text()) | {"schema_version": 1}
    del fields["sha256"]
    for entry in fields["files"]:
        del entry["footer_sha256"]
    file.write_text(json.dumps(fields))
    assert read_table(artifact.path / "rows.parquet").num_rows == ROWS
    flip(artifact.path / "rows.parquet", 8 * 100)
    with pytest.raises(DamageError):
        read_table(artifact.path / "rows.parquet")
