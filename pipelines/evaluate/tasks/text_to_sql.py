"""Execution accuracy on the held-out questions that a run's own corpora bring: the model reads schema and question,
writes a query, and its rows are compared with the gold query's."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipelines.artifacts.questions import QUERY_END, read_questions
from pipelines.evaluate.engine.requests import Answer, Generation, text_of
from pipelines.evaluate.task import Item, Share, Verdict, drawn, form_of
from pipelines.evaluate.tasks.sql_answers import CORRECT, Checker, Question, extract_query
from pipelines.sandbox import SqlSandbox

STOPS = (QUERY_END, "\n")


@dataclass(frozen=True)
class TextToSql:
    """`count` questions of the source artifacts `sources` (all, if there are fewer), drawn by the digest of their id,
    so that schemas and kinds have the same proportions as in the whole; `chat`: asked in the chat template."""

    sources: tuple[Path, ...]
    count: int
    max_new_tokens: int
    unsafe: str = ""
    chat: bool = False
    name: str = "text_to_sql"
    headline: str = "execution_accuracy"
    files: tuple[str, ...] = ()
    runs: Literal["", "python", "sql"] = "sql"
    packages: tuple[str, ...] = ()

    @property
    def protocol(self) -> str:
        asked = "in the chat" if self.chat else "as in training, without a chat template"
        return f"0-shot, greedy, asked {asked}; rows equal the gold query's"

    def items(self) -> list[Item]:
        questions = [question for source in self.sources for question in _read(source)]
        drawn_indices = drawn([question.question_id for question in questions], self.count)
        return [self._item(questions[index]) for index in drawn_indices]

    def score(self, items: Sequence[Item], answers: Sequence[Sequence[Answer]]) -> list[Verdict]:
        with SqlSandbox(unsafe=self.unsafe) as gold, SqlSandbox(unsafe=self.unsafe) as tried:
            checker = Checker(gold, tried)
            return [
                self._verdict(checker, item.gold, text_of(item_answers[0]))
                for item, item_answers in zip(items, answers, strict=True)
            ]

    def _item(self, question: Question) -> Item:
        # Before a word the tokenizer keeps the space with the word, so a space alone at the end is never seen.
        text = question.prompt.rstrip() if self.chat else question.prompt.rstrip(" ")
        request = Generation(text, STOPS, self.max_new_tokens, form=form_of(self.chat))
        return Item(question.question_id, (request,), question.prompt, question, question.gold)

    def _verdict(self, checker: Checker, question: Question, text: str) -> Verdict:
        query = extract_query(text)
        verdict = checker.verdict(question, query)
        share = Share(float(verdict == CORRECT), 1.0)
        return Verdict({self.headline: share, f"{self.headline}/{question.difficulty}": share}, query, verdict)


def _read(source: Path) -> list[Question]:
    rows, scripts = read_questions(source)
    return [
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
