"""Conversations that begin alike: which prompts are compared, and what becomes of the decisions on whole texts.

prompt-select   each shard     the kept conversations, as documents to compare
prompt-...                     all passes over their first prompts
prompt-sort     each shard     the documents whose prompts are alike, by id
prompt-heirs    each id range  the same of all shards
prompt-merge    each shard     decisions on both, and both indexes of what is kept
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.artifacts.documents import READ_BATCH_ROWS, write_shard
from pipelines.artifacts.formats.parquet import ParquetFile, read_table
from pipelines.dedup.parts import COLUMNS, compared_texts

FIRST_PROMPT: Final = "first_prompt"


@dataclass(frozen=True)
class SelectPrompts:
    """One shard: selected/NNNNN.parquet, the kept documents with a first prompt, as `SignShard` reads them. A document
    stands for its whole cluster and ranks by the length of all of its text."""

    number: int
    documents: Path
    filtered: Path
    decisions: Path

    def run(self, folder: Path) -> Mapping[str, int]:
        decisions, filtered = read_table(self.decisions), read_table(self.filtered, columns=["quality"])
        lengths, has_prompt = [], []
        for batch in ParquetFile(self.documents).iter_batches(READ_BATCH_ROWS, columns=COLUMNS[FIRST_PROMPT]):
            lengths.append(pc.binary_length(batch["text"]))
            has_prompt.append(pc.not_equal(compared_texts(batch, FIRST_PROMPT), ""))
        columns = {
            "keep": pc.and_(decisions["keep"], pa.chunked_array(has_prompt, pa.bool_())),
            "quality": filtered["quality"],
            "size": decisions["cluster_size"],
            "length": pa.chunked_array(lengths, pa.int64()),
        }
        write_shard(pa.table(columns), folder / "selected", self.number)
        return {}
