"""Language understanding, MMLU and GSM8K as lm-evaluation-harness defines them: its prompts, its shots, its scoring, on
local files. The harness is imported when a task is asked for, and never reads from the network here.

Gao et al., lm-evaluation-harness 0.4.13; task versions as in its YAML files.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pipelines.evaluate.data.files import read_rows
from pipelines.evaluate.engine.requests import Answer, Generation, Likelihood, LogLikelihood, Request, Text
from pipelines.evaluate.statistics.enterprise import GOLD
from pipelines.evaluate.task import DataError, Factory, Item, Share, TaskOptions, Verdict, bits_of, drawn, way_of
from pipelines.evaluate.tasks.harness.lm_eval_package import (
    FEWSHOT_SEED,
    MALFORMED,
    MAX_NEW_TOKENS,
    PACKAGE,
    Filtered,
    harness_imported,
)

CORRECT, WRONG = "correct", "wrong"
CLOZE = "cloze_acc_norm"
"""Measure of a cloze form: acc_norm of the texts of the choices."""


class Cloze(NamedTuple):
    """A question of choices without their letters: its text, the text of each choice, and which one is right."""

    question: str
    choices: Sequence[str]
    right: int

    def requests(self) -> list[LogLikelihood]:
        """How probable each choice is as the answer, in OLMES' cloze form (arXiv 2406.08446) without examples."""
        return [LogLikelihood(f"Question: {self.question}\nAnswer:", f" {choice}") for choice in self.choices]

    def shares(self, answers: Sequence[Answer]) -> dict[str, Share]:
        """Whether the most probable choice for each of its characters is right, and the bits of the right one."""
        scored = [answer.log_probability for answer in answers if isinstance(answer, Likelihood)]
        per_character = [value / max(1, len(choice)) for value, choice in zip(scored, self.choices, strict=True)]
        is_right = max(range(len(scored)), key=per_character.__getitem__) == self.right
        gold = self.requests()[self.right].continuation
        return {CLOZE: Share(float(is_right), 1.0), GOLD: bits_of(answers[self.right], gold)}


def _mmlu_cloze(doc: Mapping[str, Any]) -> Cloze:
    return Cloze(doc["question"].strip(), doc["choices"], doc["answer"])


def _commonsense_qa_cloze(doc: Mapping[str, Any]) -> Cloze:
    return Cloze(doc["question"].strip(), doc["choices"]["text"], doc["choices"]["label"].index(doc["answerKey"]))


@dataclass(frozen=True)
class Definition:
    """One of the harness' tasks. `page`: its YAML file; `files`: split -> file of the data root, `test` being asked;
    `headline`: the headline metric; `by`: a field whose values are separate tasks, each with its page; `cloze`: of a
    task whose choices are letters, the question in the form that asks for their texts; `replace`: fields that local
    files need."""

    page: str
    files: Mapping[str, str]
    headline: str = "acc"
    shots: int = 0
    by: str = ""
    cloze: Callable[[Mapping[str, Any]], Cloze] | None = None
    replace: Mapping[str, Any] = field(default_factory=dict)


DEFINITIONS: Mapping[str, Definition] = {
    "arc_easy": Definition("arc/arc_easy.yaml", {"test": "arc_easy/test.jsonl.gz"}),
    "arc_challenge": Definition("arc/arc_challenge.yaml", {"test": "arc_challenge/test.jsonl.gz"}, "acc_norm"),
    "boolq": Definition(
        "super_glue/boolq/default.yaml",
        {"test": "boolq/validation.jsonl.gz"},
        replace={"doc_to_target": "{{1 if answer else 0}}"},
    ),
    "commonsense_qa": Definition(
        "commonsense_qa/default.yaml", {"test": "commonsense_qa/validation.jsonl.gz"}, cloze=_commonsense_qa_cloze
    ),
    "copa": Definition("super_glue/copa/default.yaml", {"test": "copa/validation.jsonl.gz"}),
    "hellaswag": Definition("hellaswag/hellaswag.yaml", {"test": "hellaswag/validation.jsonl.gz"}, "acc_norm"),
    "lambada_openai": Definition("lambada/lambada_openai.yaml", {"test": "lambada_openai/test.jsonl.gz"}),
    "openbookqa": Definition("openbookqa/openbookqa.yaml", {"test": "openbookqa/test.jsonl.gz"}, "acc_norm"),
    "piqa": Definition("piqa/piqa.yaml", {"test": "piqa/validation.jsonl.gz"}, "acc_norm"),
    "race": Definition("race/race.yaml", {"test": "race/test.jsonl"}),
    "winogrande": Definition("winogrande/default.yaml", {"test": "winogrande/validation.jsonl.gz"}),
    "mmlu": Definition(
        "mmlu/default/mmlu_{}.yaml",
        {"test": "mmlu/test.jsonl.gz", "dev": "mmlu/dev.jsonl.gz"},
        shots=5,
        by="subject",
        cloze=_mmlu_cloze,
        replace={"fewshot_split": "dev"},
    ),
    "gsm8k": Definition(
        "gsm8k/gsm8k.yaml",
        {"test": "gsm8k/test.jsonl", "train": "gsm8k/train.jsonl"},
        "exact_match/strict-match",
        shots=5,
        replace={"fewshot_split": "train"},
    ),
}


@dataclass(frozen=True)
class HarnessTask:
    """A task of the harness over the files under `root`: `limit` items of it, or all."""

    name: str
    root: Path
    limit: int | None = None
    runs: Literal["", "python", "sql"] = ""
    packages: tuple[str, ...] = (PACKAGE,)

    @property
    def headline(self) -> str:
        return self._definition.headline

    @property
    def protocol(self) -> str:
        cloze = "; cloze: OLMES' form, 0-shot, for each character" if self._definition.cloze else ""
        return f"lm-evaluation-harness 0.4.13, {self._definition.shots}-shot, {way_of(False)}{cloze}"

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(self._definition.files.values())

    def items(self) -> list[Item]:
        """Raises PackageError if the harness is not installed as it is pinned."""
        try:
            if not self._rows["test"]:
                raise ValueError("no rows")
            drawn_rows = set(self._drawn_rows)
            return [item for part in self._tasks.values() for item in self._items(part, drawn_rows)]
        except MALFORMED as error:
            raise DataError(
                f"{self.root / self._definition.files['test']}: not as the harness' {self._definition.page} reads them "
                f"({error!r}). Bring it as its owner gives it out."
            ) from error

    def score(self, items: Sequence[Item], answers: Sequence[Sequence[Answer]]) -> list[Verdict]:
        return [self._verdict(item, item_answers) for item, item_answers in zip(items, answers, strict=True)]

    @property
    def _definition(self) -> Definition:
        return DEFINITIONS[self.name]

    @cached_property
    def _rows(self) -> dict[str, list[Any]]:
        return {split: read_rows(self.root, file) for split, file in self._definition.files.items()}

    @cached_property
    def _drawn_rows(self) -> list[int]:
        """Rows that are asked, by the digest of their item's id: see `pipelines.evaluate.evaluation.sample`."""
        return sorted(drawn([self._item_id(row) for row in range(len(self._rows["test"]))], self.limit))

    def _item_id(self, row: int) -> str:
        return f"{self.name}/{row:05d}"

    @cached_property
    def _tasks(self) -> dict[str, "_Part"]:
        """The harness' tasks by value of `by`, with their rows; one task under "" if there is no such field."""
        by = self._definition.by
        values = [row[by] if by else "" for row in self._rows["test"]]
        needed = dict.fromkeys(values[row] for row in self._drawn_rows)
        return {value: self._part(value, [row for row, own in enumerate(values) if own == value]) for value in needed}

    def _part(self, value: str, rows: list[int]) -> "_Part":
        definition = self._definition
        drawn_rows = set(self._drawn_rows)
        # Few-shot examples that are drawn separately for each question are drawn for all of them, in order.
        source_rows = rows if definition.shots and not definition.by else [row for row in rows if row in drawn_rows]
        splits = {
            split: [row for row in split_rows if not definition.by or row[definition.by] == value]
            for split, split_rows in self._rows.items()
            if split != "test"
        }
        splits["test"] = [self._rows["test"][row] for row in source_rows]
        return _Part(value, source_rows, _load(definition, value, splits))

    def _items(self, part: "_Part", drawn_rows: set[int]) -> Iterator[Item]:
        task = part.task
        task.set_fewshot_seed(FEWSHOT_SEED)
        for row, doc in zip(part.rows, task.eval_docs, strict=True):
            context = task.fewshot_context(doc, num_fewshot=self._definition.shots)
            if row in drawn_rows:
                built = task.construct_requests(
                    doc=doc,
                    ctx=context,
                    metadata=(task.config.task, row, 1),
                    apply_chat_template=False,
                    chat_template=None,
                )
                instances = built if isinstance(built, list) else [built]
                yield self._item(part, row, doc, [_request(instance) for instance in instances])

    def _item(self, part: "_Part", row: int, doc: Mapping[str, Any], requests: list[Request]) -> Item:
        right = right_choice(part.task, doc, requests)
        gold = requests[right] if right is not None else _written(part.task, doc, requests[0])
        assert isinstance(gold, LogLikelihood)
        cloze = self._definition.cloze(doc).requests() if self._definition.cloze else []
        return Item(
            self._item_id(row),
            (*requests, *cloze) if gold in requests else (*requests, gold),
            text=" ".join(str(value) for value in doc.values()),
            gold=_Gold(part.value, dict(doc), len(requests), right),
            gold_text=gold.continuation,
            cluster=part.value,
            chance=1 / len(requests) if len(requests) > 1 else 0.0,
            place=(self._definition.files["test"], row),
        )

    def _verdict(self, item: Item, answers: Sequence[Answer]) -> Verdict:
        gold: _Gold = item.gold
        task = self._tasks[gold.value].task
        own = answers[: gold.num_asked]
        if isinstance(own[0], Text):
            shares, answer = _extracted(task, gold.doc, own[0].text), own[0].text
        else:
            likelihoods = [answer for answer in own if isinstance(answer, Likelihood)]
            scored = [(answer.log_probability, answer.is_greedy) for answer in likelihoods]
            shares = _rights(task.process_results(gold.doc, scored))
            best = max(range(len(scored)), key=lambda index: scored[index][0])
            answer = f"choice {best + 1}: {_choice(item.requests, best)}" if len(scored) > 1 else ""
        if self._definition.cloze:
            shares |= self._definition.cloze(gold.doc).shares(answers[gold.num_asked :])
        else:
            index = gold.num_asked if gold.right is None else gold.right
            shares[GOLD] = bits_of(answers[index], item.gold_text)
        return Verdict(shares, answer, CORRECT if shares[self.headline].part else WRONG)


@dataclass(frozen=True)
class _Part:
    """The harness' task of one value of `by`, and the rows that its documents are."""

    value: str
    rows: list[int]
    task: Any


@dataclass(frozen=True)
class _Gold:
    """Data for judging: the item's document, the number of the harness' own requests, and the index of the right choice
    (None if there are no choices, and the gold answer is one request more)."""

    value: str
    doc: Mapping[str, Any]
    num_asked: int
    right: int | None


def _load(definition: Definition, value: str, splits: Mapping[str, list[Any]]) -> Any:
    """The harness' task over local rows. Raises PackageError if the harness is not installed as it is pinned."""
    harness = harness_imported()
    fields = harness.load_page(harness.pages / definition.page.format(value))
    dropped = ("include", "tag", "task_alias", "training_split", "validation_split", "test_split", "fewshot_split")
    local = {
        "dataset_path": "local",
        "dataset_name": None,
        "test_split": "test",
        "custom_dataset": lambda **_: {name: harness.dataset(rows) for name, rows in splits.items()},
    }
    config = {name: setting for name, setting in fields.items() if name not in dropped}
    return harness.task(config=config | local | dict(definition.replace))


def _request(instance: Any) -> Request:
    if instance.request_type == "loglikelihood":
        return LogLikelihood(*instance.args)
    context, settings = instance.args
    length = settings.get("max_gen_toks", MAX_NEW_TOKENS)
    return Generation(context, tuple(settings["until"]), length)


def right_choice(task: Any, doc: Mapping[str, Any], requests: Sequence[Request]) -> int | None:
    """Which request is the right choice, as the harness finds it; None if there is no such one."""
    if isinstance(requests[0], Generation):
        return None
    if len(requests) == 1:
        return 0
    gold = task.doc_to_text(doc) if task.multiple_input else task.doc_to_target(doc)
    if isinstance(gold, str):
        return list(task.doc_to_choice(doc)).index(gold)
    return gold if isinstance(gold, int) else None


def _choice(requests: Sequence[Request], index: int) -> str:
    """The text of a choice: its continuation, or its context if choices differ in that, as in WinoGrande."""
    choices = [request for request in requests if isinstance(request, LogLikelihood)]
    is_context = len({request.continuation for request in choices}) == 1
    return choices[index].context if is_context else choices[index].continuation.strip()


def _written(task: Any, doc: Mapping[str, Any], request: Request) -> LogLikelihood:
    """The gold answer after the prompt of a generation."""
    assert isinstance(request, Generation)
    return LogLikelihood(request.prompt, task.config.target_delimiter + task.doc_to_target(doc))


def _rights(metrics: Mapping[str, Any]) -> dict[str, Share]:
    """The metrics that are right or wrong."""
    return {name: Share(float(value), 1.0) for name, value in metrics.items() if name in ("acc", "acc_norm")}


def _extracted(task: Any, doc: Mapping[str, Any], text: str) -> dict[str, Share]:
    """Each metric of each of the task's filters over a generated text."""
    shares = {}
    for ensemble in task._filters:
        instance = Filtered(text, dict(doc))
        ensemble.apply([instance])
        for metric, value in task.process_results(doc, [instance.filtered_resps[ensemble.name]]).items():
            shares[f"{metric}/{ensemble.name}"] = Share(float(value), 1.0)
    return shares


def _task(name: str, options: TaskOptions) -> HarnessTask:
    # The harness asks without a chat template by default, and most published scores do so.
    return HarnessTask(name, options.root, options.limit)


TASKS: Mapping[str, Factory] = {name: partial(_task, name) for name in DEFINITIONS}
