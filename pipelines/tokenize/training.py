"""A sample of every corpus into a tokenizer: one piece of work, done by one worker."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.artifacts.formats.parquet import write_table
from pipelines.artifacts.tokenization.tokenizer import SAMPLE, SAMPLE_FILE, vocab_size
from pipelines.tokenize.sampling import choose, iter_texts
from pipelines.tokenize.vocabulary import train_tokenizer, write_tokenizer


@dataclass(frozen=True)
class CorpusOffers:
    """Files of one corpus' offers, and which of them have every document."""

    corpus: str
    files: tuple[Path, ...]
    complete: tuple[bool, ...]


@dataclass(frozen=True)
class Training:
    """The training texts, and the size of the vocabulary."""

    corpora: tuple[CorpusOffers, ...]
    sample_bytes_per_corpus: int
    vocab_size: int


def train(training: Training, folder: Path) -> dict[str, float]:
    """Write tokenizer.json, its configuration and SAMPLE; returns the metrics of the stage."""
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    samples = [choose(corpus.files, corpus.complete, training.sample_bytes_per_corpus) for corpus in training.corpora]
    texts = (iter_texts(corpus.files, sample) for corpus, sample in zip(training.corpora, samples, strict=True))
    tokenizer = train_tokenizer(chain.from_iterable(texts), training.vocab_size)
    write_tokenizer(tokenizer, folder)
    write_table(_sample_table(training.corpora, samples), folder / SAMPLE_FILE)
    metrics: dict[str, float] = {
        "data/vocab_size": vocab_size(tokenizer),
        "data/sample_documents": 0,
        "data/sample_bytes": 0,
    }
    for corpus, sample in zip(training.corpora, samples, strict=True):
        text_bytes = pc.sum(sample["text_bytes"], min_count=0).as_py()
        metrics[f"data/sample_bytes_{corpus.corpus}"] = text_bytes
        metrics["data/sample_bytes"] += text_bytes
        metrics["data/sample_documents"] += len(sample)
    return metrics


def _sample_table(corpora: Sequence[CorpusOffers], samples: Sequence[pa.Table]) -> pa.Table:
    names = np.repeat([corpus.corpus for corpus in corpora], [len(sample) for sample in samples])
    table = pa.concat_tables([sample.select(["doc_id", "text_bytes"]) for sample in samples])
    return table.add_column(0, "corpus", pa.array(names, pa.string())).cast(SAMPLE)
