"""Generated text-to-SQL: every query answers, the sides share no table, a prompt is how a document starts."""

import itertools
import json
import random
import re
import sqlite3
from collections import Counter
from pathlib import Path

import pytest

from pipelines.artifacts.documents import HELDOUT, TRAIN
from pipelines.source.errors import InputError
from pipelines.source.io.input_folder import InputFolder
from pipelines.source.text_to_sql import schemas as sql_schemas
from pipelines.source.text_to_sql.difficulty import count_components
from pipelines.source.text_to_sql.generator import TextToSql, sql_documents, sql_questions
from pipelines.source.text_to_sql.questions import KINDS, draw_pairs, prompt
from pipelines.source.text_to_sql.schemas import schema_slice, schemas, with_rows
from pipelines.source.text_to_sql.vocabulary import LABELS, NUMBER_RANGES, TEXT_VALUES, WORLDS

SECTION = TextToSql(kind="text_to_sql", num_schemas=400, num_heldout_schemas=40, pairs_per_schema=4, seed=5)


@pytest.fixture(scope="module")
def asked():
    return sql_questions(SECTION, "1")


def test_every_word_of_the_vocabulary_is_defined():
    columns = {column for tables in WORLDS.values() for words in tables.values() for column in words.split()}
    assert columns == {*LABELS, *NUMBER_RANGES, *TEXT_VALUES}
    assert all(words.split()[0] in LABELS for tables in WORLDS.values() for words in tables.values())
    assert all((last - first) // step >= 13 for first, last, step in NUMBER_RANGES.values()), "rows need that many"


def test_every_gold_query_runs_and_returns_rows(asked):
    questions, databases = asked
    scripts = {row["database_id"]: row["script"] for row in databases}
    assert len(questions) == 160 and len(scripts) == 40
    for question in questions:
        database = sqlite3.connect(":memory:")
        database.executescript("PRAGMA foreign_keys = ON;" + scripts[question["database_id"]])
        assert question["query"].endswith(";")
        rows = database.execute(question["query"]).fetchall()
        assert any(value is not None for row in rows for value in row), question
        database.close()


def test_train_and_heldout_sides_share_no_table():
    sides = [
        {table for schema in schema_slice(5, heldout, 0, 300) for table in schema.definition}
        for heldout in (False, True)
    ]
    assert all(sides) and sides[0].isdisjoint(sides[1])


def test_schemas_are_different_and_a_slice_is_a_part_of_the_whole():
    drawn = schema_slice(5, False, 0, 400)
    assert len({schema.definition for schema in drawn}) == 400
    assert schema_slice(5, False, 100, 120) == drawn[100:120]
    assert schema_slice(6, False, 0, 5) != drawn[:5]


def test_a_vocabulary_that_is_used_up_is_an_error(monkeypatch):
    monkeypatch.setattr(sql_schemas, "WORLDS", {"one": {"singer": "name age year price city color"}})
    monkeypatch.setattr(sql_schemas, "NUM_TABLES", (1,))
    with pytest.raises(ValueError, match="only about .* different schemas. Lower num_schemas"):
        list(itertools.islice(schemas(1, False), 100))


def test_a_number_of_schemas_that_the_vocabulary_cannot_give_is_refused_before_any_is_drawn(monkeypatch):
    columns = "name age year price city color"
    monkeypatch.setattr(sql_schemas, "WORLDS", {"one": {"singer": columns, "album": columns}})
    monkeypatch.setattr(sql_schemas, "NUM_TABLES", (1, 2))
    monkeypatch.setattr(sql_schemas, "MAX_REPEATS", 10_000)
    num_possible = sql_schemas.num_possible.__wrapped__
    monkeypatch.setattr(sql_schemas, "num_possible", num_possible)
    for heldout in (False, True):
        drawn = []
        with pytest.raises(ValueError, match="only about"):
            drawn.extend(schemas(1, heldout))
        assert num_possible(heldout) > 4
        assert num_possible(heldout) == len(drawn)
    fields = {"num_schemas": 1, "num_heldout_schemas": 1}
    for field in fields:
        with pytest.raises(InputError, match=f"{field} = 1000: the vocabulary gives"):
            SECTION.model_copy(update={**fields, field: 1000}).fingerprint(InputFolder(Path()))


def test_shards_of_any_size_make_the_same_documents():
    whole = sql_documents(SECTION, False, 0, 60)
    parts = sql_documents(SECTION, False, 0, 7) + sql_documents(SECTION, False, 7, 60)
    assert whole == parts
    assert {document.split for document in whole} == {TRAIN}
    assert {document.split for document in sql_documents(SECTION, True, 0, 5)} == {HELDOUT}


def test_a_prompt_is_how_a_heldout_document_starts(asked):
    documents = sql_documents(SECTION, True, 0, SECTION.num_heldout_schemas)
    for document, (_, questions) in zip(
        documents, itertools.groupby(asked[0], lambda q: q["database_id"]), strict=True
    ):
        first, *others = questions
        assert document.text.startswith(first["prompt"] + first["query"] + "\n")
        for other in others:
            line = other["prompt"].splitlines()[-1]
            assert f"{line}\n{other['query']}\n" in document.text


def test_no_question_of_training_has_the_schema_of_a_heldout_question(asked):
    documents = "\n".join(document.text for document in sql_documents(SECTION, False, 0, SECTION.num_schemas))
    headers = {row["prompt"].partition("\n-- ")[0] for row in asked[0]}
    assert not any(f"\n{header}\n-- " in documents for header in headers)


def test_documents_are_far_from_near_duplicates():
    shingles = []
    for document in sql_documents(SECTION, False, 0, 150):
        words = re.findall(r"\w+", document.text.lower())
        shingles.append({tuple(words[i : i + 5]) for i in range(len(words) - 4)})
    near = [len(a & b) / len(a | b) for a, b in itertools.combinations(shingles, 2)]
    assert max(near) < 0.8 and sum(value > 0.4 for value in near) < 0.001 * len(near)


def test_all_kinds_come_easy_ones_more_often_in_many_wordings():
    schema_pairs = [
        (schema, draw_pairs(schema, 4, random.Random(number)))
        for number, schema in enumerate(with_rows(each, random.Random(1)) for each in schema_slice(5, False, 0, 400))
    ]
    kinds = Counter(pair.kind for _, pairs in schema_pairs for pair in pairs)
    assert set(kinds) == set(KINDS)
    assert kinds["filter"] > 3 * kinds["nested"] > 0
    levels = Counter(pair.difficulty for _, pairs in schema_pairs for pair in pairs)
    assert levels["easy"] > levels["medium"] > levels["hard"] > 30 and levels["extra"] > 15
    openings = {pair.question.split()[0] for _, pairs in schema_pairs for pair in pairs}
    assert openings >= {"How", "List", "Show", "Which", "Count", "Find", "Give", "What", "For", "Return", "Tell"}
    schema, pairs = schema_pairs[0]
    assert prompt(schema, pairs[0].question) == f"{schema.text}-- {pairs[0].question}\n"


def test_the_level_stands_with_questions_and_is_counted_in_documents(asked):
    documents = sql_documents(SECTION, True, 0, SECTION.num_heldout_schemas)
    counted: Counter[str] = Counter()
    for document in documents:
        counted.update(json.loads(document.attributes)["difficulty"])
    assert counted == Counter(row["difficulty"] for row in asked[0])
    assert all(count_components(row["query"]).difficulty == row["difficulty"] for row in asked[0])


def test_the_row_with_most_or_fewest_children_is_no_tie():
    for number, schema in enumerate(with_rows(each, random.Random(2)) for each in schema_slice(5, False, 0, 60)):
        for pair in draw_pairs(schema, 40, random.Random(number)):
            if pair.kind == "most_children":
                database = sqlite3.connect(":memory:")
                database.executescript(schema.script)
                everyone = pair.query.replace(" LIMIT 1;", ";").replace("SELECT ", "SELECT count(*), ", 1)
                first, *others = database.execute(everyone).fetchall()
                assert first[0] not in [count for count, _ in others], pair
                database.close()


SQL_WORDS = re.findall(
    r"\w+",
    "SELECT FROM WHERE ORDER BY DESC LIMIT GROUP HAVING JOIN ON IN NOT DISTINCT AND UNION INTERSECT EXCEPT",
)
FUNCTIONS = ["count", "avg", "max", "min", "sum"]


def test_queries_name_only_what_the_schema_has_and_questions_name_what_queries_test(asked):
    for question in asked[0]:
        existing = set(re.findall(r"\w+", question["prompt"].partition("\n-- ")[0]))
        names = set(re.findall(r"[A-Za-z_]+", re.sub(r"'[^']*'", "", question["query"])))
        assert names <= existing.union(SQL_WORDS, FUNCTIONS), question
        asked_for = question["prompt"].splitlines()[-1]
        for value in re.findall(r"'([^']*)'|[<>]=? (\d+)", question["query"]):
            assert "".join(value) in asked_for
