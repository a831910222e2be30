"""Spider: its prompts, the query in an answer, and the right answers."""

import math
import random
import re
import sqlite3
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from pipelines.evaluate.engine.requests import Generation, Likelihood, LogLikelihood, Text
from pipelines.evaluate.task import DataError, Item, Verdict
from pipelines.evaluate.tasks.spider.prompt import create_tables, example_prompt, extract_query
from pipelines.evaluate.tasks.spider.task import Spider, spider_item
from tests.kit.real_data import REAL_DATA

REAL = REAL_DATA / "eval"
real = pytest.mark.skipif(not (REAL / "spider" / "dev.json").is_file(), reason=f"needs Spider under {REAL}")

SCHEMA: dict[str, Any] = {
    "db_id": "pets",
    "table_names_original": ["owner", "pet"],
    "column_names_original": [[-1, "*"], [0, "id"], [0, "full name"], [1, "id"], [1, "owner_id"], [1, "kind"]],
    "column_types": ["text", "number", "text", "number", "number", "text"],
    "primary_keys": [1, 3],
    "foreign_keys": [[4, 1]],
}
TABLES = """CREATE TABLE owner (
    id number,
    "full name" text,
    PRIMARY KEY (id)
);

CREATE TABLE pet (
    id number,
    owner_id number,
    kind text,
    PRIMARY KEY (id),
    FOREIGN KEY (owner_id) REFERENCES owner (id)
);"""
PARSED: dict[str, Any] = {
    "select": [False, [[0, [0, [0, 5, False], None]]]],
    "from": {"table_units": [["table_unit", 1]], "conds": []},
    "where": [],
    "groupBy": [],
    "having": [],
    "orderBy": [],
    "limit": None,
    "intersect": None,
    "union": None,
    "except": None,
}


def item(gold: str = "SELECT kind FROM pet", parsed: dict[str, Any] = PARSED, chat: bool = True) -> Item:
    row = {"db_id": "pets", "question": "Which kinds?", "query": gold, "sql": parsed}
    return spider_item(7, row, SCHEMA, chat)


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Spider:
    root = tmp_path_factory.mktemp("root")
    folder = root / "spider" / "database" / "pets"
    folder.mkdir(parents=True)
    connection = sqlite3.connect(folder / "pets.sqlite")
    connection.executescript(TABLES)
    connection.executemany("INSERT INTO owner VALUES (?, ?)", [(1, "Ann"), (2, "Bo")])
    pets = [(1, 1, "cat"), (2, 1, "dog"), (3, 2, "cat"), (4, 2, "hen")]
    connection.executemany("INSERT INTO pet VALUES (?, ?, ?)", pets)
    connection.execute("INSERT INTO owner VALUES (3, CAST(x'43ff' AS TEXT))")
    connection.commit()
    connection.close()
    return Spider(root)


def judge(task: Spider, items: Sequence[Item], texts: Sequence[str]) -> list[Verdict]:
    gold = Likelihood(-8 * math.log(2), False, 0)
    return task.score(items, [(Text(text, "end", 0), gold) for text in texts])


def test_prompt_is_the_published_one_and_gold_follows_the_same_text() -> None:
    asked, gold = item().requests
    prompt = (
        f"/* Given the following database schema: */\n{TABLES}\n\n"
        "/* Answer the following with no explanation: Which kinds? */"
    )
    assert isinstance(asked, Generation) and isinstance(gold, LogLikelihood)
    assert (asked.prompt, asked.form, asked.temperature) == (f"{prompt}\nSELECT", "message", 0)
    plain, _ = item(chat=False).requests
    assert isinstance(plain, Generation) and (plain.prompt, plain.form) == (asked.prompt, "plain")
    assert gold.context + gold.continuation == f"{prompt}\nSELECT kind FROM pet"
    assert (item().cluster, item().place, item().gold_text) == ("pets", ("spider/dev.json", 7), "SELECT kind FROM pet")


def test_examples_are_the_published_form_and_of_other_databases(tmp_path: Path) -> None:
    rows = [
        {"db_id": name, "question": f"Q{n} of {name}?", "query": f"SELECT {n} FROM {name}", "sql": PARSED}
        for n in range(3)
        for name in ("pets", "cars", "ships", "birds", "trees")
    ]
    task = Spider(tmp_path, shots=3, name="spider-3_shot")
    examples = {name: task._examples(rows, name) for name in ("pets", "cars")}
    assert [row["db_id"] for row in examples["pets"]] == ["cars", "ships", "birds"]
    assert [row["db_id"] for row in examples["cars"]] == ["pets", "ships", "birds"]
    assert example_prompt([]) == ""
    assert example_prompt(examples["cars"][:2]) == (
        "/* Some SQL examples are provided based on similar problems: */\n"
        "/* Answer the following with no explanation: Q0 of pets? */\nSELECT 0 FROM pets\n\n"
        "/* Answer the following with no explanation: Q0 of ships? */\nSELECT 0 FROM ships\n\n"
    )
    assert task.protocol.startswith("3-shot with examples of other databases")


@real
def test_every_question_of_the_few_shot_form_is_asked_and_none_shows_its_own_database() -> None:
    task = Spider(REAL, shots=3, name="spider-3_shot")
    items = task.items()
    assert len(items) == 1034
    schemas = {item.cluster: item.text.partition("\n")[0] for item in items}
    questions = {item.text.partition("\n")[0]: item.cluster for item in items}
    assert len(schemas) == 20
    for each in items:
        shown = re.findall(r"no explanation: (.*) \*/", each.requests[0].prompt)
        assert len(shown) == 4 and shown[-1] == each.text.partition("\n")[0]
        assert each.cluster not in {questions[question] for question in shown[:-1]}


def test_tables_of_the_prompt_are_sql() -> None:
    connection = sqlite3.connect(":memory:")
    connection.executescript(create_tables(SCHEMA))
    assert connection.execute("PRAGMA foreign_key_list(pet)").fetchone()[2:5] == ("owner", "owner_id", "id")
    assert [row[1] for row in connection.execute("PRAGMA table_info(owner)")] == ["id", "full name"]


@pytest.mark.parametrize(
    ("text", "query"),
    [
        (" kind FROM pet", "SELECT kind FROM pet"),
        ("\nkind\nFROM pet\n\n-- Next question", "SELECT kind\nFROM pet"),
        ("SELECT kind FROM pet", "SELECT kind FROM pet"),
        ("with p as (select 1) select * from p", "with p as (select 1) select * from p"),
        ("(SELECT 1) UNION SELECT 2", "(SELECT 1) UNION SELECT 2"),
        ("```sql\nSELECT kind\n\nFROM pet\n```\nThat is all.", "SELECT kind\n\nFROM pet"),
        ("Here it is:\n\n```\nselect kind from pet", "select kind from pet"),
        ("```sql\n-- kinds\nSELECT kind FROM pet\n```", "-- kinds\nSELECT kind FROM pet"),
        (" kind FROM pet\n```\nThis lists the kinds.", "SELECT kind FROM pet"),
        (" \n", ""),
        ("", ""),
    ],
)
def test_query_is_found_in_what_the_model_wrote(text: str, query: str) -> None:
    assert extract_query(text) == query


VERDICTS = [
    ("SELECT kind FROM pet", " kind FROM pet ORDER BY kind", "correct"),
    ("SELECT DISTINCT kind FROM pet", "SELECT kind FROM pet", "correct"),
    ("SELECT kind FROM pet", "SELECT kind FROM pet GROUP BY kind", "wrong rows"),
    ("SELECT kind FROM pet ORDER BY kind", "SELECT kind FROM pet ORDER BY kind DESC", "wrong rows"),
    ("SELECT kind, id FROM pet", "SELECT id, kind FROM pet; SELECT 1", "correct"),
    ("SELECT kind FROM pet", "SELECT kind, id FROM pet", "wrong rows"),
    ("SELECT count(*) FROM pet WHERE id >= 2", "SELECT 3.0 WHERE 3 > = 2", "correct"),
    ("SELECT kind FROM pet WHERE id = 1", "SELECT kind FROM pet WHERE id = value AND 1", "correct"),
    ("SELECT 2020 - id FROM pet", "SELECT YEAR(CURDATE()) - id FROM pet", "correct"),
    ('SELECT "full name" FROM owner WHERE id = 3', "SELECT 'C'", "correct"),
    ("SELECT id FROM pet WHERE id > 9", "SELECT kind, id FROM pet WHERE kind = 'cow'", "correct"),
    ("SELECT id FROM pet WHERE id > 9", "SELECT colour FROM pet", "error: no such column: colour"),
    ("SELECT id FROM pet WHERE id > 9", "```sql\nWITH p AS (SELECT 1) DELETE FROM pet\n```", "error: not authorized"),
    ("SELECT id FROM pet", "  ", "no query"),
]
"""Gold, the model's answer, and the verdict."""


def test_verdicts(task: Spider) -> None:
    verdicts = judge(task, [item(gold) for gold, _, _ in VERDICTS], [text for _, text, _ in VERDICTS])
    assert [verdict.reason for verdict in verdicts] == [reason for _, _, reason in VERDICTS]
    right = [float(reason == "correct") for _, _, reason in VERDICTS]
    assert [verdict.shares["execution_accuracy"] for verdict in verdicts] == [(part, 1.0) for part in right]


@pytest.mark.parametrize("num_sandboxes", [1, 2, 4])
def test_verdicts_are_the_same_for_any_number_of_queries_at_a_time(task: Spider, num_sandboxes: int) -> None:
    """All of them are under way at the same time, and paraphrases share the result of their gold query."""
    fresh = Spider(task.root, num_sandboxes=num_sandboxes)
    together, threads = threading.Barrier(num_sandboxes), set()

    class Watched(Likelihood):
        """An answer that is read when its item is judged."""

        @property
        def log_probability(self) -> float:  # type: ignore[override]
            if threading.get_ident() not in threads:
                threads.add(threading.get_ident())
                together.wait(timeout=60)
            return self[0]

    rows = VERDICTS * 3
    answers = [(Text(text, "end", 0), Watched(-1.0, False, 0)) for _, text, _ in rows]
    verdicts = fresh.score([item(gold) for gold, _, _ in rows], answers)
    assert [verdict.reason for verdict in verdicts] == [reason for _, _, reason in rows]
    assert len(threads) == num_sandboxes
    assert {query for _, query in fresh.gold_replies} == {gold for gold, _, _ in VERDICTS}


def test_a_question_whose_gold_query_returns_no_row_is_answered_by_chance(task: Spider) -> None:
    empty = item("SELECT kind FROM pet WHERE kind = 'cow'")
    verdicts = judge(task, [empty, item()], ["1 WHERE 0", "1 WHERE 0"])
    assert [verdict.reason for verdict in verdicts] == ["correct", "wrong rows"]
    assert [verdict.chance for verdict in verdicts] == [1.0, 0.0]


def test_every_item_adds_to_its_hardness_and_to_the_bits_of_gold(task: Spider) -> None:
    hard = PARSED | {"limit": 1, "orderBy": ["asc", [[0, [0, 3, False], None]]], "union": PARSED}
    verdicts = judge(task, [item(), item(parsed=hard)], ["", "SELECT kind FROM pet"])
    names = [set(verdict.shares) - {"execution_accuracy", "gold_bits_per_byte"} for verdict in verdicts]
    assert names == [{"execution_accuracy/easy"}, {"execution_accuracy/extra"}]
    assert verdicts[0].shares["gold_bits_per_byte"] == pytest.approx((8, len("\nSELECT kind FROM pet")))


def test_gold_query_that_fails_is_told_and_not_scored(task: Spider) -> None:
    with pytest.raises(
        DataError, match=r"pets\.sqlite: a gold query fails \(no such table: bird\).*Bring the database"
    ):
        judge(task, [item("SELECT * FROM bird")], ["SELECT 1"])


def test_missing_data_names_the_file_and_the_mend(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"dev\.json: missing\. Run: arctic eval-data fetch"):
        Spider(tmp_path).items()


@real
def test_levels_of_the_development_set_are_the_published_ones() -> None:
    items = Spider(REAL).items()
    assert Counter(item.gold.hardness for item in items) == {"easy": 248, "medium": 446, "hard": 174, "extra": 166}
    assert len({item.cluster for item in items}) == 20


@real
def test_gold_answers_some_questions_on_the_real_databases() -> None:
    items = random.Random(0).sample(Spider(REAL).items(), 30)
    assert {verdict.reason for verdict in judge(Spider(REAL), items, [item.gold_text for item in items])} == {"correct"}


@real
@pytest.mark.slow
def test_gold_answers_every_question_on_the_real_databases() -> None:
    items = Spider(REAL).items()
    verdicts = judge(Spider(REAL), items, [item.gold_text for item in items])
    assert Counter(verdict.reason for verdict in verdicts) == {"correct": 1034}


@real
@pytest.mark.slow
def test_verdicts_on_wrong_queries_are_the_official_evaluators() -> None:
    """Every question is answered with the gold query of another question on its database."""
    sqlparse = pytest.importorskip("sqlparse")
    items = Spider(REAL).items()
    generator = random.Random(0)
    asked = generator.sample(items, 300)
    texts = [generator.choice([other for other in items if other.cluster == item.cluster]).gold_text for item in asked]
    expected = [_official(sqlparse, item, text) for item, text in zip(asked, texts, strict=True)]
    verdicts = judge(Spider(REAL), asked, texts)
    assert [verdict.reason == "correct" for verdict in verdicts] == expected
    assert 5 < sum(expected) < 295


def _official(sqlparse: Any, item: Item, text: str) -> bool:
    """The evaluator's rules, without its pruning."""
    path = REAL / "spider" / "database" / item.cluster / f"{item.cluster}.sqlite"

    def run(query: str) -> list[tuple]:
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        connection.text_factory = lambda raw: raw.decode(errors="ignore")
        words = [token.value for token in sqlparse.parse(query)[0].flatten()]
        return connection.execute("".join(word for word in words if word.lower() != "distinct")).fetchall()

    gold, rows = run(item.gold_text), run(text)
    if not gold and not rows:
        return True
    if len(gold) != len(rows) or len(gold[0]) != len(rows[0]):
        return False
    orders = [
        [tuple(row[location] for location in order) for row in rows] for order in permutations(range(len(rows[0])))
    ]
    if "order by" in item.gold_text.lower():
        return any(moved == gold for moved in orders)
    return any(Counter(moved) == Counter(gold) for moved in orders)


def test_values_of_the_gold_query_are_plugged_in_only_if_the_task_says_so(task: Spider) -> None:
    gold = item("SELECT id FROM pet WHERE kind = 'cat' AND owner_id = 2")
    texts = [
        " id FROM pet WHERE kind = value AND owner_id = 7",
        " id FROM pet WHERE kind = 2 AND owner_id = 'cat'",
        " id FROM pet WHERE kind = 'hen' OR owner_id = 1",
        " id FROM pets WHERE kind = 'hen'",
    ]
    plugging = replace(task, plugs_values=True)
    items = [gold] * len(texts)
    assert [verdict.reason for verdict in judge(task, items, texts)][:3] == ["wrong rows"] * 3
    reasons = [verdict.reason for verdict in judge(plugging, items, texts)]
    assert reasons == ["correct", "correct", "wrong rows", "error: no such table: pets"]
    assert "--plug_value" in plugging.protocol and "--plug_value" not in task.protocol
