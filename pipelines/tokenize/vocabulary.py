"""Byte-level BPE on a stated sample: the same documents and the same bytes of result whatever the order and threads."""

from collections.abc import Iterable, Sequence

import pyarrow as pa
import pyarrow.compute as pc
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from pipelines.artifacts.documents import DOCUMENTS
from pipelines.artifacts.tokenizer import SPECIAL_TOKENS

WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Where merges may not cross: the rule of Qwen 2 (Llama 3's with single digits). One digit a token, because numbers
of SQL and code then always break at the same places and a value can be copied digit by digit; indentation stays
in runs, which code needs."""


SAMPLE = pa.schema([DOCUMENTS.field("doc_id"), DOCUMENTS.field("text")])


def train_tokenizer(texts: Sequence[str], vocab_size: int) -> Tokenizer:
    """A byte-level BPE tokenizer of at most `vocab_size` ids, special tokens first, then all 256 bytes.

    Byte pair encoding after Sennrich et al. 2016 (arXiv 1508.07909), on bytes as in GPT-2. Has fewer ids than
    asked where the texts have no more pairs that occur twice.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer, length=len(texts))
    return tokenizer


def sample(batches: Iterable[pa.RecordBatch], max_bytes: int) -> list[str]:
    """Texts of the first documents by doc_id, which is a digest, up to the one that reaches `max_bytes` of UTF-8.

    `batches` have doc_id and text, in any order. Holds a few times `max_bytes` in memory.
    """
    held = [SAMPLE.empty_table()]
    for batch in batches:
        held.append(pa.Table.from_batches([batch.select(SAMPLE.names)]).cast(SAMPLE))
        if sum(table.nbytes for table in held) > 4 * max_bytes:
            held = [_first(held, max_bytes)]
    return _first(held, max_bytes)["text"].to_pylist()


def _first(tables: Sequence[pa.Table], max_bytes: int) -> pa.Table:
    table = pa.concat_tables(tables).sort_by("doc_id")
    reached = pc.cumulative_sum(pc.cast(pc.binary_length(table["text"]), pa.int64()))
    return table.slice(0, pc.sum(pc.less(reached, max_bytes), min_count=0).as_py() + 1)
