"""The same documents in sequences of another length: packed again from their ids, without tokenizing them again."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from infra.artifact import Artifact
from infra.context import StageContext
from infra.fanout import map_shards, shard_key
from infra.inputs import Inputs, Node
from infra.stage import Metrics, Stage
from infra.store.integrity import require_intact
from pipelines.artifacts.documents import HELDOUT, TRAIN
from pipelines.artifacts.tokens import TokenSequences, packing_subject, write_token_shard
from pipelines.tokenize.encode import SPLITS, Counts
from pipelines.tokenize.packing.best_fit import fill_rows, pack
from pipelines.tokenize.stage import packing_metrics

VERSION = 1


@dataclass(frozen=True)
class RepackInputs(Inputs[Node]):
    """The packed tokens of one corpus."""

    tokens: Node


@dataclass(frozen=True)
class Repacked:
    """One shard of the corpus in the folder `tokens`, and its new sequence length."""

    number: int
    tokens: Path
    sequence_length: int


def repack_stage(corpus: str, sequence_length: int, tokens: Stage) -> Stage:
    """Pack the tokens of `corpus`, both splits, into sequences of `sequence_length` + 1 ids."""
    inputs = RepackInputs(tokens)
    work = partial(_repack, sequence_length)
    params = {"sequence_length": sequence_length}
    return Stage("tokenize", packing_subject(corpus, sequence_length), VERSION, params, inputs.named(), work)


def repack_shard(shard: Repacked, folder: Path) -> dict[str, Any]:
    """Write both splits of `shard` under `folder`. Returns Counts by split, those of texts being 0."""
    return {split: asdict(_repack_split(shard, split, folder)) for split in SPLITS}


def _repack(sequence_length: int, context: StageContext, artifacts: Mapping[str, Artifact]) -> Metrics:
    inputs: RepackInputs[Artifact] = RepackInputs.of(artifacts)
    index = TokenSequences(inputs.tokens.path, TRAIN).index
    shards = [Repacked(number, inputs.tokens.path, sequence_length) for number in range(len(index.shards[TRAIN]))]
    keys = [_key(shard, inputs.tokens) for shard in shards]
    results = map_shards(context, repack_shard, shards, keys=keys)
    counts = {split: [Counts(**result.metrics[split]) for result in results] for split in SPLITS}
    replace(
        index,
        sequence_length=sequence_length,
        shards={split: [each.sequences for each in counts[split]] for split in SPLITS},
    ).write(context.out)
    train, heldout = (
        replace(sum(counts[split], Counts()), text_bytes=index.text_bytes[split]) for split in (TRAIN, HELDOUT)
    )
    return packing_metrics(train, heldout, sequence_length + 1)


def _repack_split(shard: Repacked, split: str, folder: Path) -> Counts:
    sequences = TokenSequences(shard.tokens, split)
    pieces = _by_document(sequences.shard_pieces(shard.number))
    require_intact(shard.tokens / split / f"{shard.number:05d}.bin")
    ids, lengths = _documents(sequences, shard.number, pieces)
    row_length = shard.sequence_length + 1
    placement = pack(lengths, row_length)
    first = pieces.filter(pc.equal(pieces["doc_start"], 0))
    table = pa.table(
        {
            "sequence": placement.row,
            "start": placement.start,
            "length": placement.length,
            "doc_id": first["doc_id"].combine_chunks().take(pa.array(placement.document)),
            "doc_start": placement.doc_start,
            "doc_row": first["doc_row"].combine_chunks().take(pa.array(placement.document)),
        }
    )
    rows = fill_rows(ids, lengths, placement, row_length, sequences.index.pad_id)
    write_token_shard(rows, table, folder, split, shard.number)
    return Counts(
        documents=len(lengths),
        tokens=int(lengths.sum()),
        placed=int(placement.length.sum()),
        sequences=placement.num_rows,
    )


def _by_document(pieces: pa.Table) -> pa.Table:
    return pieces.sort_by([("doc_row", "ascending"), ("doc_start", "ascending")])


def _documents(sequences: TokenSequences, shard: int, pieces: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """The ids of all documents end to end, and how many each has. A piece that goes on a document begins with the last
    id of the piece before, which counts once."""
    if not pieces.num_rows:
        return np.empty(0, dtype=sequences.index.dtype), np.empty(0, dtype=np.int64)
    sequence, start, length, doc_start = (
        pieces[name].to_numpy().astype(np.int64) for name in ("sequence", "start", "length", "doc_start")
    )
    repeated = (doc_start > 0).astype(np.int64)
    first, count = sequence * (sequences.index.sequence_length + 1) + start + repeated, length - repeated
    flat = sequences.rows(shard).reshape(-1)
    ids = np.concatenate([flat[at : at + size] for at, size in zip(first.tolist(), count.tolist(), strict=True)])
    return ids, np.add.reduceat(count, np.flatnonzero(repeated == 0))


def _key(shard: Repacked, tokens: Artifact) -> str:
    files = [f"{split}/{shard.number:05d}.{kind}" for split in SPLITS for kind in ("bin", "parquet")]
    return shard_key(
        shard.number, {"sequence_length": shard.sequence_length}, *(tokens.digest(tokens.path / file) for file in files)
    )
