"""The language of a text, and how sure that is."""

from dataclasses import dataclass
from typing import Any

from resiliparse.parse.lang import detect_fast

CHARACTERS = 2000
"""Characters from the start of a text that its language is told from; more change the answer of few pages."""
ARBITER_CHARACTERS = 500
ARBITER_MARGIN = 0.05
"""Margin below which py3langid decides among the nearest languages. Of 475 real pages 5 % lie below; above, the two
engines differ on one."""
NUM_CANDIDATES = 3


@dataclass(frozen=True)
class Language:
    """`code`: ISO 639-1, "unknown" where no profile is near. `margin`: how much farther the second profile is than the
    first, as a share of its distance; 1 if there is no second. `arbitrated`: the second engine was asked."""

    code: str
    margin: float
    arbitrated: bool


def detect(text: str, arbitrate: bool) -> Language:
    """resiliparse's nearest profile of 101 languages; where the margin is small and `arbitrate` is set, py3langid's
    choice among the nearest."""
    nearest: Any = detect_fast(text[:CHARACTERS], n_results=NUM_CANDIDATES)
    if not nearest:
        return Language("unknown", 0.0, False)
    code, distance = nearest[0]
    second = nearest[1][1] if len(nearest) > 1 else 0
    margin = (second - distance) / second if second else 1.0
    if margin >= ARBITER_MARGIN or not arbitrate:
        return Language(code, margin, False)
    return Language(_arbitrate(text[:ARBITER_CHARACTERS], [candidate for candidate, _ in nearest]), margin, True)


def _arbitrate(text: str, candidates: list[str]) -> str:
    """The likeliest of `candidates`, which stand nearest first; the nearest where the arbiter knows none of them."""
    # Imported here: it loads a model of 5 MB, which many corpora never need.
    import py3langid

    return next((code for code, _ in py3langid.rank(text) if code in candidates), candidates[0])
