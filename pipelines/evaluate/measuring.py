"""One evaluation from the first question to the written scores. Steps in its journal are not repeated."""

from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from arctic_model.inference.streaming import StreamWindow
from infra.artifact import Artifact
from infra.context import StageContext
from infra.stage import Metrics, digest
from infra.store.journal import Journal
from pipelines.artifacts.documents import HELDOUT
from pipelines.artifacts.evaluation import (
    EVIDENCE,
    EVIDENCE_FILE,
    SAMPLES,
    SAMPLES_FILE,
    SECONDS,
    Score,
    Scores,
    write_differences,
)
from pipelines.artifacts.formats.parquet import read_table, write_table
from pipelines.artifacts.tokenization.tokenizer import TextTokenizer
from pipelines.artifacts.tokenization.tokens import TokenSequences
from pipelines.evaluate import bits_per_byte
from pipelines.evaluate.asking.chat import SYSTEM_PROMPT
from pipelines.evaluate.asking.protocol import Respondent
from pipelines.evaluate.data.heldout import FIRST_BUCKET, ScoredPiece, choose_pieces, whole_documents
from pipelines.evaluate.engine.execution import Execution
from pipelines.evaluate.engine.requests import Answer, Generation
from pipelines.evaluate.evaluation import (
    asked_otherwise,
    differences,
    evaluate,
    read_items,
    samples,
    scores,
    seconds_of,
    sets_of,
)
from pipelines.evaluate.notes import Flaws, flaws_of, note
from pipelines.evaluate.scorer import Scorer, StreamScorer
from pipelines.evaluate.statistics.contamination import CorpusFindings, contaminated
from pipelines.evaluate.statistics.intervals import MIN_UNITS
from pipelines.evaluate.suites import Suite
from pipelines.evaluate.task import DataError, Item, Task, TaskResult, way_of
from pipelines.models.source import ModelSource
from pipelines.sandbox import preflight

JOURNAL = "items.jsonl"
MORE_DOCUMENTS = (
    f"An interval needs {MIN_UNITS}: raise source.heldout_fraction of the corpus, or evaluate.heldout_bytes_per_corpus."
)


class HeldoutLimits(NamedTuple):
    """Bytes of held-out documents that are read of a corpus, and of one document unless it is read as a stream."""

    max_bytes: int
    max_document_bytes: int
    stream: StreamWindow | None = None


class Measuring:
    """Results of one checkpoint as they come in. A context manager, which holds the journal open."""

    def __init__(self, label: str, respondent: Respondent, suite: Suite, context: StageContext) -> None:
        self._label = label
        self._respondent = respondent
        self._template = ""
        self._suite = suite
        self._context = context
        self._journal = Journal(context.state / JOURNAL)
        self._results: list[TaskResult] = []
        self._skipped: dict[str, str] = {}
        self._flaws: dict[str, Flaws] = {}
        self._notes: dict[str, str] = {}

    def __enter__(self) -> "Measuring":
        return self

    def __exit__(self, *error: object) -> None:
        self._journal.__exit__(*error)

    def read_heldout(
        self, source: ModelSource, execution: Execution, tokens: Mapping[str, Path], limits: HeldoutLimits
    ) -> None:
        """Bits per byte that `source` needs for held-out documents of every corpus, whose packed sequences lie in
        `tokens`: in all, by position if sequences are long, and as a stream if `limits` has a window for it. Reports
        corpora that have too few documents for an interval."""
        num_bytes = TextTokenizer(source.tokenizer_folder).num_predicted_bytes
        sequences = {name: TokenSequences(path, HELDOUT) for name, path in tokens.items()}
        max_bytes, of_each = limits.max_bytes, limits.max_document_bytes
        pieces = {name: choose_pieces(each, num_bytes, max_bytes, of_each) for name, each in sequences.items()}
        for name, excerpts in pieces.items():
            if (count := len({piece.doc_id for piece in excerpts})) < MIN_UNITS:
                text = f"{count} held-out documents are too few. {MORE_DOCUMENTS}"
                self._report(f"{bits_per_byte.NAME}/{name}", text)
        make = partial(Scorer, source)
        nats = bits_per_byte.measure_nats(bits_per_byte.NAME, make, pieces, self._journal, self._context, execution)
        protocol = bits_per_byte.protocol(of_each)
        self._results.append(bits_per_byte.of_documents(bits_per_byte.NAME, protocol, pieces, nats))
        length = max((each.index.sequence_length for each in sequences.values()), default=0)
        by_position = bits_per_byte.of_positions(length, pieces, nats, num_bytes)
        self._results += [by_position] if length > FIRST_BUCKET and by_position.items else []
        if limits.stream:
            documents = {name: whole_documents(each, num_bytes, max_bytes) for name, each in sequences.items()}
            self._read_streams(source, execution, documents, limits.stream)

    def _read_streams(
        self,
        source: ModelSource,
        execution: Execution,
        documents: Mapping[str, Sequence[ScoredPiece]],
        window: StreamWindow,
    ) -> None:
        name, protocol = bits_per_byte.STREAMED, bits_per_byte.stream_protocol(window.window, window.sinks)
        make = partial(StreamScorer, source, window)
        nats = bits_per_byte.measure_nats(name, make, documents, self._journal, self._context, execution)
        self._results.append(bits_per_byte.of_documents(name, protocol, documents, nats))

    def ask_suite(self) -> None:
        """Ask and judge the tasks of the suite, in the chat or not as the suite and the checkpoint have it.

        Raises ValueError as `asked_in_chat`, and as `ask`.
        """
        if not self._suite.is_empty:
            chat = self._respondent.asked_in_chat(self._suite.chat)
            self._template = self._respondent.template if chat else ""
            self.ask(self._suite.build(chat), self._suite.limit)

    def ask(self, tasks: Sequence[Task], limit: int | None) -> None:
        """Ask and judge `tasks`, at most `limit` items of each. A task without data is reported and left out, as is one
        for whose conversations the chat template has no place.

        Before anything is asked, raises PreflightError or SandboxUnavailableError if code would have to run and cannot
        be isolated, and ValueError if the chat template has no place for the suite's system prompt.
        """
        items_by_task, skipped = read_items(tasks, limit, self._suite.max_new_tokens, self._suite.system)
        refusals = self._refusals(items_by_task)
        items_by_task = [(task, items) for task, items in items_by_task if task.name not in refusals]
        for name, reason in (skipped | refusals).items():
            self._context.warn(f"{name} is not measured: {reason}")
        self._skipped |= skipped | refusals
        for language in sorted({task.runs for task, _ in items_by_task if task.runs} if not self._suite.unsafe else ()):
            preflight(language, numpy=self._suite.numpy and language == "python")
        results = evaluate(items_by_task, self._answer(items_by_task), self._journal, self._context)
        measured = {result.name for result in results}
        empty = {task.name: "no item could be scored" for task, _ in items_by_task if task.name not in measured}
        self._results, self._skipped = self._results + results, self._skipped | empty

    def _refusals(self, items_by_task: Sequence[tuple[Task, Sequence[Item]]]) -> dict[str, str]:
        """Why tasks cannot be asked in the chat, by name. Raises ValueError if the suite's system prompt cannot."""
        refusal = cache(self._respondent.refusal)
        conversations = {
            task.name: sorted({roles for item in items for roles in item.conversations})
            for task, items in items_by_task
        }
        if self._suite.system and any(conversations.values()) and (reason := refusal(SYSTEM_PROMPT)):
            raise ValueError(reason)
        reasons = {name: next(filter(None, map(refusal, of_task)), "") for name, of_task in conversations.items()}
        return {name: reason for name, reason in reasons.items() if reason}

    def write(
        self, corpora: Sequence[CorpusFindings], previous: Artifact | None, *, across_forms: bool = False
    ) -> Metrics:
        """Write the artifact. `corpora`: contamination findings of the training corpora; `previous`: the evaluation to
        compare with; `across_forms`: also on items that were asked in another form, each checkpoint in its own form."""
        results, out = self._results, self._context.out
        if not results:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in self._skipped.items())
            raise DataError(f"nothing could be measured. {reasons}")
        contamination = contaminated(results, self._suite.root, corpora)
        all_scores = scores(results, contamination.shares())
        rows = samples(results, contamination.shares())
        self._context.measure(SECONDS, seconds_of(results, self._respondent.seconds))
        target = out / SAMPLES_FILE
        target.parent.mkdir()
        write_table(pa.Table.from_pylist(rows, schema=SAMPLES), target)
        evidence = pa.Table.from_pylist(contamination.evidence(), schema=EVIDENCE)
        write_table(evidence, out / EVIDENCE_FILE)
        protocols = {result.name: self._protocol(result) for result in results}
        for name, tasks in sets_of(results).items():
            form = next(result.form for result in results if result.name in tasks.values())
            protocols[name] = f"mean of {', '.join(tasks.values())}, {way_of(form == 'chat')}"
        before = read_table(previous.path / SAMPLES_FILE).to_pylist() if previous else []
        asked_before = asked_otherwise(
            Scores.read(previous.path).protocols if previous else {}, protocols, before, rows
        )
        compared = [row for row in before if across_forms or row["task"] not in asked_before]
        write_differences(differences(compared, rows), out)
        step, tokens, active_parameters = self._respondent.training
        Scores(
            self._label,
            step,
            tokens,
            all_scores,
            headlines={result.name: result.headline for result in results},
            protocols=protocols,
            asked_before=asked_before,
            skipped=self._skipped,
            contamination=dict(contamination.counts),
            notes=self._notes,
            active_parameters=active_parameters,
            template=self._template,
        ).write(out)
        return {**metrics_of(all_scores, self._flaws), "eval/tokens": tokens}

    def _protocol(self, result: TaskResult) -> str:
        """The protocol of the task in this evaluation: the chat template and the user's system prompt, a reduced limit
        of answer tokens if there is one, and the engine if it is external."""
        limit = self._suite.max_new_tokens
        generations = [one for item in result.items for one in item.requests if isinstance(one, Generation)]
        template = f"; chat template {self._template}" if result.form == "chat" else ""
        if template and self._suite.system:
            template += f"; system prompt {digest(self._suite.system)[:12]}"
        is_cut = any(request.max_new_tokens == limit for request in generations)
        engine = f"; computed by {self._respondent.engine}" if self._respondent.engine else ""
        return f"{result.protocol}{template}{f'; answers end after {limit} tokens' if is_cut else ''}{engine}"

    def _answer(self, items_by_task: Sequence[tuple[Task, Sequence[Item]]]) -> list[list[Answer]]:
        """The answers to all items in order; their flaws are reported and recorded."""
        asked = [(task.name, item) for task, items in items_by_task for item in items]
        answers = self._respondent.answer(asked, self._journal, self._context)
        start = 0
        for task, items in items_by_task:
            self._flaws[task.name] = flaws_of(items, answers[start : start + len(items)])
            start += len(items)
            if remark := note(self._flaws[task.name]):
                self._report(task.name, remark)
        return answers

    def _report(self, name: str, text: str) -> None:
        """A note that readers of a score need, reported now and in the artifact."""
        self._context.warn(f"{name}: {text}")
        self._notes[name] = text


def metrics_of(all_scores: Mapping[str, Score], flaws: Mapping[str, Flaws]) -> Metrics:
    """Scores and flaws under the names that they have in the manifest and in MLflow."""
    metrics: dict[str, float] = {}
    for measure, score in all_scores.items():
        # MLflow takes no @ in a name.
        name = f"eval/{measure.replace('@', '_at_')}"
        metrics[name] = score.value
        if score.low is not None and score.high is not None:
            metrics[f"{name}.ci_low"] = score.low
            metrics[f"{name}.ci_high"] = score.high
        metrics[f"{name}.n"] = score.n
        if score.chance and score.centred is not None:
            metrics[f"{name}.chance"] = score.chance
            metrics[f"{name}.centred"] = score.centred
    for task, found_flaws in flaws.items():
        metrics[f"eval/{task}/num_truncated"] = found_flaws.num_truncated
        metrics[f"eval/{task}/num_undecodable"] = found_flaws.num_undecodable
        metrics[f"eval/{task}/num_encoded_alone"] = found_flaws.num_encoded_alone
        metrics[f"eval/{task}/num_left_out"] = found_flaws.num_left_out
        metrics[f"eval/{task}/num_shortened"] = found_flaws.num_shortened
    return metrics
