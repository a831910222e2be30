"""Scores that others published for the same benchmarks, to read next to your own: never measured here."""

import tomllib
from collections.abc import Collection
from importlib.resources import files
from typing import NamedTuple


class Published(NamedTuple):
    """One published score, from 0 to 1, with who published it and when (ISO 8601)."""

    model: str
    measure: str
    value: float
    source: str
    date: str


def published_scores(tasks: Collection[str]) -> list[Published]:
    """Published scores of the benchmarks among `tasks`; a variant such as "spider-base" is another protocol.

    >>> [(each.model, each.value) for each in published_scores({"gsm8k"})]
    [('Snowflake Arctic Instruct', 0.742)]
    """
    page = tomllib.loads(files("pipelines.report.evaluation").joinpath("published.toml").read_text(encoding="utf-8"))
    return [
        Published(entry["model"], measure, score["value"], entry["source"], entry["date"])
        for entry in page["scores"]
        for measure, score in entry["values"].items()
        if set(score["tasks"]) <= set(tasks)
    ]
