"""Retrieval from long texts as a task: accuracy by length and depth, each with its interval."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from pipelines.evaluate.engine.requests import Answer, Generation, text_of
from pipelines.evaluate.task import Factory, Item, Share, TaskOptions, Verdict
from pipelines.evaluate.tasks.long_context.texts import KINDS, Puzzle

LENGTHS = (4096, 8192, 16_384, 32_768, 65_536, 131_072)
"""Bytes: 1K to 32K tokens of four bytes."""
DEPTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
ITEMS = 10
"""Texts of each length and depth."""
MAX_NEW_TOKENS = 24


@dataclass(frozen=True)
class LongContext:
    """Texts of one kind (see `texts.KINDS`), `num_items` of each of `lengths` in bytes and `depths` from 0 to 1.

    A model with too few positions loses the beginning of a text, which each answer counts.
    """

    kind: str
    lengths: tuple[int, ...] = LENGTHS
    depths: tuple[float, ...] = DEPTHS
    num_items: int = ITEMS
    headline: str = "accuracy"
    files: tuple[str, ...] = ()
    runs: Literal["", "python", "sql"] = ""
    packages: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """As in a suite."""
        return f"long_{self.kind}"

    @property
    def protocol(self) -> str:
        lengths, depths = ("/".join(map(str, values)) for values in (self.lengths, self.depths))
        return (
            f"0-shot, greedy, as text that goes on; {self.num_items} texts of each of {lengths} bytes at depth "
            f"{depths}; the answer contains what was hidden"
        )

    def items(self) -> list[Item]:
        return [
            self._item(length, depth, number)
            for length in self.lengths
            for depth in self.depths
            for number in range(self.num_items)
        ]

    def score(self, items: Sequence[Item], answers: Sequence[Sequence[Answer]]) -> list[Verdict]:
        return [self._verdict(item, text_of(first)) for item, (first,) in zip(items, answers, strict=True)]

    def _item(self, length: int, depth: float, number: int) -> Item:
        item_id = f"{self.kind}/{length}/{depth:g}/{number}"
        puzzle: Puzzle = KINDS[self.kind](length, depth, random.Random(item_id))
        request = Generation(f"{puzzle.text}\n{puzzle.question}", ("\n",), MAX_NEW_TOKENS)
        gold = {"answers": puzzle.answers, "length": length, "depth": depth}
        # The texts are made here, so none was trained on: there is no text to look for in the corpora.
        return Item(item_id, (request,), "", gold, ", ".join(puzzle.answers))

    def _verdict(self, item: Item, text: str) -> Verdict:
        hits = sum(answer in text for answer in item.gold["answers"])
        share = Share(hits / len(item.gold["answers"]), 1.0)
        length, depth = item.gold["length"], item.gold["depth"]
        names = (self.headline, f"{self.headline}/{length}", f"{self.headline}/{length}/{depth:g}")
        return Verdict(dict.fromkeys(names, share), text.strip(), "correct" if share.part == 1 else "not found")


def _task(kind: str, options: TaskOptions) -> LongContext:
    # Continued texts are asked of every model alike: a base model retrieves before it follows instructions.
    return LongContext(kind, options.long_context_bytes or LENGTHS)


TASKS: Mapping[str, Factory] = {f"long_{kind}": partial(_task, kind) for kind in KINDS}
