"""HumanEval+ and MBPP+: does a model's program pass EvalPlus's tests, by its rules."""

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice, product
from pathlib import Path
from typing import Literal

from pipelines.evaluate.data.files import data_files
from pipelines.evaluate.engine.requests import Answer, Generation, Likelihood, LogLikelihood, Request, Text
from pipelines.evaluate.statistics.enterprise import GOLD
from pipelines.evaluate.task import Factory, Item, Share, TaskOptions, Verdict, bits_of
from pipelines.evaluate.tasks.code.judging import Asked, Checker, Finding, Sandboxes, SandboxKeeper, extract
from pipelines.evaluate.tasks.code.problems import Problem, read_problems
from pipelines.evaluate.tasks.code.prompts import Style, styles
from pipelines.evaluate.tasks.code.references import References
from pipelines.sandbox import PythonSandbox
from pipelines.sandbox.confinement import numpy_package
from pipelines.sandbox.confinement.limits import MIN_BUDGET_S

PASS_AT = (1, 10, 100)
"""The k of pass@k, if there are that many samples."""
SAMPLES, TEMPERATURE = 20, 0.2
"""BigCode's, if answers are sampled."""
EXTRACTED_TOGETHER = 64
"""Answers from which one process extracts programs."""


@dataclass(frozen=True)
class Benchmark:
    """`prefix`: of its problems' ids; `version` and `file` of its data."""

    prefix: str
    title: str
    version: str
    file: str


HUMANEVAL_PLUS = Benchmark("HumanEval", "HumanEval+", "v0.1.10", "humanevalplus/v0.1.10/HumanEvalPlus.jsonl.gz")
MBPP_PLUS = Benchmark("Mbpp", "MBPP+", "v0.2.0", "mbppplus/v0.2.0/MbppPlus.jsonl.gz")
MBPP_PLUS_FIRST = Benchmark("Mbpp", "MBPP+", "v0.1.0", "mbppplus/v0.1.0/MbppPlus.jsonl.gz")


@dataclass
class CodeTask:
    """One benchmark, asked in one style; a greedy answer to each problem, or `num_samples` sampled ones.

    An item's measures are pass@1 (EvalPlus's: base inputs and its own), pass@10 and pass@100 with that many samples,
    the same over base inputs alone, and bits per byte of the canonical solution. `num_sandboxes`, `numpy`: see
    `sandboxes`.
    """

    name: str
    benchmark: Benchmark
    style: Style
    root: Path
    unsafe: str = ""
    num_samples: int = 1
    num_sandboxes: int | None = None
    numpy: bool = False
    headline: str = "pass@1"
    runs: Literal["", "python", "sql"] = "python"
    references: References = field(default_factory=References, repr=False)
    keeper: SandboxKeeper = field(default_factory=SandboxKeeper, repr=False)

    @property
    def files(self) -> tuple[str, ...]:
        return (self.benchmark.file,)

    @property
    def packages(self) -> tuple[str, ...]:
        return (numpy_package.PACKAGE,) if self.numpy else ()

    @property
    def protocol(self) -> str:
        way = "greedy" if self.num_samples == 1 else f"{self.num_samples} samples at {TEMPERATURE}"
        digest = data_files()[self.benchmark.file].sha256[:12]
        library = f", programs can import numpy {numpy_package.version()}" if self.numpy else ""
        return (
            f"0-shot, {way}, {self.style.description}, {self.benchmark.title} {self.benchmark.version} ({digest}), "
            f"all base and plus inputs, at least {MIN_BUDGET_S:g} CPU s each{library}"
        )

    def items(self) -> list[Item]:
        problems = read_problems(self.root, self.benchmark.file)
        return [self._item(row, problem) for row, problem in enumerate(problems)]

    def judging(self) -> AbstractContextManager[None]:
        """Keeps sandboxes from one call of `score` to the next."""
        return self.keeper.keep()

    def score(self, items: Sequence[Item], answers: Sequence[Sequence[Answer]]) -> list[Verdict]:
        if not items:
            return []
        texts = [[answer.text for answer in own if isinstance(answer, Text)] for own in answers]
        asked = [
            (self.style.texts(item.gold, text), item.gold.entry_point)
            for item, own in zip(items, texts, strict=True)
            for text in own
        ]
        with self.keeper.use(len(items), self.unsafe, self.num_sandboxes, self.numpy) as ready:
            programs = iter(self._programs(ready, asked))
            works = [
                (item, own, list(islice(programs, len(of_item))))
                for item, own, of_item in zip(items, answers, texts, strict=True)
            ]
            return ready.map(self._verdict, works)

    def _item(self, row: int, problem: Problem) -> Item:
        generations = [
            Generation(
                self.style.prompt(problem),
                self.style.stops,
                self.style.max_new_tokens,
                0.0 if self.num_samples == 1 else TEMPERATURE,
                sample,
                self.style.form,
            )
            for sample in range(self.num_samples)
        ]
        requests: tuple[Request, ...] = (*generations, LogLikelihood(*_gold(problem)))
        location = (self.benchmark.file, row)
        text = problem.canonical_program
        return Item(problem.problem_id, requests, text, problem, problem.canonical_solution, place=location)

    def _programs(self, ready: Sandboxes, asked: Sequence[Asked]) -> Iterable[str]:
        if not self.style.extracts:
            return [texts[0] for texts, _ in asked]
        parts = [asked[n : n + EXTRACTED_TOGETHER] for n in range(0, len(asked), EXTRACTED_TOGETHER)]
        return chain.from_iterable(ready.map(extract, parts))

    def _verdict(self, sandbox: PythonSandbox, work: tuple[Item, Sequence[Answer], Sequence[str]]) -> Verdict:
        item, answers, programs = work
        checker = Checker(sandbox, self.references)
        findings = [checker.check(item.gold, program) for program in programs]
        shares = {
            f"pass@{k}{suffix}": Share(pass_at_k(len(findings), sum(map(is_right, findings)), k), 1.0)
            for suffix, is_right in (("", _is_right), ("_base", _is_base_right))
            for k in PASS_AT
            if k <= len(findings)
        }
        (gold,) = [answer for answer in answers if isinstance(answer, Likelihood)]
        shares[GOLD] = bits_of(gold, _gold(item.gold)[1])
        return Verdict(shares, findings[0].program, findings[0].reason)


def pass_at_k(num_samples: int, num_right: int, k: int) -> float:
    """Probability that one of `k` samples is right, without bias (arXiv 2107.03374, equation 1)."""
    return 1.0 - math.prod(1.0 - k / i for i in range(num_samples - num_right + 1, num_samples + 1))


def _gold(problem: Problem) -> tuple[str, str]:
    """Context and continuation of the canonical solution. Blanks between them are predicted with it, and so counted;
    blanks behind it are nobody's answer."""
    context = problem.prompt.rstrip()
    return context, problem.canonical_program.rstrip()[len(context) :]


def _is_right(finding: Finding) -> bool:
    return finding.is_right


def _is_base_right(finding: Finding) -> bool:
    return finding.is_base_right


def _variants(name: str, benchmark: Benchmark) -> dict[str, Factory]:
    """All ways of asking for the programs of a benchmark, the one that suits the model under its plain name."""
    factories: dict[str, Factory] = {}
    for way, num_samples in product(("", "base", "bigcode"), (1, SAMPLES)):
        parts = [name, *([way] if way else []), *([] if num_samples == 1 else [f"{num_samples}_samples"])]
        variant = "-".join(parts)
        factories[variant] = partial(_task, variant, benchmark, way, num_samples)
    return factories


def _task(name: str, benchmark: Benchmark, way: str, num_samples: int, options: TaskOptions) -> CodeTask:
    style = styles(benchmark.prefix)[way or ("chat" if options.chat else "base")]
    return CodeTask(name, benchmark, style, options.root, options.unsafe, num_samples, numpy=options.numpy)


TASKS: Mapping[str, Factory] = {
    **_variants("humaneval_plus", HUMANEVAL_PLUS),
    **_variants("mbpp_plus", MBPP_PLUS),
    **_variants("mbpp_plus-v0.1.0", MBPP_PLUS_FIRST),
}
"""By name: "humaneval_plus", "mbpp_plus" and "mbpp_plus-v0.1.0" as EvalPlus asks a model that has a chat template, or
one that has none; with "-base" as it asks the latter in any case, with "-bigcode" as BigCode does; with "-20_samples"
drawn answers. Names are of the kind that a recipe may hold."""
