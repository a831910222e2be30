"""Spider (Yu et al. 2018, arXiv 1809.08887): questions on 20 databases, none of which its training questions are about,
answered in SQL and judged by the results of the queries."""

import os
import sqlite3
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Literal, cast

from pipelines.evaluate.data.files import checked, data_files, read_rows
from pipelines.evaluate.engine.requests import Answer, Generation, Likelihood, LogLikelihood, Text
from pipelines.evaluate.statistics.enterprise import GOLD
from pipelines.evaluate.task import (
    DataError,
    Factory,
    Item,
    Share,
    TaskOptions,
    Verdict,
    bits_of,
    drawn,
    form_of,
    way_of,
)
from pipelines.evaluate.tasks.spider.execution import is_ordered, plugged, prepared, same_result, with_values
from pipelines.evaluate.tasks.spider.hardness import hardness
from pipelines.evaluate.tasks.spider.prompt import example_prompt, extract_query, question_prompt
from pipelines.evaluate.tasks.sql_answers import CORRECT, NO_QUERY, TIMEOUT, WRONG_ROWS
from pipelines.sandbox import Reply, SqlSandbox

QUESTIONS, SCHEMAS, DATABASES = "spider/dev.json", "spider/tables.json", "spider/database/"
STOPS = (";", "\n\n/*")
"""End of the query, and the start of a next question in DAIL-SQL's prompts."""
MAX_NEW_TOKENS = 256
"""DAIL-SQL's 200 with room for a fence; the longest gold query has 422 characters."""
CPU_S = 10.0
"""CPU seconds of a query. Gold queries take up to 0.07 s; the official limit of 60 s cannot stop a query."""
NUM_SHOTS = 3
MAX_ROWS = 100_000
"""Gold queries give up to 20,662 rows."""


@dataclass(frozen=True)
class Question:
    """Data for judging: the gold query, its database and its hardness."""

    query: str
    database: str
    hardness: str


@dataclass(frozen=True)
class Spider:
    """All 1,034 questions of the development set. `unsafe`: see `pipelines.sandbox`; `chat`: whether the model
    is asked in its chat template; `shots`: solved questions about other databases before each one; `num_sandboxes`:
    queries that run side by side, None for one for each processor that this process may use; `plugs_values`: whether a
    query is also right if it is with values of the gold query (`plugged`).

    The gold queries of 57 of them return no row from the databases of the release, so that any query without rows
    answers them: that is the chance of the task. Copies that were built again from their schemas may have more.
    """

    root: Path
    unsafe: str = ""
    chat: bool = False
    shots: int = 0
    name: str = "spider"
    headline: str = "execution_accuracy"
    files: tuple[str, ...] = tuple(file for file in data_files() if file.startswith("spider/"))
    runs: Literal["", "python", "sql"] = "sql"
    packages: tuple[str, ...] = ()
    num_sandboxes: int | None = None
    plugs_values: bool = False
    gold_replies: dict[tuple[Path, str], Reply] = field(default_factory=dict, repr=False, compare=False)

    @property
    def protocol(self) -> str:
        examples = " with examples of other databases in DAIL-SQL's organization" if self.shots else ""
        values = ", gold values plugged into the query (--plug_value)" if self.plugs_values else ""
        return (
            f"{self.shots}-shot{examples}, greedy, DAIL-SQL code representation with rule, schema from tables.json, "
            f"{way_of(self.chat)}; "
            f"execution accuracy of the test-suite evaluator without DISTINCT{values}; SQLite {sqlite3.sqlite_version}"
        )

    def items(self) -> list[Item]:
        for file in self.files:
            checked(self.root, file)
        schemas = {schema["db_id"]: schema for schema in read_rows(self.root, SCHEMAS)}
        rows = read_rows(self.root, QUESTIONS)
        order = [rows[index] for index in drawn([str(number) for number in range(len(rows))], None)]
        examples = {name: example_prompt(self._examples(order, name)) for name in schemas}
        return [
            spider_item(number, row, schemas[row["db_id"]], self.chat, examples[row["db_id"]])
            for number, row in enumerate(rows)
        ]

    def score(self, items: Sequence[Item], answers: Sequence[Sequence[Answer]]) -> list[Verdict]:
        free: SimpleQueue[SqlSandbox] = SimpleQueue()

        def verdict(item: Item, item_answers: Sequence[Answer]) -> Verdict:
            sandbox = free.get()
            try:
                return self._verdict(sandbox, item, item_answers)
            finally:
                free.put(sandbox)

        count = max(1, min(len(items), self.num_sandboxes or len(os.sched_getaffinity(0))))
        with ExitStack() as stack:
            for _ in range(count):
                # Spider's evaluator drops bytes that are not UTF-8.
                sandbox = SqlSandbox(CPU_S, MAX_ROWS, text_errors="ignore", unsafe=self.unsafe)
                free.put(stack.enter_context(sandbox))
            with ThreadPoolExecutor(count) as pool:
                return list(pool.map(verdict, items, answers))

    def _examples(self, rows: Sequence[Mapping[str, Any]], database: str) -> list[Mapping[str, Any]]:
        """The first `shots` of `rows`, each about a different database, none about `database`."""
        by_database: dict[str, Mapping[str, Any]] = {}
        for row in rows:
            if row["db_id"] != database:
                by_database.setdefault(row["db_id"], row)
        return list(by_database.values())[: self.shots]

    def _verdict(self, sandbox: SqlSandbox, item: Item, item_answers: Sequence[Answer]) -> Verdict:
        question, scored = cast(Question, item.gold), cast(LogLikelihood, item.requests[1])
        written, gold = cast(Text, item_answers[0]), cast(Likelihood, item_answers[1])
        query = extract_query(written.text)
        gold_reply = self._gold(sandbox, question)
        reason = self._reason(sandbox, question, query, gold_reply)
        share = Share(float(reason == CORRECT), 1.0)
        return Verdict(
            {
                self.headline: share,
                f"{self.headline}/{question.hardness}": share,
                GOLD: bits_of(gold, scored.continuation),
            },
            query,
            reason,
            chance=float(not gold_reply.rows),
        )

    def _reason(self, sandbox: SqlSandbox, question: Question, query: str, gold: Reply) -> str:
        if not query:
            return NO_QUERY
        written = with_values(query)
        reason = outcome = self._outcome(sandbox, question, written, gold)
        for other in plugged(written, question.query) if self.plugs_values else ():
            if outcome in (CORRECT, TIMEOUT):
                break
            outcome = self._outcome(sandbox, question, other, gold)
        return CORRECT if outcome == CORRECT else reason

    def _outcome(self, sandbox: SqlSandbox, question: Question, query: str, gold: Reply) -> str:
        reply = sandbox.run_file(self._database(question), prepared(query))
        return _compared(gold, reply, ordered=is_ordered(question.query))

    def _database(self, question: Question) -> Path:
        return self.root / DATABASES / question.database / f"{question.database}.sqlite"

    def _gold(self, sandbox: SqlSandbox, question: Question) -> Reply:
        """The result of a gold query: most questions share theirs with a paraphrase."""
        path, query = self._database(question), question.query
        if (path, query) not in self.gold_replies:
            reply = sandbox.run_file(path, prepared(query))
            if reply.error:
                raise DataError(
                    f"{path}: a gold query fails ({reply.error}): {query}. Bring the database of Spider's release."
                )
            self.gold_replies[path, query] = reply
        return self.gold_replies[path, query]


def spider_item(number: int, row: Mapping[str, Any], schema: Mapping[str, Any], chat: bool, examples: str = "") -> Item:
    """The item of row `number` of dev.json, from 0, and of its database's row of tables.json; in the chat or not, after
    `examples`."""
    prompt, query = examples + question_prompt(schema, row["question"]), row["query"]
    return Item(
        str(number),
        # Before a word the tokenizer keeps the blank with the word, so there is none after SELECT.
        (
            Generation(f"{prompt}\nSELECT", STOPS, MAX_NEW_TOKENS, form=form_of(chat)),
            LogLikelihood(prompt, f"\n{query}"),
        ),
        f"{row['question']}\n{query}",
        Question(query, row["db_id"], hardness(row["sql"])),
        query,
        cluster=row["db_id"],
        place=(QUESTIONS, number),
    )


def _compared(gold: Reply, reply: Reply, *, ordered: bool) -> str:
    if reply.error:
        return TIMEOUT if reply.error == TIMEOUT else f"error: {reply.error}"
    return CORRECT if same_result(gold.rows, reply.rows, ordered=ordered) else WRONG_ROWS


def _task(name: str, asks_chat: bool, shots: int, plugs_values: bool, options: TaskOptions) -> Spider:
    chat = options.chat and asks_chat
    return Spider(options.root, options.unsafe, chat, shots, name, plugs_values=plugs_values)


TASKS: Mapping[str, Factory] = {
    f"spider{base}{shown}{plugs}": partial(
        _task, f"spider{base}{shown}{plugs}", not base, NUM_SHOTS if shown else 0, bool(plugs)
    )
    for plugs, shown, base in product(("", "-plug_value"), ("", f"-{NUM_SHOTS}_shot"), ("", "-base"))
}
"""With "-base" it is asked without the chat template in any case; with "-plug_value" values are not judged."""
