"""From generated text to a verdict: extract the query, and compare its rows with the gold query's."""

import re
from collections import Counter
from dataclasses import dataclass

from pipelines.artifacts.questions import QUERY_END
from pipelines.sandbox import Reply, Row, SqlSandbox

CORRECT, WRONG_ROWS, NO_QUERY, TIMEOUT = "correct", "wrong rows", "no query", "timeout"
SIGNIFICANT_DIGITS = 10
"""Of numbers compared: two plans of one query may add in another order."""


def extract_query(text: str) -> str:
    """The query at the start of `text`, up to its end or the end of its line; "" if there is none."""
    return text.partition(QUERY_END)[0].strip().partition("\n")[0].strip()


@dataclass(frozen=True)
class Question:
    """One question with its gold query and the script of its database; `kind`, `difficulty` as in QUESTIONS."""

    question_id: str
    kind: str
    difficulty: str
    prompt: str
    gold: str
    script: str


@dataclass(frozen=True)
class Checker:
    """Executes gold and answers in separate processes: the gold rows never enter the answers' process."""

    gold: SqlSandbox
    answers: SqlSandbox

    def verdict(self, question: Question, query: str) -> str:
        """CORRECT, WRONG_ROWS, NO_QUERY, TIMEOUT or "error: ..." with SQLite's words.

        Raises ValueError if the gold query itself does not run.
        """
        if not query:
            return NO_QUERY
        gold = self.gold.run(question.script, question.gold)
        if gold.error:
            raise ValueError(
                f"question {question.question_id}: its gold query fails ({gold.error}): {question.gold}. "
                "Build the source of its corpus again."
            )
        reply = self.answers.run(question.script, query)
        if reply.error:
            return TIMEOUT if reply.error == "timeout" else f"error: {reply.error}"
        return CORRECT if same_rows(gold, reply, ordered=is_ordered(question.gold)) else WRONG_ROWS


def is_ordered(query: str) -> bool:
    """Whether the order of rows is part of the answer, by the rule of Spider's execution accuracy."""
    return re.search(r"\border\s+by\b", query, re.IGNORECASE) is not None


def same_rows(gold: Reply, answer: Reply, *, ordered: bool) -> bool:
    """Same number of columns and the same rows as often, in the same order if `ordered`; columns keep their order."""
    if gold.columns != answer.columns:
        return False
    expected, actual = ([_normal(row) for row in reply.rows] for reply in (gold, answer))
    return expected == actual if ordered else Counter(expected) == Counter(actual)


def _normal(row: Row) -> Row:
    return tuple(float(f"{value:.{SIGNIFICANT_DIGITS}g}") if isinstance(value, float) else value for value in row)
