"""Generated text-to-SQL: documents to learn from, and questions about databases that no document shows."""

import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from data_recipes.sections.inputs import TextToSqlInput
from pipelines.artifacts.documents import HELDOUT, TRAIN, Document
from pipelines.artifacts.questions import DIFFICULTIES
from pipelines.source.document_sink import DocumentSink
from pipelines.source.generated.documents import generated_document, number_ranges
from pipelines.source.io.input_folder import InputFolder
from pipelines.source.protocol import InputSplit
from pipelines.source.text_to_sql.questions import Pair, document_text, draw_pairs, prompt
from pipelines.source.text_to_sql.schemas import (
    GENERATOR_VERSION,
    Schema,
    require_possible,
    schema_slice,
    with_rows,
)

ORIGIN = f"text_to_sql {GENERATOR_VERSION}"
SCHEMAS_PER_SHARD = 1500


class TextToSql(TextToSqlInput):
    """Schemas for training, then schemas that no training document has, for evaluation."""

    def fingerprint(self, folder: InputFolder) -> dict[str, Any]:  # noqa: ARG002 - lies in no folder
        """The generator's version. Raises InputError if the vocabulary has not so many schemas."""
        require_possible(self.num_schemas, heldout=False)
        require_possible(self.num_heldout_schemas, heldout=True)
        return {"generator": GENERATOR_VERSION}

    def splits(self, fingerprint: Mapping[str, Any], folder: InputFolder) -> Iterator[InputSplit]:  # noqa: ARG002
        for heldout, count in ((False, self.num_schemas), (True, self.num_heldout_schemas)):
            for numbers in number_ranges(count, SCHEMAS_PER_SHARD):
                yield InputSplit(SqlSchemas(self, heldout, *numbers))

    def questions(self, prefix: str) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
        return sql_questions(self, prefix)


@dataclass(frozen=True)
class SqlSchemas:
    """Schemas `first` to `last` - 1 of one side of a text-to-SQL input."""

    section: TextToSql
    heldout: bool
    first: int
    last: int

    def read(self, sink: DocumentSink) -> None:
        for document in sql_documents(self.section, self.heldout, self.first, self.last):
            sink.write(document)


def sql_documents(section: TextToSql, heldout: bool, first: int, last: int) -> list[Document]:
    """Documents `first` to `last` - 1 of one side, one a schema."""
    documents = []
    for schema, pairs in generate(section.seed, section.pairs_per_schema, heldout, first, last):
        documents.append(
            generated_document(
                document_text(schema, pairs),
                f"text_to_sql/{section.seed}",
                origin=ORIGIN,
                split=HELDOUT if heldout else TRAIN,
                named_by=schema.text,
                attributes=json.dumps({"difficulty": _levels(pairs)}),
            )
        )
    return documents


def sql_questions(section: TextToSql, prefix: str) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Rows of QUESTIONS and DATABASES for the held-out schemas; `prefix` starts every database id."""
    questions, databases = [], []
    heldout = generate(section.seed, section.pairs_per_schema, True, 0, section.num_heldout_schemas)
    for number, (schema, pairs) in enumerate(heldout):
        database_id = f"{prefix}-{number:05d}"
        databases.append({"database_id": database_id, "script": schema.script})
        questions += [
            {
                "question_id": f"{database_id}-{index:02d}",
                "database_id": database_id,
                "prompt": prompt(schema, pair.question),
                "query": pair.query,
                "kind": pair.kind,
                "difficulty": pair.difficulty,
            }
            for index, pair in enumerate(pairs)
        ]
    return questions, databases


def _levels(pairs: list[Pair]) -> dict[str, int]:
    """Number of queries by Spider's level, of the levels that there are."""
    counts = Counter(pair.difficulty for pair in pairs)
    return {level: counts[level] for level in DIFFICULTIES if counts[level]}


def generate(seed: int, pairs_per_schema: int, heldout: bool, first: int, last: int) -> list[tuple[Schema, list[Pair]]]:
    """Schemas `first` to `last` - 1 of one side, each with rows and its pairs."""
    generated = []
    for number, schema in enumerate(schema_slice(seed, heldout, first, last), start=first):
        draw = random.Random(f"rows/{seed}/{heldout}/{number}")
        filled = with_rows(schema, draw)
        generated.append((filled, draw_pairs(filled, pairs_per_schema, draw)))
    return generated
