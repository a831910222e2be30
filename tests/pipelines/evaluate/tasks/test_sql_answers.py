"""A verdict shows whether the answer's rows are the gold query's."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.evaluate.tasks.sql_answers import Checker, Question, extract_query, is_ordered, same_rows
from pipelines.sandbox import Reply, SqlSandbox

SCRIPT = "CREATE TABLE t (a INTEGER, b TEXT); INSERT INTO t VALUES (1, 'x'), (2, 'y'), (3, 'x');"


@pytest.mark.parametrize(
    ("text", "query"),
    [
        (" SELECT 1; SELECT 2", "SELECT 1"),
        ("SELECT a FROM t\nQuestion: next", "SELECT a FROM t"),
        ("\nSELECT a", "SELECT a"),
        ("SELECT a FR", "SELECT a FR"),
        ("\n\n", ""),
        (";", ""),
        ("", ""),
    ],
)
def test_query_ends_at_its_mark_or_line(text: str, query: str) -> None:
    assert extract_query(text) == query


def question(gold: str) -> Question:
    return Question("q7", "count", "easy", "How many?", gold, SCRIPT)


@pytest.fixture(scope="module")
def checker() -> Iterator[Checker]:
    with SqlSandbox() as gold, SqlSandbox(cpu_s=0.2) as answers:
        yield Checker(gold, answers)


@pytest.mark.parametrize(
    ("gold", "answer", "verdict"),
    [
        ("SELECT a FROM t", "SELECT a FROM t ORDER BY a DESC", "correct"),
        ("SELECT a FROM t ORDER BY a", "SELECT a FROM t ORDER BY a DESC", "wrong rows"),
        ("SELECT b FROM t", "SELECT DISTINCT b FROM t", "wrong rows"),
        ("SELECT COUNT(*) FROM t", "SELECT 3.0", "correct"),
        ("SELECT a FROM t WHERE a > 1", "SELECT a, b FROM t WHERE a > 1", "wrong rows"),
        ("SELECT a FROM t WHERE a = 1", "SELECT '1'", "wrong rows"),
        ("SELECT a FROM t", "SELECT c FROM t", "error: no such column: c"),
        ("SELECT a FROM t", "", "no query"),
        (
            "SELECT a FROM t",
            "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n FROM r) SELECT MAX(n) FROM r",
            "timeout",
        ),
    ],
)
def test_verdicts(checker: Checker, gold: str, answer: str, verdict: str) -> None:
    assert checker.verdict(question(gold), answer) == verdict


def test_gold_query_that_fails_is_an_error_of_the_data(checker: Checker) -> None:
    with pytest.raises(ValueError, match="question q7: its gold query fails"):
        checker.verdict(question("SELECT missing FROM t"), "SELECT 1")


values = st.one_of(st.none(), st.integers(-3, 3), st.sampled_from(["a", "b"]), st.floats(-1, 1))


@given(st.lists(st.tuples(values, values), max_size=6), st.randoms(use_true_random=False), st.data())
def test_bag_of_rows_is_the_same_in_any_order_and_another_when_one_row_goes(rows, shuffler, data) -> None:
    shuffled = list(rows)
    shuffler.shuffle(shuffled)
    gold = Reply(2, tuple(rows))
    assert same_rows(gold, Reply(2, tuple(shuffled)), ordered=False)
    assert same_rows(gold, gold, ordered=True)
    if rows:
        shuffled.pop(data.draw(st.integers(0, len(rows) - 1)))
        assert not same_rows(gold, Reply(2, tuple(shuffled)), ordered=False)


def test_sums_in_another_order_are_the_same_number() -> None:
    assert same_rows(Reply(1, ((0.1 + 0.2,),)), Reply(1, ((0.3,),)), ordered=True)
    assert not same_rows(Reply(1, ((0.3001,),)), Reply(1, ((0.3,),)), ordered=True)


def test_order_counts_where_the_gold_query_sorts() -> None:
    assert is_ordered("SELECT a FROM t ORDER  BY a")
    assert not is_ordered("SELECT border_by FROM t")
