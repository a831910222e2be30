"""Filter rules of your own: each decides from the scores of a document, after all limits, whether it stays.

# own_rule.py, beside the recipe
class EnoughWords(Section):
    columns: ClassVar = ("words", "num_links")
    words_per_link: int = 20

    def filter(self, scores: Mapping[str, Any]) -> bool:
        return scores["words"] >= self.words_per_link * scores["num_links"]

# corpus.toml
[[filter.rules]]
kind = "own_rule:EnoughWords"
"""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from arctic_errors import UserError

_REASON = re.compile(r"[a-z][a-z0-9_]{0,63}")


class RuleError(UserError, ValueError):
    """A rule of the user's asks for a column that there is not, or returns no decision."""


class FilterRule(Protocol):
    """A class that decides from scores alone: no clock, no network, no random numbers.

    `columns`: the scores that `filter` reads, and "url" and "licence" if it needs them.
    """

    columns: Sequence[str]

    def filter(self, scores: Mapping[str, Any]) -> bool | tuple[bool, str]:
        """True keeps the document; False drops it, for the class's name in snake_case, or for a given reason, such as
        `(False, "few_links")`."""


def require_columns(rules: Sequence[FilterRule], available: Collection[str]) -> None:
    """Raise RuleError if one of `rules` reads a column that is not `available`."""
    for rule in rules:
        name = type(rule).__name__
        if not rule.columns:
            raise RuleError(f"columns of {name}: empty. Name the scores that its filter reads.")
        for column in rule.columns:
            if column not in available:
                raise RuleError(f"columns of {name}: no score {column!r}. The scores are {', '.join(available)}.")


def apply_rules(rules: Sequence[FilterRule], columns: pa.Table, reasons: np.ndarray) -> np.ndarray:
    """`reasons` with the reason of the first of `rules` that drops a document, for those that have none yet.

    `columns`: scores, url and licence of the documents, in their order. Raises RuleError.
    """
    decided = reasons.copy()
    for rule in rules:
        rows = np.flatnonzero(decided == "")
        undecided = columns.select(list(rule.columns)).take(pa.array(rows))
        decided[rows] = [_reason(rule, row) for row in undecided.to_pylist()]
    return decided


def _reason(rule: FilterRule, row: Mapping[str, Any]) -> str:
    """Why `rule` drops a document with these scores, "" if it keeps it."""
    decision = rule.filter(row)
    keeps, reason = decision if isinstance(decision, tuple) else (decision, default_reason(rule))
    if not isinstance(keeps, bool | np.bool_):
        raise RuleError(f"{type(rule).__name__}.filter returned {decision!r}. Return True, False or (False, reason).")
    if not keeps and not _REASON.fullmatch(reason):
        raise RuleError(f"{type(rule).__name__}.filter gave the reason {reason!r}. Use a name such as few_links.")
    return "" if keeps else reason


def default_reason(rule: FilterRule) -> str:
    """The name of the rule's class in snake_case."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(rule).__name__).lower()
