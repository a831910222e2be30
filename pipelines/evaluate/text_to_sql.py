"""Execution accuracy of SQL: the model reads schema and question, writes a query, and its rows are compared."""

import hashlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.context import StageContext
from pipelines.artifacts.questions import read_questions
from pipelines.artifacts.report import Score
from pipelines.evaluate.intervals import proportion
from pipelines.evaluate.journal import Journal
from pipelines.evaluate.sql_answers import CORRECT, Judge, Question
from pipelines.evaluate.sql_sandbox import SqlSandbox

if TYPE_CHECKING:
    from pipelines.evaluate.scorer import Scorer

MEASURE = "sql_execution_accuracy"


def choose_questions(sources: Sequence[Path], count: int) -> list[Question]:
    """`count` questions of all `sources` (all, where there are fewer), by the digest of their id, so that schemas and
    kinds stand as in the whole."""
    questions = []
    for source in sources:
        rows, scripts = read_questions(source)
        questions += [
            Question(
                row["question_id"],
                row["kind"],
                row["difficulty"],
                row["prompt"],
                row["query"],
                scripts[row["database_id"]],
            )
            for row in rows
        ]
    return sorted(questions, key=lambda question: hashlib.sha256(question.question_id.encode()).digest())[:count]


def measure(
    scorer: "Scorer", questions: Sequence[Question], max_new_tokens: int, journal: Journal, context: StageContext
) -> list[dict[str, Any]]:
    """Every question with answer and verdict, as rows of SAMPLES."""
    samples = []
    with SqlSandbox() as gold, SqlSandbox() as answers:
        judge = Judge(gold, answers)

        def ask(question: Question) -> list[str]:
            answer = scorer.write_query(question.prompt, max_new_tokens)
            return [answer, judge.verdict(question, answer)]

        for count, question in enumerate(questions, start=1):
            answer, verdict = journal.remember(f"sql/{question.question_id}", partial(ask, question))
            samples.append(
                {
                    "question_id": question.question_id,
                    "kind": question.kind,
                    "difficulty": question.difficulty,
                    "prompt": question.prompt,
                    "gold": question.gold,
                    "answer": answer,
                    "correct": verdict == CORRECT,
                    "verdict": verdict,
                }
            )
            context.progress(count, len(questions), "questions")
    return samples


def accuracy(samples: Sequence[Mapping[str, Any]]) -> dict[str, Score]:
    """Execution accuracy of all samples, where there are any, and of each difficulty that they have."""
    verdicts: dict[str, list[bool]] = {}
    for sample in samples:
        for name in (MEASURE, f"{MEASURE}/{sample['difficulty']}"):
            verdicts.setdefault(name, []).append(sample["correct"])
    return {name: proportion(sum(correct), len(correct)) for name, correct in sorted(verdicts.items())}
