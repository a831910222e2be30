"""Any task of lm-evaluation-harness by its name, or by a page of the user's own: asked and judged by its code."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from infra.host.packages import PackageError, require
from pipelines.evaluate.data.files import rows_of
from pipelines.evaluate.engine.requests import Answer, Generation, Likelihood, LogLikelihood, Request, Text
from pipelines.evaluate.statistics.enterprise import GOLD
from pipelines.evaluate.task import DataError, Item, Share, Verdict, bits_of, drawn, form_of, way_of
from pipelines.evaluate.tasks.harness.lm_eval_package import (
    FEWSHOT_SEED,
    MALFORMED,
    MAX_NEW_TOKENS,
    PACKAGE,
    Filtered,
    Harness,
    harness_imported,
)
from pipelines.evaluate.tasks.harness.pages import DATASETS, HarnessPage, measure_name
from pipelines.evaluate.tasks.harness.task import right_choice

if TYPE_CHECKING:
    from pipelines.artifacts.tokenization.chat_template import Messages

PREFIX = f"{PACKAGE}:"
FILE_LOADERS = ("json", "csv", "parquet", "text")
"""Values of `dataset_path` that name files and not a dataset of the Hub."""


@dataclass(frozen=True)
class HarnessOptions:
    """The task of a `page`, and its prompt: with `num_fewshot` examples, None for the page's own number, drawn by
    `seed`."""

    page: HarnessPage
    num_fewshot: int | None = None
    seed: int = FEWSHOT_SEED

    @classmethod
    def named(
        cls, kind: str, include: Path | None = None, num_fewshot: int | None = None, seed: int = FEWSHOT_SEED
    ) -> "HarnessOptions":
        """The task "lm_eval:NAME", by a page in the folder `include` or the harness' own. Raises DataError."""
        return cls(HarnessPage.find(kind.removeprefix(PREFIX), include), num_fewshot, seed)

    def task(self, root: Path, limit: int | None, chat: bool) -> "NamedHarnessTask":
        """The task over a data root, `limit` items of it, asked in the chat or not."""
        return NamedHarnessTask(self, root, limit, chat)


@dataclass(frozen=True)
class NamedHarnessTask:
    """The task of `options` over the data root, its own local files, or the datasets of the machine's Hugging Face
    cache: nothing is downloaded. Texts are asked for in the chat if `chat`; choices are always scored as texts."""

    options: HarnessOptions
    root: Path
    limit: int | None = None
    chat: bool = False
    runs: Literal["", "python", "sql"] = ""

    @property
    def packages(self) -> tuple[str, ...]:
        """The harness, and packages that the page's own code needs and does not find."""
        return (PACKAGE, *self.page.code.missing)

    @property
    def page(self) -> HarnessPage:
        return self.options.page

    @property
    def name(self) -> str:
        return f"{PREFIX}{self.page.name}"

    @property
    def headline(self) -> str:
        return self.page.headline

    @property
    def shots(self) -> int:
        if self.options.num_fewshot is not None:
            return self.options.num_fewshot
        return int(self.page.fields.get("num_fewshot") or 0)

    @property
    def protocol(self) -> str:
        way = way_of(self._is_chat)
        seed = f", seed {self.options.seed}" if self.shots else ""
        turns = ", examples as turns" if self.shots and self._is_chat else ""
        place = ", description as system prompt" if self.page.fields.get("description") and self._is_chat else ""
        opening = f", answers begin {self.page.fields['gen_prefix']!r}" if self.page.fields.get("gen_prefix") else ""
        optional = f", {self.page.code.optional}" if self.page.code.optional else ""
        shots = f"{self.shots}-shot{seed}{turns}{place}{opening}"
        return f"lm-evaluation-harness 0.4.13, page {self.page.digest}, {shots}, {way}{optional}"

    @property
    def _is_chat(self) -> bool:
        return self.chat and str(self.page.fields.get("output_type", "generate_until")) == "generate_until"

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(self.page.files(self.root).values())

    def items(self) -> list[Item]:
        """Raises PackageError if the harness or a package of the page's code is missing, DataError if the dataset is
        not at hand or does not fit the page."""
        docs = list(self._task.eval_docs)
        self._task.set_fewshot_seed(self.options.seed)
        kept = set(drawn([self._item_id(row) for row in range(len(docs))], self.limit))
        items = []
        for row, doc in enumerate(docs):
            try:
                # Examples that are drawn separately for each question are drawn for all of them, in order.
                requests = self._requests(row, doc)
                if row in kept:
                    items.append(self._item(row, doc, requests))
            except MALFORMED as error:
                raise DataError(
                    f"{self.name}: row {row} of its dataset cannot be asked ({error}). {self._mend()}"
                ) from error
        return items

    def score(self, items: Sequence[Item], answers: Sequence[Sequence[Answer]]) -> list[Verdict]:
        return [self._verdict(item, item_answers) for item, item_answers in zip(items, answers, strict=True)]

    def _item_id(self, row: int) -> str:
        return f"{self.page.name}/{row:05d}"

    def _requests(self, row: int, doc: Mapping[str, Any]) -> tuple[Request, ...]:
        """The requests of a question. A page's class may score texts where others write: those are asked behind the
        text that the same examples make outside of the chat."""
        # Without examples there may be no sampler, and classes of the harness' older kind have none.
        sampler = getattr(self._task, "sampler", None)
        draws = sampler.rnd if sampler and self.shots and self._is_chat else None
        state = draws.getstate() if draws else None
        requests = self._built(row, doc, self._is_chat)
        if not self._is_chat or all(isinstance(one, Generation) for one in requests):
            return requests
        if draws:
            draws.setstate(state)
        texts = self._built(row, doc, False)
        return tuple(one if isinstance(one, Generation) else text for one, text in zip(requests, texts, strict=True))

    def _built(self, row: int, doc: Mapping[str, Any], is_chat: bool) -> tuple[Request, ...]:
        """The requests that the harness builds for a question, in the chat or not."""
        messages: list[Mapping[str, str]] = []

        def render(conversation: "Messages", **_: object) -> str:
            messages.extend(conversation)
            return ""

        opening = self._task.doc_to_prefix(doc)
        chat = {"apply_chat_template": True, "fewshot_as_multiturn": True, "chat_template": render}
        context = self._task.fewshot_context(
            doc, num_fewshot=self.shots, gen_prefix=opening, **(chat if is_chat else {})
        )
        built = self._task.construct_requests(
            doc=doc,
            ctx=context,
            metadata=(self.page.name, row, 1),
            apply_chat_template=False,
            chat_template=None,
        )
        return tuple(self._request(one, messages) for one in (built if isinstance(built, list) else [built]))

    def _item(self, row: int, doc: Mapping[str, Any], requests: tuple[Request, ...]) -> Item:
        target = self._task.doc_to_target(doc)
        return Item(
            self._item_id(row),
            requests,
            text=" ".join(str(value) for value in doc.values()),
            gold=dict(doc),
            gold_text=target if isinstance(target, str) else str(target),
            chance=1 / len(requests) if len(requests) > 1 else 0.0,
            delimiter=self._task.config.fewshot_delimiter,
        )

    def _request(self, instance: Any, messages: "Messages") -> Request:
        kind, arguments = instance.request_type, instance.args
        if kind == "loglikelihood":
            return LogLikelihood(*arguments)
        if kind == "loglikelihood_rolling":
            return LogLikelihood("", arguments[0])
        context, settings = arguments
        temperature = float(settings.get("temperature", 0.0)) if settings.get("do_sample") else 0.0
        stops = settings["until"]
        request = Generation(
            context,
            tuple(stop for stop in ([stops] if isinstance(stops, str) else stops) if stop),
            settings.get("max_gen_toks", MAX_NEW_TOKENS),
            temperature,
            form=form_of(self.chat),
        )
        return _conversation(request, messages) if messages else request

    def _verdict(self, item: Item, answers: Sequence[Answer]) -> Verdict:
        if isinstance(answers[0], Text):
            shares, shown = self._filtered(item, answers[0].text), answers[0].text
        else:
            scored = [
                (answer.log_probability, answer.is_greedy) for answer in answers if isinstance(answer, Likelihood)
            ]
            rolling = self._task.OUTPUT_TYPE == "loglikelihood_rolling"
            results = self._task.process_results(item.gold, [value for value, _ in scored] if rolling else scored)
            shares = _shares(results, "none") | self._gold(item, answers)
            best = max(range(len(scored)), key=lambda index: scored[index][0])
            shown = f"choice {best + 1}" if len(scored) > 1 else ""
        headline = shares.get(self.headline)
        reason = "scored" if headline is None else "correct" if headline.part == headline.whole else "wrong"
        return Verdict(shares, shown, reason)

    def _gold(self, item: Item, answers: Sequence[Answer]) -> dict[str, Share]:
        """Bits per byte of the right choice, on pages that have one: they move while a small model still guesses."""
        if self._task.OUTPUT_TYPE not in ("multiple_choice", "loglikelihood"):
            return {}
        right = right_choice(self._task, item.gold, item.requests)
        if right is None:
            return {}
        request = item.requests[right]
        assert isinstance(request, LogLikelihood)
        return {GOLD: bits_of(answers[right], request.continuation)}

    def _filtered(self, item: Item, text: str) -> dict[str, Share]:
        """The metrics of each of the task's filters over a generated text."""
        shares: dict[str, Share] = {}
        for ensemble in self._task._filters:
            instance = Filtered(text, item.gold)
            ensemble.apply([instance])
            shares |= _shares(
                self._task.process_results(item.gold, [instance.filtered_resps[ensemble.name]]), ensemble.name
            )
        return shares

    @cached_property
    def _task(self) -> Any:
        harness = harness_imported()
        require(self.packages, self.name)
        try:
            fields = dict(harness.load_page(self.page.path))
        except ImportError as error:
            # A package may be there and broken, or lack one of its own.
            raise PackageError(f"{self.name}: its code cannot be imported ({error}). Install or mend that.") from error
        if int(fields.get("repeats") or 1) != 1:
            raise DataError(f"{self.name}: its page repeats every question, which is not supported. Name another task.")
        try:
            return self._made(harness, fields)
        except (OSError, *MALFORMED) as error:
            raise DataError(f"{self.name}: its dataset is not at hand ({error}). {self._mend()}") from error

    def _made(self, harness: Harness, fields: dict[str, Any]) -> Any:
        maker = fields.pop("class", None)
        for name in ("group", "tag", "task_alias"):
            fields.pop(name, None)
        files = self.page.files(self.root)
        if files:
            splits = {split: harness.dataset(list(rows_of(self.root / file))) for split, file in files.items()}
            fields |= {"dataset_path": "local", "dataset_name": None, "custom_dataset": lambda **_: splits}
            for name in ("training_split", "validation_split", "test_split", "fewshot_split"):
                if fields.get(name) and str(fields[name]) not in splits:
                    del fields[name]
        elif fields.get("dataset_path") in FILE_LOADERS:
            fields["dataset_kwargs"] = _absolute(fields.get("dataset_kwargs") or {}, self.page.path.parent)
        return maker(config=fields) if maker else harness.task(config=fields)

    def _mend(self) -> str:
        parts = [str(self.page.fields[name]) for name in ("dataset_path", "dataset_name") if self.page.fields.get(name)]
        folder = self.root.joinpath(DATASETS, *parts)
        return f"Put its splits there as {folder}/<split>.jsonl."


def _conversation(request: Generation, messages: "Messages") -> Generation:
    """The request whose prompt is the last of `messages` that the user says; the assistant's behind it is begun."""
    turns = [(each["role"], each["content"]) for each in messages]
    opening = turns.pop()[1] if turns[-1][0] == "assistant" else ""
    *before, (_, prompt) = turns
    return replace(request, prompt=prompt, turns=tuple(before), opening=opening)


def _shares(results: Mapping[str, Any], filter_name: str) -> dict[str, Share]:
    """Metrics that are one number for each document; bits per byte of a rolling log-likelihood."""
    shares = {
        measure_name(name, filter_name): Share(float(value), 1.0)
        for name, value in results.items()
        if isinstance(value, Real) and math.isfinite(value)
    }
    pair = results.get("bits_per_byte")
    if isinstance(pair, tuple):
        shares["bits_per_byte"] = Share(-pair[0] / math.log(2), float(pair[1]))
    return shares


def _absolute(settings: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Paths of data files that are relative to the page, in full."""

    def full(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: full(each) for name, each in value.items()}
        if isinstance(value, list):
            return [full(each) for each in value]
        return str(folder / value) if isinstance(value, str) and (folder / value).exists() else value

    return {**settings, **({"data_files": full(settings["data_files"])} if "data_files" in settings else {})}
