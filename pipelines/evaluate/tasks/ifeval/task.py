"""IFEval (Zhou et al. 2023, arXiv 2311.07911): prompts with instructions that a program can check, such as "in more
than 400 words" and "without a comma"."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

from infra.host.packages import require
from pipelines.evaluate.data.files import read_rows
from pipelines.evaluate.engine.requests import Answer, Generation, Text
from pipelines.evaluate.task import DataError, Factory, Item, Share, TaskOptions, Verdict, form_of, way_of
from pipelines.evaluate.tasks.ifeval.checks import CHECKS
from pipelines.evaluate.tasks.ifeval.punkt import digest_of, find_trained, trained_sentences
from pipelines.evaluate.tasks.ifeval.text import PACKAGE, language_detector, sentences_by
from pipelines.evaluate.tasks.sql_answers import CORRECT

PROMPTS = "ifeval/input_data.jsonl"
MAX_NEW_TOKENS = 1280
"""As in lm-evaluation-harness' ifeval."""
COMPLETION = " (completion form: the model continues the prompt)"


class Instruction(NamedTuple):
    """One of CHECKS by name, with its arguments."""

    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class IFEval:
    """All 541 prompts with their 834 instructions. Per prompt, `prompt_strict` is whether the response follows all its
    instructions, and `instruction_strict` how many of them; the `loose` measures take the best of eight readings of the
    response for each instruction (see `readings`). `chat`: whether the model is asked in its chat template. Sentences
    are counted by NLTK's trained Punkt if its files are there."""

    root: Path
    chat: bool = False
    name: str = "ifeval"
    headline: str = "prompt_strict"
    files: tuple[str, ...] = (PROMPTS,)
    runs: Literal["", "python", "sql"] = ""
    packages: tuple[str, ...] = (PACKAGE,)

    @property
    def protocol(self) -> str:
        return (
            f"0-shot, greedy, at most {MAX_NEW_TOKENS} tokens, {way_of(self.chat)}{'' if self.chat else COMPLETION}; "
            f"Google's instruction checks, langdetect with seed 0, {self._sentences}"
        )

    @property
    def _sentences(self) -> str:
        trained = find_trained(self.root)
        return f"sentences by trained Punkt {digest_of(trained)}" if trained else "Punkt's rules for sentences"

    def items(self) -> list[Item]:
        # Asked for now, and not when everything is answered.
        require(self.packages, self.name)
        language_detector()
        return [ifeval_item(number, row, self.chat) for number, row in enumerate(read_rows(self.root, PROMPTS))]

    def score(self, items: Sequence[Item], answers: Sequence[Sequence[Answer]]) -> list[Verdict]:
        trained = find_trained(self.root)
        with sentences_by(trained_sentences(trained) if trained else None):
            return [
                _verdict(item.gold, cast(Text, item_answers[0]).text)
                for item, item_answers in zip(items, answers, strict=True)
            ]


def ifeval_item(number: int, row: Mapping[str, Any], chat: bool) -> Item:
    """The item of row `number` of the data, from 0, asked in the chat or not.

    Raises DataError on an instruction that there is no check for.
    """
    pairs = zip(row["instruction_id_list"], row["kwargs"], strict=True)
    instructions = tuple(_instruction(number, name, arguments) for name, arguments in pairs)
    request = Generation(row["prompt"], (), MAX_NEW_TOKENS, form=form_of(chat))
    return Item(str(row["key"]), (request,), row["prompt"], instructions, place=(PROMPTS, number))


def follows(instruction: Instruction, response: str) -> bool:
    """Whether the response, as it is, follows the instruction; an empty one follows none."""
    return bool(response.strip()) and CHECKS[instruction.name](response, **instruction.arguments)


def readings(response: str) -> list[str]:
    """The readings of the loose measures: the response without its first line, its last line or both, which may be
    phrases around the answer, and each of these without the stars of Markdown."""
    lines = response.split("\n")
    shorter = ["\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1])]
    return [text for whole in (response, *shorter) for text in (whole, whole.replace("*", ""))]


def _verdict(instructions: Sequence[Instruction], response: str) -> Verdict:
    read = list(dict.fromkeys(readings(response)))
    strict = [follows(instruction, response) for instruction in instructions]
    loose = [
        is_followed or any(follows(instruction, text) for text in read)
        for is_followed, instruction in zip(strict, instructions, strict=True)
    ]
    shares = {}
    for kind, followed in (("strict", strict), ("loose", loose)):
        shares[f"prompt_{kind}"] = Share(float(all(followed)), 1.0)
        shares[f"instruction_{kind}"] = Share(float(sum(followed)), float(len(followed)))
    missed = [
        instruction.name for is_followed, instruction in zip(strict, instructions, strict=True) if not is_followed
    ]
    return Verdict(shares, response, f"not followed: {', '.join(missed)}" if missed else CORRECT)


def _instruction(number: int, name: str, arguments: Mapping[str, Any]) -> Instruction:
    arguments_present = {key: value for key, value in arguments.items() if value is not None}
    if name not in CHECKS:
        raise DataError(
            f"{PROMPTS}, row {number}: there is no check for the instruction {name!r}. Use the pinned file."
        )
    try:
        inspect.signature(CHECKS[name]).bind("", **arguments_present)
    except TypeError as error:
        raise DataError(
            f"{PROMPTS}, row {number}: {name} with {arguments_present}: {error}. Use the pinned file."
        ) from error
    return Instruction(name, arguments_present)


def _task(name: str, asks_chat: bool, options: TaskOptions) -> IFEval:
    return IFEval(options.root, options.chat and asks_chat, name)


TASKS: Mapping[str, Factory] = {
    "ifeval": partial(_task, "ifeval", True),
    "ifeval-base": partial(_task, "ifeval-base", False),
}
"""With "-base" it is asked without the chat template in any case."""
