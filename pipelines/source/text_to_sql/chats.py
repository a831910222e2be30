"""Generated text-to-SQL as conversations: a schema and a question, the query, and more questions about the schema."""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from data_recipes.sections.inputs import TextToSqlChatInput
from pipelines.artifacts.conversations import ASSISTANT, USER, Conversation, Turn
from pipelines.source.document_sink import DocumentSink
from pipelines.source.generated.documents import generated_document, number_ranges
from pipelines.source.io.input_folder import InputFolder
from pipelines.source.protocol import InputSplit
from pipelines.source.text_to_sql.generator import ORIGIN, SCHEMAS_PER_SHARD, generate
from pipelines.source.text_to_sql.questions import Pair, prompt
from pipelines.source.text_to_sql.schemas import GENERATOR_VERSION, Schema, require_possible

FIRST = (
    "{schema}\n{question}",
    "{question}\n\n{schema}",
    "The tables are:\n{schema}\n{question} Answer in SQL.",
    "Write a SQLite query. {question}\n\n{schema}",
)
"""A user's first question, in addition to the form of the documents; {schema} ends with a line break."""
LATER = ("{question}", "And now: {question}", "Next question: {question}")
DOCUMENT_FORM_SHARE = 0.5
"""Share of the conversations whose first question has the form of the documents, which is also the form of held-out
questions."""


class TextToSqlChats(TextToSqlChatInput):
    """Conversations about training schemas of the kind text_to_sql with this `seed`: none of its held-out schemas is
    among them."""

    def fingerprint(self, folder: InputFolder) -> dict[str, Any]:  # noqa: ARG002 - lies in no folder
        """The generator's version. Raises InputError if the vocabulary has not so many schemas."""
        require_possible(self.num_schemas, heldout=False)
        return {"generator": GENERATOR_VERSION}

    def splits(self, fingerprint: Mapping[str, Any], folder: InputFolder) -> Iterator[InputSplit]:  # noqa: ARG002
        for numbers in number_ranges(self.num_schemas, SCHEMAS_PER_SHARD):
            yield InputSplit(SchemaChats(self, *numbers))


@dataclass(frozen=True)
class SchemaChats:
    """Conversations about schemas `first` to `last` - 1."""

    section: TextToSqlChats
    first: int
    last: int

    def read(self, sink: DocumentSink) -> None:
        section = self.section
        drawn = generate(section.seed, section.pairs_per_schema, False, self.first, self.last)
        for number, (schema, pairs) in enumerate(drawn, start=self.first):
            chat = schema_chat(schema, pairs, random.Random(f"chat/{section.seed}/{number}"))
            sink.write(
                generated_document(
                    chat.text,
                    f"text_to_sql_chat/{section.seed}",
                    origin=f"{ORIGIN} chat",
                    split=sink.draw_split(schema.text),
                    attributes=chat.attributes,
                )
            )


def schema_chat(schema: Schema, pairs: list[Pair], draw: random.Random) -> Conversation:
    """The questions of `pairs` one after the other, each with its query as the answer."""
    first, *later = pairs
    if draw.random() < DOCUMENT_FORM_SHARE:
        opening = prompt(schema, first.question).rstrip()
    else:
        opening = draw.choice(FIRST).format(schema=schema.text, question=first.question).rstrip()
    turns = [Turn(USER, opening), Turn(ASSISTANT, first.query)]
    for pair in later:
        turns += [Turn(USER, draw.choice(LATER).format(question=pair.question)), Turn(ASSISTANT, pair.query)]
    return Conversation(tuple(turns))
