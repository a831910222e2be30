"""How many of the commonest words of its language a text has: one that has none of them is a list.

A language without a list is not asked: Chinese, Japanese and Thai have no words between blanks, and those of Hindi and
its neighbours are cut at vowel signs.
"""

from functools import cache

import numpy as np

from pipelines.artifacts.languages.words import ALIASES, ENGLISH, MIN_MARGIN, STOP_WORDS
from pipelines.score.text.characters import Characters, Words
from pipelines.score.text.language import Language


def num_stop_words(words: Words, language: Language) -> int | None:
    """Number of different stop words of `language` among `words`, or of those of English, if these are more; None if
    `language` has no list, or may well be a language without one.

    English pages whose menus or code look like another language are detected as that one: they lose nothing.
    """
    is_sure = language.code == ENGLISH or language.margin >= MIN_MARGIN
    code = ALIASES.get(language.code, language.code)
    if code not in STOP_WORDS or not is_sure:
        return None
    return max(_num_different(words.hashes, _hashes(listed)) for listed in {code, ENGLISH})


def _num_different(hashes: np.ndarray, listed: np.ndarray) -> int:
    positions = np.minimum(np.searchsorted(listed, hashes), len(listed) - 1)
    return len(set(positions[listed[positions] == hashes].tolist()))


@cache
def _hashes(language: str) -> np.ndarray:
    return np.unique(Characters(" ".join(sorted(STOP_WORDS[language]))).words.hashes)
