"""The stage `tokenize` of a corpus of conversations."""

from collections import Counter
from collections.abc import Mapping
from functools import partial

from data_recipes.schema import TokenizeSection
from infra.artifact import Artifact
from infra.context import StageContext
from infra.fanout import map_shards, shard_key
from infra.stage import Metrics, Stage
from pipelines.artifacts.documents import HELDOUT, TRAIN
from pipelines.artifacts.tokenization.tokenizer import CONFIG_FILE, TOKENIZER_FILE
from pipelines.artifacts.tokenization.tokens import TokensIndex
from pipelines.tokenize.chat.encode import ChatTokenizer
from pipelines.tokenize.chat.shard import LOST, SPLITS, ChatShard, ConversationError, encode_shard
from pipelines.tokenize.stage import TokenizeInputs
from pipelines.tokenize.training_documents import kept_shards


def stage(name: str, subject: str, section: TokenizeSection, inputs: TokenizeInputs[Stage], *, pairs: bool) -> Stage:
    """Render the kept conversations of corpus `name` in the tokenizer's chat template, training and held-out, and pack
    them into sequences of T + 1 ids, with a mark on each id that the assistant wrote.

    With `pairs`, a document is the chosen and the rejected answer to one prompt: two pieces one after the other.

    The work raises ConversationError if a document is no conversation or none is left to train on.
    """
    params = {**section.as_params(), "form": "pairs" if pairs else "chat"}
    return Stage("tokenize", subject, 1, params, inputs.named(), partial(_tokenize, section, name, pairs))


def _tokenize(
    section: TokenizeSection, name: str, pairs: bool, context: StageContext, artifacts: Mapping[str, Artifact]
) -> Metrics:
    inputs: TokenizeInputs[Artifact] = TokenizeInputs.of(artifacts)
    folder = inputs.tokenizer.path
    shards = [
        ChatShard(number, kept, folder, section.sequence_length, section.long_conversations, pairs)
        for number, kept in enumerate(kept_shards(inputs.documents))
    ]
    results = map_shards(context, encode_shard, shards, keys=[_key(section, shard, inputs) for shard in shards])
    counts = {split: [Counter(result.metrics[split]) for result in results] for split in SPLITS}
    totals = {split: sum(counts[split], Counter[str]()) for split in SPLITS}
    _report_losses(name, section, totals[TRAIN] + totals[HELDOUT], context)
    if not totals[TRAIN]["trained_tokens"]:
        raise ConversationError(
            f"corpus {name}: no conversation is left to train on. Loosen the thresholds under [filter], lower "
            "source.heldout_fraction in its recipe, or raise tokenize.sequence_length."
        )
    tokenizer = ChatTokenizer(folder)
    TokensIndex(
        sequence_length=section.sequence_length,
        dtype=tokenizer.dtype,
        vocab_size=tokenizer.text.vocab_size,
        end_id=tokenizer.text.end_id,
        pad_id=tokenizer.text.pad_id,
        shards={split: [shard["sequences"] for shard in counts[split]] for split in SPLITS},
        text_bytes={split: totals[split]["text_bytes"] for split in SPLITS},
        num_tokens={split: totals[split]["tokens"] for split in SPLITS},
        marks_trained=True,
        pairs=pairs,
    ).write(context.out)
    return _metrics(totals[TRAIN], totals[HELDOUT], section.sequence_length + 1)


def _report_losses(name: str, section: TokenizeSection, total: Counter[str], context: StageContext) -> None:
    """Warn of conversations that are not trained as they are."""
    everything = total["documents"] + sum(total[name] for name in LOST)
    if total["too_long"]:
        context.warn(
            f"corpus {name}: {total['too_long']:,} of {everything:,} conversations are longer than "
            f"tokenize.sequence_length = {section.sequence_length} and are left out. Raise it, or set "
            'tokenize.long_conversations = "truncate".'
        )
    if total["truncated"]:
        context.warn(
            f"corpus {name}: {total['truncated']:,} of {everything:,} conversations are cut at "
            f"tokenize.sequence_length = {section.sequence_length}. Raise it to keep their ends."
        )
    if total["spells_marks"]:
        context.warn(
            f"corpus {name}: {total['spells_marks']:,} of {everything:,} conversations are left out, since a speaker "
            "writes out a special token of the tokenizer. Take these tokens out of the text to train on them."
        )
    if total["without_pair"] or total["equal_sides"]:
        context.warn(
            f"corpus {name}: of {everything:,} conversations {total['without_pair']:,} have no rejected answer and "
            f"{total['equal_sides']:,} two equal ones. They are left out, since there is nothing to prefer in them."
        )


def _metrics(train: Counter[str], heldout: Counter[str], row_length: int) -> Metrics:
    lost = {name: train[name] + heldout[name] for name in (*LOST, "truncated")}
    return {
        "data/train_documents": train["documents"],
        "data/train_tokens": train["tokens"],
        "data/train_sequences": train["sequences"],
        "data/trained_tokens": train["trained_tokens"],
        "data/trained_fraction": train["trained_tokens"] / train["tokens"],
        "data/heldout_documents": heldout["documents"],
        "data/heldout_tokens": heldout["tokens"],
        "data/bytes_per_token": train["text_bytes"] / train["tokens"],
        "data/packed_fraction": train["tokens"] / (train["sequences"] * row_length),
        **{f"data/{name}_conversations": count for name, count in lost.items()},
    }


def _key(section: TokenizeSection, shard: ChatShard, inputs: TokenizeInputs[Artifact]) -> str:
    """The inputs of the tokens of `shard`."""
    tokenizer, documents = inputs.tokenizer, inputs.documents
    return shard_key(
        shard.number,
        section.as_params(),
        "pairs" if shard.pairs else "chat",
        *(tokenizer.digest(tokenizer.path / file) for file in (TOKENIZER_FILE, CONFIG_FILE)),
        documents.source.digest(shard.kept.documents),
        documents.filter.digest(shard.kept.filtered),
        documents.dedup.digest(shard.kept.decisions),
    )
