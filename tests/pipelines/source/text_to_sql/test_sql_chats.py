"""Generated conversations about databases: every answer runs, and none is about a held-out schema."""

import random
import sqlite3
from contextlib import closing

from pipelines.artifacts.conversations import read_conversation
from pipelines.artifacts.documents import Document
from pipelines.source.document_sink import DocumentSink
from pipelines.source.io.input_folder import InputFolder
from pipelines.source.text_to_sql.chats import TextToSqlChats, schema_chat
from pipelines.source.text_to_sql.generator import TextToSql, generate, sql_documents
from tests.kit.documents import Collected


def chats_about(num_schemas: int) -> TextToSqlChats:
    return TextToSqlChats(kind="text_to_sql_chat", num_schemas=num_schemas, pairs_per_schema=2, seed=1)


def documents(kind: TextToSqlChats, tmp_path) -> list[Document]:
    target = Collected()
    sink = DocumentSink(tmp_path, "all_text", 0.2, target)
    for split in kind.splits({}, InputFolder(tmp_path)):
        split.reader.read(sink)
    return target.documents


def test_every_answer_is_a_query_that_returns_rows() -> None:
    for schema, pairs in generate(1, 3, False, 0, 40):
        chat = schema_chat(schema, pairs, random.Random(0))
        assert [turn.role for turn in chat.turns] == ["user", "assistant"] * len(pairs)
        assert schema.text.strip() in chat.turns[0].content
        with closing(sqlite3.connect(":memory:")) as database:
            database.executescript(schema.script)
            for turn in chat.turns[1::2]:
                assert database.execute(turn.content).fetchall()


def test_no_conversation_is_about_a_schema_that_questions_are_held_out_on(tmp_path) -> None:
    made = documents(chats_about(300), tmp_path)
    asked = TextToSql(kind="text_to_sql", num_schemas=1, num_heldout_schemas=60, pairs_per_schema=2, seed=1)
    heldout = sql_documents(asked, True, 0, 60)

    assert len(made) == 300
    schemas = {document.text.partition("\n-- ")[0] for document in heldout}
    assert not any(schema in document.text for schema in schemas for document in made)


def test_conversations_are_the_same_each_time_and_worded_in_several_ways(tmp_path) -> None:
    made = documents(chats_about(60), tmp_path)

    assert made == documents(chats_about(60), tmp_path)
    chats = [read_conversation(document.text, document.attributes) for document in made]
    openings = {chat.prompt[:18] for chat in chats if chat}
    assert "The tables are:\n" in {opening[:16] for opening in openings}
    assert any(chat and "\n-- " in chat.prompt for chat in chats)
    assert {document.split for document in made} == {"train", "heldout"}
