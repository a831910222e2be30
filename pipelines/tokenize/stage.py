"""Two stages: `tokenizer`, one for all corpora, and `tokenize`, one for each."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from data_recipes.schema import TokenizerSection, TokenizeSection
from infra.context import StageContext
from infra.fanout import map_shards
from infra.stage import Metrics, Resources, Stage
from infra.store import Artifact
from pipelines.artifacts.documents import HELDOUT, TRAIN, iter_kept, shard_paths
from pipelines.artifacts.tokenizer import TOKENIZER_FILE, TextTokenizer
from pipelines.artifacts.tokens import TokensIndex, id_dtype
from pipelines.tokenize.encode import SPLITS, Counts, Shard, encode_shard
from pipelines.tokenize.vocabulary import sample, train_tokenizer


def tokenizer_stage(section: TokenizerSection, corpora: Mapping[str, tuple[Stage, Stage]]) -> Stage:
    """Train the run's tokenizer on kept training documents of `corpora`: (source, dedup) by corpus name."""
    names = sorted(corpora)
    inputs = {f"source:{name}": corpora[name][0] for name in names} | {
        f"dedup:{name}": corpora[name][1] for name in names
    }
    work = partial(_train, section, names)
    return Stage("tokenizer", "", 1, section.as_params(), inputs, work, Resources(num_cpus=1))


def stage(name: str, section: TokenizeSection, tokenizer: Stage, source: Stage, dedup: Stage) -> Stage:
    """Encode and pack the kept documents of corpus `name`, training and held-out, into sequences of T + 1 ids.

    The work raises ValueError where the corpus has no training document left.
    """
    inputs = {"tokenizer": tokenizer, "source": source, "dedup": dedup}
    return Stage("tokenize", name, 1, section.as_params(), inputs, partial(_tokenize, section, name))


def _train(
    section: TokenizerSection, names: Sequence[str], context: StageContext, inputs: Mapping[str, Artifact]
) -> Metrics:
    texts: list[str] = []
    for count, name in enumerate(names, start=1):
        kept = _kept(inputs[f"source:{name}"].path, inputs[f"dedup:{name}"].path)
        texts += sample(kept, section.sample_bytes_per_corpus)
        context.progress(count, len(names), "corpora sampled")
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    tokenizer = train_tokenizer(texts, section.vocab_size)
    tokenizer.save(str(context.out / TOKENIZER_FILE), pretty=True)
    vocab_size = tokenizer.get_vocab_size()
    if vocab_size < section.vocab_size:
        context.warn(
            f"tokenizer.vocab_size = {section.vocab_size}, but a sample of {len(texts)} documents gives only "
            f"{vocab_size} ids. Raise tokenizer.sample_bytes_per_corpus or lower vocab_size."
        )
    sample_bytes = sum(len(text.encode()) for text in texts)
    return {
        "data/vocab_size": vocab_size,
        "data/sample_documents": len(texts),
        "data/sample_bytes": sample_bytes,
    }


def _tokenize(section: TokenizeSection, name: str, context: StageContext, inputs: Mapping[str, Artifact]) -> Metrics:
    source, dedup = inputs["source"].path, inputs["dedup"].path
    shards = [
        Shard(number, documents, decisions, inputs["tokenizer"].path, section.sequence_length)
        for number, (documents, decisions) in enumerate(_shards(source, dedup))
    ]
    results = map_shards(context, encode_shard, shards)
    counts = {split: [Counts(**result.metrics[split]) for result in results] for split in SPLITS}
    totals = {split: sum(shard_counts, Counts()) for split, shard_counts in counts.items()}
    if not totals[TRAIN].documents:
        raise ValueError(_nothing_left(name, source, dedup))
    if not totals[HELDOUT].documents:
        context.warn(
            f"corpus {name} has no held-out document, so evaluate leaves out its bits per byte. "
            "Raise source.heldout_fraction to measure it."
        )
    tokenizer = TextTokenizer(inputs["tokenizer"].path)
    TokensIndex(
        sequence_length=section.sequence_length,
        dtype=id_dtype(tokenizer.vocab_size),
        vocab_size=tokenizer.vocab_size,
        end_id=tokenizer.end_id,
        pad_id=tokenizer.pad_id,
        shards={split: [shard.sequences for shard in counts[split]] for split in SPLITS},
        text_bytes={split: totals[split].text_bytes for split in SPLITS},
        num_tokens={split: totals[split].tokens for split in SPLITS},
    ).write(context.out)
    return _metrics(totals[TRAIN], totals[HELDOUT], section.sequence_length + 1)


def _metrics(train: Counts, heldout: Counts, row_length: int) -> Metrics:
    return {
        "data/train_documents": train.documents,
        "data/train_tokens": train.tokens,
        "data/train_sequences": train.sequences,
        "data/heldout_documents": heldout.documents,
        "data/heldout_tokens": heldout.tokens,
        "data/bytes_per_token": train.text_bytes / train.tokens,
        "data/packed_fraction": train.placed / (train.sequences * row_length),
    }


def _shards(source: Path, dedup: Path) -> Iterator[tuple[Path, Path]]:
    return zip(shard_paths(source, "documents"), shard_paths(dedup, "decisions"), strict=True)


def _kept(source: Path, dedup: Path) -> Iterator[pa.RecordBatch]:
    for documents, decisions in _shards(source, dedup):
        yield from iter_kept(documents, decisions, TRAIN)


def _nothing_left(name: str, source: Path, dedup: Path) -> str:
    """Where the documents of an empty corpus went, and what to do."""
    fates: Counter[str] = Counter()
    for documents, decisions in _shards(source, dedup):
        splits = pq.read_table(documents, columns=["split"])["split"].to_pylist()
        reasons = pq.read_table(decisions, columns=["reason"])["reason"].to_pylist()
        fates.update(reason or split for split, reason in zip(splits, reasons, strict=True))
    total = fates.total()
    if not total:
        return f"corpus {name}: its source has no document. Check source.inputs of its recipe."
    went = ", ".join(f"{fate} {count}" for fate, count in sorted(fates.items()))
    return (
        f"corpus {name}: no training document is left of {total} ({went}). "
        "Loosen the thresholds under [filter] or lower source.heldout_fraction in its recipe."
    )
