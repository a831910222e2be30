"""Two stages: `tokenizer`, one for all corpora, and `tokenize`, one for each."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from data_recipes.schema import TokenizerSection, TokenizeSection
from infra.artifact import Artifact
from infra.context import StageContext
from infra.fanout import ShardResult, forget_shards, map_shards, shard_key
from infra.inputs import Inputs, Node
from infra.stage import Metrics, Stage
from pipelines.artifacts.documents import HELDOUT, TRAIN
from pipelines.artifacts.formats.parquet import read_table
from pipelines.artifacts.tokenization.tokenizer import CONFIG_FILE, TOKENIZER_FILE, TextTokenizer
from pipelines.artifacts.tokenization.tokens import TokensIndex, id_dtype
from pipelines.tokenize.encode import SPLITS, Counts, Shard, encode_shard
from pipelines.tokenize.sampling import offer, offer_file, plan_offers
from pipelines.tokenize.training import CorpusOffers, Training, train
from pipelines.tokenize.training_documents import KeptShard, TrainingDocuments, kept_shards


@dataclass(frozen=True)
class TokenizerInputs(Inputs[Node]):
    """The training documents of every corpus, by name."""

    corpora: Mapping[str, TrainingDocuments[Node]]


@dataclass(frozen=True)
class TokenizeInputs(Inputs[Node]):
    """The tokenizer, and the training documents of one corpus."""

    tokenizer: Node
    documents: TrainingDocuments[Node]


def tokenizer_stage(section: TokenizerSection, corpora: Mapping[str, TrainingDocuments[Stage]]) -> Stage:
    """Train the run's tokenizer on the training documents of `corpora`, by name."""
    inputs = TokenizerInputs({name: corpora[name] for name in sorted(corpora)})
    params = {"vocab_size": section.vocab_size, "sample_bytes_per_corpus": section.sample_bytes_per_corpus}
    return Stage("tokenizer", "", 4, params, inputs.named(), partial(_train, section))


def stage(name: str, section: TokenizeSection, inputs: TokenizeInputs[Stage]) -> Stage:
    """Encode and pack the kept documents of corpus `name`, training and held-out, into sequences of T + 1 ids.

    The work raises ValueError if the corpus has no training document left.
    """
    return Stage("tokenize", name, 4, _params(section), inputs.named(), partial(_tokenize, section, name))


def _train(section: TokenizerSection, context: StageContext, artifacts: Mapping[str, Artifact]) -> Metrics:
    assert section.sample_bytes_per_corpus
    inputs: TokenizerInputs[Artifact] = TokenizerInputs.of(artifacts)
    corpora = {name: kept_shards(documents) for name, documents in sorted(inputs.corpora.items())}
    offers = plan_offers(corpora, section.sample_bytes_per_corpus)
    complete = [bool(result.metrics["complete"]) for result in map_shards(context, offer, offers)]
    by_corpus = {name: [shard.number for shard in offers if shard.corpus == name] for name in corpora}
    offered = tuple(
        CorpusOffers(name, tuple(offer_file(context.out, n) for n in numbers), tuple(complete[n] for n in numbers))
        for name, numbers in by_corpus.items()
    )
    training = Training(offered, section.sample_bytes_per_corpus, section.vocab_size)
    trained = map_shards(context, train, [training], part="training", unit="tokenizers")
    context.discard(offer_file(context.out, 0).parent)
    metrics = trained[0].metrics
    if metrics["data/vocab_size"] < section.vocab_size:
        context.warn(
            f"tokenizer.vocab_size = {section.vocab_size}, but a sample of {metrics['data/sample_documents']} "
            f"documents gives only {metrics['data/vocab_size']} ids. Raise tokenizer.sample_bytes_per_corpus or lower "
            "vocab_size."
        )
    return metrics


def _tokenize(section: TokenizeSection, name: str, context: StageContext, artifacts: Mapping[str, Artifact]) -> Metrics:
    inputs: TokenizeInputs[Artifact] = TokenizeInputs.of(artifacts)
    corpus = kept_shards(inputs.documents)
    shards = [
        Shard(number, kept_shard, inputs.tokenizer.path, section.sequence_length)
        for number, kept_shard in enumerate(corpus)
    ]
    results = _encode_shards(section, context, inputs, shards)
    counts = {split: [Counts(**result.metrics[split]) for result in results] for split in SPLITS}
    totals = {split: sum(shard_counts, Counts()) for split, shard_counts in counts.items()}
    if not totals[TRAIN].documents:
        raise ValueError(_nothing_left(name, corpus))
    if not totals[HELDOUT].documents:
        context.warn(
            f"corpus {name} has no held-out document, so evaluate leaves out its bits per byte. "
            "Raise source.heldout_fraction to measure it."
        )
    if changed := totals[TRAIN].changed + totals[HELDOUT].changed:
        num_documents = totals[TRAIN].documents + totals[HELDOUT].documents
        context.warn(
            f"corpus {name}: {changed:,} of {num_documents:,} documents do not come back from their tokens exactly, "
            "since the tokenizer changes text. Take one that keeps it."
        )
    tokenizer = TextTokenizer(inputs.tokenizer.path)
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
    return packing_metrics(totals[TRAIN], totals[HELDOUT], section.sequence_length + 1)


def _encode_shards(
    section: TokenizeSection, context: StageContext, inputs: TokenizeInputs[Artifact], shards: Sequence[Shard]
) -> list[ShardResult]:
    """Encode `shards`, and repeat those whose encoder turns out to differ from the library in another shard."""
    distrusted: dict[str, str] = {}
    while True:
        allowed = [replace(shard, distrusted=tuple(sorted(distrusted))) for shard in shards]
        keys = [_key(section, shard, inputs) for shard in allowed]
        results = map_shards(context, encode_shard, allowed, keys=keys)
        differences = {name: why for result in results for name, why in result.metrics["differences"].items()}
        for name in sorted(differences.keys() - distrusted.keys()):
            context.warn(
                f"tokenizing: {name} {differences[name]}, so a slower encoder makes the ids. They stay the same."
            )
        distrusted |= differences
        again = [number for number, result in enumerate(results) if result.metrics["encoder"] in distrusted]
        if not again:
            return results
        forget_shards(context, again)
        context.shards.clear()
        for split in SPLITS:
            context.discard(context.out / split)


def packing_metrics(train: Counts, heldout: Counts, row_length: int) -> Metrics:
    """Metrics of packed sequences of `row_length` ids."""
    return {
        "data/train_documents": train.documents,
        "data/train_tokens": train.tokens,
        "data/train_sequences": train.sequences,
        "data/heldout_documents": heldout.documents,
        "data/heldout_tokens": heldout.tokens,
        "data/changed_documents": train.changed + heldout.changed,
        "data/bytes_per_token": train.text_bytes / train.tokens,
        "data/packed_fraction": train.placed / (train.sequences * row_length),
    }


def _params(section: TokenizeSection) -> dict[str, int]:
    """The params of the tokens of documents that are not conversations."""
    return {"sequence_length": section.sequence_length}


def _key(section: TokenizeSection, shard: Shard, inputs: TokenizeInputs[Artifact]) -> str:
    """The inputs of the tokens of `shard`, so that taking down a document costs only its own shard, unless it was in
    the tokenizer's sample."""
    tokenizer, documents = inputs.tokenizer, inputs.documents
    return shard_key(
        shard.number,
        [_params(section), *shard.distrusted],
        *(tokenizer.digest(tokenizer.path / file) for file in (TOKENIZER_FILE, CONFIG_FILE)),
        documents.source.digest(shard.kept.documents),
        documents.filter.digest(shard.kept.filtered),
        documents.dedup.digest(shard.kept.decisions),
    )


def _nothing_left(name: str, corpus: Sequence[KeptShard]) -> str:
    """Reasons why the corpus is empty, and the remedy."""
    fates: Counter[str] = Counter()
    for documents, _, decisions in corpus:
        splits = read_table(documents, columns=["split"])["split"].to_pylist()
        reasons = read_table(decisions, columns=["reason"])["reason"].to_pylist()
        fates.update(reason or split for split, reason in zip(splits, reasons, strict=True))
    total = fates.total()
    if not total:
        return f"corpus {name}: its source has no document. Check source.inputs of its recipe."
    went = ", ".join(f"{fate} {count}" for fate, count in sorted(fates.items()))
    return (
        f"corpus {name}: no training document is left of {total} ({went}). "
        "Loosen the thresholds under [filter] or lower source.heldout_fraction in its recipe."
    )
