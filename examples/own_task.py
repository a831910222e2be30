"""Score checkpoints on a task of your own: items with requests, and a verdict for each answer.

    python examples/own_task.py

A run recipe names the class under `[evaluate]`: `tasks = ["spider", { kind = "own_task:Capitals", num_items = 3 }]`. To
ask it of one checkpoint, run `arctic evaluate CHECKPOINT --suite own_task:Capitals`. Its code is part of the key.
"""

from collections.abc import Sequence
from typing import ClassVar

from data_recipes import Section
from pipelines.evaluate.engine.requests import Answer, Likelihood, LogLikelihood
from pipelines.evaluate.task import Item, Share, Verdict

CAPITALS = {"France": "Paris", "Japan": "Tokyo", "Peru": "Lima", "Kenya": "Nairobi"}


class Capitals(Section):
    """Which capital does the model find likeliest?"""

    name: ClassVar[str] = "capitals"
    headline: ClassVar[str] = "acc"
    protocol: ClassVar[str] = "0-shot, log-likelihood of the cities"
    files: ClassVar[tuple[str, ...]] = ()
    runs: ClassVar[str] = ""
    packages: ClassVar[tuple[str, ...]] = ()

    num_items: int = 4

    def items(self) -> list[Item]:
        return [self._item(country) for country in sorted(CAPITALS)[: self.num_items]]

    def score(self, items: Sequence[Item], answers: Sequence[Sequence[Answer]]) -> list[Verdict]:
        return [self._verdict(item, cities) for item, cities in zip(items, answers, strict=True)]

    def _item(self, country: str) -> Item:
        context = f"The capital of {country} is"
        requests = tuple(LogLikelihood(context, f" {city}") for city in CAPITALS.values())
        return Item(country, requests, context, gold=CAPITALS[country], chance=1 / len(requests))

    def _verdict(self, item: Item, answers: Sequence[Answer]) -> Verdict:
        likelihoods = [answer.log_probability for answer in answers if isinstance(answer, Likelihood)]
        city = list(CAPITALS.values())[likelihoods.index(max(likelihoods))]
        is_right = city == item.gold
        return Verdict({"acc": Share(float(is_right), 1.0)}, city, "correct" if is_right else "wrong city")


def main() -> None:
    """A model that always prefers Paris."""
    task = Capitals()
    items = task.items()
    answers = [[Likelihood(0.0 if city == "Paris" else -9.0, False, 0) for city in CAPITALS.values()] for _ in items]
    for item, verdict in zip(items, task.score(items, answers), strict=True):
        print(f"{item.text} {verdict.answer}: {verdict.reason}")


if __name__ == "__main__":
    main()
