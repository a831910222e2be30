"""Scores that others published for the same benchmarks, to read next to your own: never measured here."""

import tomllib
from collections.abc import Collection
from importlib.resources import files
from statistics import fmean
from typing import Any, NamedTuple

ENTERPRISE = {"humaneval_plus", "mbpp_plus", "spider", "ifeval"}
"""Tasks of the three parts of enterprise intelligence, which is their mean."""


class Published(NamedTuple):
    """One published score, from 0 to 1, with who published it and when (ISO 8601)."""

    model: str
    measure: str
    value: float
    source: str
    date: str


class Point(NamedTuple):
    """Enterprise intelligence of a published model, by the formula from its parts, and active parameters x tokens."""

    model: str
    compute: float
    value: float


def published_points() -> list[Point]:
    """The models whose compute and all parts are published.

    >>> [(each.model, f"{each.compute:.2e}", round(each.value, 3)) for each in published_points()]
    [('Snowflake Arctic Instruct', '6.06e+22', 0.652)]
    """
    return [
        Point(entry["model"], entry["active_parameters"] * entry["training_tokens"], fmean(parts))
        for entry in _page()["scores"]
        if (parts := [each["value"] for each in entry["values"].values() if set(each["tasks"]) <= ENTERPRISE])
    ]


def published_scores(tasks: Collection[str]) -> list[Published]:
    """Published scores of the benchmarks among `tasks`; a variant such as "spider-base" is another protocol.

    >>> [(each.model, each.value) for each in published_scores({"gsm8k"})]
    [('Snowflake Arctic Instruct', 0.742)]
    """
    return [
        Published(entry["model"], measure, score["value"], entry["source"], entry["date"])
        for entry in _page()["scores"]
        for measure, score in entry["values"].items()
        if set(score["tasks"]) <= set(tasks)
    ]


def _page() -> dict[str, Any]:
    return tomllib.loads(files("pipelines.report.figures").joinpath("published.toml").read_text(encoding="utf-8"))
