"""The stage: the same documents in sequences of another length."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

from infra.artifact import Artifact
from infra.context import StageContext
from infra.fanout import map_shards, shard_key
from infra.inputs import Inputs, Node
from infra.stage import Metrics, Stage
from pipelines.artifacts.documents import HELDOUT, TRAIN
from pipelines.artifacts.tokenization.tokens import TokenSequences, packing_subject
from pipelines.tokenize.encode import SPLITS, Counts
from pipelines.tokenize.repack.shard import Repacked, repack_shard
from pipelines.tokenize.stage import packing_metrics

VERSION = 1


@dataclass(frozen=True)
class RepackInputs(Inputs[Node]):
    """The packed tokens of one corpus."""

    tokens: Node


def repack_stage(corpus: str, sequence_length: int, tokens: Stage) -> Stage:
    """Pack the tokens of `corpus`, both splits, into sequences of `sequence_length` + 1 ids."""
    inputs = RepackInputs(tokens)
    work = partial(_repack, sequence_length)
    params = {"sequence_length": sequence_length}
    return Stage("tokenize", packing_subject(corpus, sequence_length), VERSION, params, inputs.named(), work)


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


def _key(shard: Repacked, tokens: Artifact) -> str:
    files = [f"{split}/{shard.number:05d}.{kind}" for split in SPLITS for kind in ("bin", "parquet")]
    return shard_key(
        shard.number, {"sequence_length": shard.sequence_length}, *(tokens.digest(tokens.path / file) for file in files)
    )
