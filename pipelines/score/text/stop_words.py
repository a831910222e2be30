"""The commonest words of languages that put blanks between words: a text of a language that has none of them is a list.

English: the eight words of Gopher's rule (arXiv 2112.11446, table A1). Other languages: function words among the most
frequent of their Wikipedias, more of them where endings spread a function over many words. A language that is not here
is not asked: Chinese, Japanese and Thai have no words between blanks, and many others no list that was tried.
"""

from collections.abc import Mapping
from functools import cache

import numpy as np

from pipelines.score.text.characters import Characters, Words
from pipelines.score.text.language import Language

_SERBO_CROATIAN = "i je u na se da za su od s koji kao ili iz и је у на се да за су од који као"
_NORWEGIAN = "og i er det som en et på til av for med den ikke har"
_MALAY = "yang dan di dengan dari daripada untuk pada ini itu dalam tidak adalah ke oleh"
_LISTS = {
    "en": "the be to of and that have with",
    "af": "die en van in is het dat nie om te vir met 'n wat",
    "ar": "في من على إلى أن التي الذي عن مع هذا هذه ما لا كان أو و",
    "bg": "и на в за от се да с е по не са като че",
    "bs": _SERBO_CROATIAN,
    "ca": "de la i el que en a les per un amb es del no és",
    "cs": "a v se na je že to s z do o pro jako ve by",
    "da": "og i er det som en et på til af for med den ikke har",
    "de": "der die und in den von zu das mit sich des auf für ist nicht",
    "el": "και του το της την από με η να που ο των σε είναι για",
    "es": "de la que el en y a los se del las un por con una",
    "et": "ja on ei et oli ka see kui mis ning ta aga oma nii siis",
    "fa": "و در به از که این را با است آن برای یک تا بر می",
    "fi": "ja on ei oli se että kun mutta myös hän joka sekä tai ovat kuin niin",
    "fr": "de la le et les des en un du une que est pour dans qui",
    "he": "של את על לא הוא עם זה כי גם או אם היא מה כל אל",
    "hr": _SERBO_CROATIAN,
    "hu": "a az és hogy nem is egy de ez meg csak el még volt vagy",
    "id": _MALAY,
    "is": "og að í á er sem en það við um ekki var til með",
    "it": "di e che la il un a per in una è non del si con",
    "lt": "ir į kad tai iš su yra buvo ne kaip o už bet apie",
    "lv": "un ir ar no uz par ka kas bet kā tas arī lai vai pie",
    "mk": "и на во од се да за е со не по како што го",
    "ms": _MALAY,
    "nb": _NORWEGIAN,
    "nl": "de van het een en in is dat op te zijn met voor die niet",
    "nn": "og i er det som ein eit på til av for med den ikkje har",
    "no": _NORWEGIAN,
    "pl": "i w na z do się nie to jest że o jak po od za",
    "pt": "de a que o e do da em um para com não uma os no",
    "ro": "de în și şi a la cu un o pe nu din care este să că",
    "ru": "и в на с не что по к из как это за от но у",
    "sh": _SERBO_CROATIAN,
    "sk": "a v sa na je že to s z do o pre ako by aj",
    "sl": "in je v na se da za z so ki pa ne kot tudi od",
    "sq": "e të në dhe i për me një nga që është si nuk të se",
    "sr": _SERBO_CROATIAN,
    "sv": "och i att det som en på är av för med till den inte har",
    "tr": "ve bir bu da de için ile ne çok daha gibi olarak o var mı",
    "uk": "і в на з не що до у та за як це від по а",
    "vi": "là và của có không một cho được trong các người này đã với những",
}
"""By ISO 639-1 code; `sh` and `nb` are what some engines answer as well."""
ENGLISH = "en"
MIN_MARGIN = 0.1
"""How much farther the second language is at least where the first is asked for its words: Tatar is told as Turkish,
Xhosa as Estonian, with less."""
STOP_WORDS: Mapping[str, frozenset[str]] = {code: frozenset(words.split()) for code, words in _LISTS.items()}


def num_stop_words(words: Words, language: Language) -> int | None:
    """How many different ones of the stop words of `language` stand among `words`, or of those of English, if these are
    more; None if `language` has no list, or may well be one without.

    English pages whose menus or code look like another language are told as that one: they lose nothing.
    """
    is_sure = language.code == ENGLISH or language.margin >= MIN_MARGIN
    if language.code not in STOP_WORDS or not is_sure:
        return None
    return max(_num_different(words.hashes, _hashes(code)) for code in {language.code, ENGLISH})


def _num_different(hashes: np.ndarray, listed: np.ndarray) -> int:
    positions = np.minimum(np.searchsorted(listed, hashes), len(listed) - 1)
    return len(set(positions[listed[positions] == hashes].tolist()))


@cache
def _hashes(language: str) -> np.ndarray:
    return np.unique(Characters(" ".join(sorted(STOP_WORDS[language]))).words.hashes)
