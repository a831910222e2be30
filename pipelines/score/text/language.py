"""The language of a text, and how sure that is."""

import math
from dataclasses import dataclass
from typing import Any

from resiliparse.parse.lang import detect_fast

CHARACTERS = 2000
"""Characters from the start of a text that decide its language; more change the answer of few pages."""
ARBITER_CHARACTERS = 500
ARBITER_MARGIN = 0.05
"""Margin below which py3langid decides among the nearest languages. Of 475 real pages 5 % lie below; above, the two
engines differ on one."""
NUM_CANDIDATES = 3
SHORT_CHARACTERS = 300
"""Below this, py3langid decides alone: resiliparse names 72 % of single sentences, py3langid 98 %."""
MIN_PROBABILITY = 0.5
"""Of py3langid's first language if it decides alone; below it a text has no language that the engine knows."""
NO_LANGUAGE = "zxx"
"""ISO 639-2: no linguistic content."""
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Language:
    """`code`: ISO 639-1, "unknown" if no profile is near. `margin`: how much farther the second profile is than the
    first, as a share of its distance; 1 if there is no second. `arbitrated`: the second engine was asked."""

    code: str
    margin: float
    arbitrated: bool


def detect(text: str, arbitrate: bool) -> Language:
    """resiliparse's nearest profile of 101 languages. If `arbitrate` is set, py3langid chooses among the nearest if the
    margin is small, and among all that it knows if the text is short or no profile is near."""
    nearest: Any = detect_fast(text[:CHARACTERS], n_results=NUM_CANDIDATES)
    second = nearest[1][1] if len(nearest) > 1 else 0
    margin = (second - nearest[0][1]) / second if second else float(bool(nearest))
    candidates = [code for code, _ in nearest]
    if arbitrate and (not candidates or len(text) < SHORT_CHARACTERS):
        return Language(_likeliest(text[:ARBITER_CHARACTERS]), margin, True)
    if not arbitrate or margin >= ARBITER_MARGIN:
        return Language(candidates[0] if candidates else UNKNOWN, margin, False)
    return Language(_arbitrate(text[:ARBITER_CHARACTERS], candidates), margin, True)


def _likeliest(text: str) -> str:
    """py3langid's language, or "unknown" if it is in doubt."""
    import py3langid

    ranked = py3langid.rank(text)
    code, best = ranked[0]
    probability = 1 / math.fsum(math.exp(score - best) for _, score in ranked)
    return UNKNOWN if probability < MIN_PROBABILITY or code == NO_LANGUAGE else str(code)


def _arbitrate(text: str, candidates: list[str]) -> str:
    """The likeliest of `candidates`, which are ordered by distance; the nearest if the arbiter knows none of them."""
    # Imported here: it loads a model of 5 MB, which many corpora never need.
    import py3langid

    return next((code for code, _ in py3langid.rank(text) if code in candidates), candidates[0])
