"""The model's loss on packed sequences is its loss on each document alone."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from arctic_model.model import ArcticModel
from arctic_model.presets import preset
from arctic_model.training.losses.cross_entropy import token_nll
from pipelines.artifacts.tokenization.tokens import (
    TokenSequences,
    TokensIndex,
    positions_and_targets,
    write_token_shard,
)
from pipelines.tokenize.packing import fill_rows, pack

CONFIG = preset("tiny", {"init_std": 0.2})
LENGTH = 64


@pytest.fixture
def model() -> ArcticModel:
    return ArcticModel(CONFIG, seed=3)


@pytest.fixture
def documents() -> list[np.ndarray]:
    """Ids of 15 documents with their end ids, one of them longer than two sequences."""
    random = np.random.default_rng(5)
    sizes = [*random.integers(0, 50, 12), 130, 62, 63]
    return [np.array([0, *random.integers(4, CONFIG.vocab_size, size), 0], dtype=np.uint16) for size in sizes]


@pytest.fixture
def sequences(documents: list[np.ndarray], tmp_path: Path) -> TokenSequences:
    """The documents packed and written as `tokenize` does."""
    lengths = np.array([len(ids) for ids in documents])
    placement = pack(lengths, LENGTH + 1)
    columns = {name: getattr(placement, name) for name in ("start", "length", "doc_start")}
    doc_ids = [str(number) for number in placement.document]
    pieces = pa.table({"sequence": placement.row, **columns, "doc_id": doc_ids, "doc_row": placement.document})
    pieces = pieces.select(["sequence", "start", "length", "doc_id", "doc_start", "doc_row"])
    rows = fill_rows(np.concatenate(documents), lengths, placement, LENGTH + 1, pad_id=1)
    write_token_shard(rows, pieces, tmp_path, "train", 0)
    index = TokensIndex(LENGTH, "uint16", CONFIG.vocab_size, 0, 1, {"train": [placement.num_rows]}, {}, {})
    index.write(tmp_path)
    return TokenSequences(tmp_path, "train")


def packed_nll(model: ArcticModel, sequences: TokenSequences, *, one_document: bool = False) -> torch.Tensor:
    """Nats of every target of all sequences in one batch; as if each row was `one_document`, if asked."""
    rows = []
    for number in range(len(sequences)):
        ids, segments = sequences.ids(number), sequences.segments(number)
        positions, targets = positions_and_targets(ids, segments)
        if one_document:
            positions, segments = np.arange(LENGTH), np.zeros_like(segments)
        rows.append((ids[:-1].astype(np.int64), positions, segments[:-1], targets))
    ids, positions, segments, targets = (torch.from_numpy(np.stack(column)) for column in zip(*rows, strict=True))
    return token_nll(model(ids, positions, segments), targets)[targets >= 0]


def alone_nll(model: ArcticModel, ids: np.ndarray) -> torch.Tensor:
    """Nats of every id of a document but the first, in stretches of up to T that overlap by one id."""
    result = []
    for first in range(0, len(ids) - 1, LENGTH):
        part = torch.from_numpy(ids[first : first + LENGTH + 1].astype(np.int64))[None]
        inputs = part[:, :-1]
        logits = model(inputs, torch.arange(inputs.shape[1])[None], torch.zeros_like(inputs, dtype=torch.int32))
        result.append(token_nll(logits, part[:, 1:])[0])
    return torch.cat(result)


@torch.inference_mode()
def test_loss_of_packed_documents_is_that_of_each_alone(
    model: ArcticModel, documents: list[np.ndarray], sequences: TokenSequences
) -> None:
    packed = packed_nll(model, sequences)
    alone = torch.cat([alone_nll(model, ids) for ids in documents])
    assert len(packed) == len(alone) == sum(len(ids) - 1 for ids in documents)
    assert abs(packed.double().mean() - alone.double().mean()) < 1e-5
    torch.testing.assert_close(packed.sort().values, alone.sort().values, atol=1e-4, rtol=1e-4)
    # and it is the boundaries that make it so
    assert abs(packed_nll(model, sequences, one_document=True).double().mean() - alone.double().mean()) > 1e-3
