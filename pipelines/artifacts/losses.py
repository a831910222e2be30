"""Warnings from a filter's counts, in one sentence each for the console, MLflow and the report."""

from collections.abc import Mapping

MAX_DROPPED_FRACTION = 0.5


def loss_note(corpus: str, num_documents: int, dropped: Mapping[str, int]) -> str:
    """That the filter of `corpus` dropped more than half of its documents, and which rule most; "" if it did not.

    `dropped`: documents by rule.
    """
    total = sum(dropped.values())
    if total <= MAX_DROPPED_FRACTION * num_documents:
        return ""
    top = min(dropped, key=lambda rule: (-dropped[rule], rule))
    return (
        f"corpus {corpus}: the filter dropped {total:,} of {num_documents:,} documents ({total / num_documents:.0%}), "
        f"{dropped[top]:,} of them by the rule {top}. Look at samples of them in the report; if they are worth "
        "reading, loosen its limit under [filter]."
    )
