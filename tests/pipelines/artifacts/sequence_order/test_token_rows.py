"""Rows that are read many at once are those that are read one by one."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipelines.artifacts.sequence_order.token_rows import read_rows
from pipelines.artifacts.tokenization.tokens import (
    PIECES,
    TokenSequences,
    TokensIndex,
    positions_and_targets,
    write_token_shard,
)

LENGTH = 12


def corpus(folder: Path, dtype: str, seed: int) -> TokenSequences:
    """Two shards of rows with pieces of 2 to 13 ids: full rows, padded rows, and whole rows of one piece."""
    random = np.random.default_rng(seed)
    for shard in range(2):
        pieces = []
        for row in range(20):
            start, stop = 0, LENGTH + 1 - int(random.choice([0, 0, 1, 5]))
            while stop - start >= 2:
                length = min(int(random.integers(2, LENGTH + 2)), stop - start)
                pieces.append((row, start, length, "d", 0, 0))
                start += length
        table = pa.table(dict(zip(PIECES.names, zip(*pieces, strict=True), strict=True)))
        ids = random.integers(2, 60_000, (20, LENGTH + 1)).astype(dtype)
        write_token_shard(ids, table, folder, "train", shard)
    TokensIndex(LENGTH, dtype, 65_000, 0, 1, {"train": [20, 20]}, {}, {}).write(folder)
    return TokenSequences(folder, "train")


@pytest.mark.parametrize("dtypes", [("uint16", "uint16"), ("uint16", "uint32")])
def test_many_rows_at_once_equal_single_rows(tmp_path: Path, dtypes: tuple[str, str]) -> None:
    corpora = [corpus(tmp_path / str(number), dtype, number) for number, dtype in enumerate(dtypes)]
    which = np.repeat([0, 1], 40)
    sequences = np.random.default_rng(0).permutation(80) % 40
    rows = read_rows(corpora, which, sequences)
    assert [column.dtype for column in rows] == [np.int64, np.int64, np.int32, np.int64]
    for row, (source, sequence) in enumerate(zip(which, sequences.tolist(), strict=True)):
        ids, segments = corpora[source].ids(sequence), corpora[source].segments(sequence)
        positions, targets = positions_and_targets(ids, segments)
        for result, expected in zip(rows, (ids[:-1], positions, segments[:-1], targets), strict=True):
            np.testing.assert_array_equal(result[row], expected)
