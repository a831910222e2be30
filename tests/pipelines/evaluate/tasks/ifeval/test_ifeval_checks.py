"""IFEval's checks decide as Google's do: each has a response that follows it and one that does not, and all agree with
lm-evaluation-harness' copy of Google's checkers on made-up responses."""

import json
import random
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pipelines.evaluate.tasks.ifeval.checks import CHECKS
from pipelines.evaluate.tasks.ifeval.text import ABBREVIATIONS, count_capital_words, count_sentences
from tests.kit.optional import needs
from tests.kit.real_data import REAL_DATA

pytestmark = needs("langdetect")

REAL = REAL_DATA / "eval" / "ifeval" / "input_data.jsonl"
ENGLISH = "The old house stands on a green hill, and many people walk there in the summer"
GERMAN = "Das alte Haus steht auf einem grünen Hügel und viele Menschen gehen im Sommer dorthin"
RELATION = {"relation": "at least"}

CASES: dict[str, list[tuple[dict[str, Any], str, str]]] = {
    "change_case:capital_word_frequency": [
        ({"capital_frequency": 3, "capital_relation": "at least"}, "THE U.S. is BIG-TIME.", "THE Us is big."),
        ({"capital_frequency": 2, "capital_relation": "less than"}, "Only ONE.", "I DON'T."),
    ],
    "change_case:english_capital": [({}, ENGLISH.upper(), ENGLISH), ({}, ENGLISH.upper(), GERMAN.upper())],
    "change_case:english_lowercase": [({}, ENGLISH.lower(), ENGLISH), ({}, ENGLISH.lower(), GERMAN.lower())],
    "combination:repeat_prompt": [({"prompt_to_repeat": "Say it. "}, " say IT. Done.", "Done. Say it.")],
    "combination:two_responses": [({}, "One\n******\nTwo", "One\n******\nOne"), ({}, "A******B******", "A***B")],
    "detectable_content:number_placeholders": [({"num_placeholders": 2}, "[name] and [city]", "[name\n] and [city]")],
    "detectable_content:postscript": [
        ({"postscript_marker": "P.S."}, "Bye.\np. s. More.", "Bye, ps more."),
        ({"postscript_marker": "P.P.S"}, "Bye. P. P.S more", "P.S. more"),
    ],
    "detectable_format:constrained_response": [({}, "\nMy answer is no. Sorry.", "My answer is No.")],
    "detectable_format:json_format": [({}, '```json\n{"a": [1]}\n```', "{'a': 1}"), ({}, "[]", "[" * 100_000)],
    "detectable_format:multiple_sections": [
        ({"section_spliter": "SECTION", "num_sections": 2}, "SECTION 1\na\nSECTION2 b", "Section 1\nSECTION two"),
    ],
    "detectable_format:number_bullet_lists": [({"num_bullets": 2}, "* a\n  - b\n** c", "* a\n* b\n- c")],
    "detectable_format:number_highlighted_sections": [
        ({"num_highlights": 2}, "*one* and *two words*", "*one* and * * and **"),
    ],
    "detectable_format:title": [({}, "<<Joy>>\nText", "<< >>\n<Joy>")],
    "keywords:existence": [({"keywords": ["dog", "day"]}, "A Doggy DAY", "A dog")],
    "keywords:forbidden_words": [({"forbidden_words": ["damn"]}, "damned", "Oh, DAMN!")],
    "keywords:frequency": [
        ({"keyword": "knot", "frequency": 2, **RELATION}, "Knots and knots", "a knot"),
        ({"keyword": "knot", "frequency": 2, "relation": "less than"}, "a knot", "Knots and knots"),
    ],
    "keywords:letter_frequency": [
        ({"letter": "j", "let_frequency": 2, "let_relation": "at least"}, "Jujube", "just"),
        ({"letter": "#", "let_frequency": 2, "let_relation": "at least"}, "#a #b", "#a hhhh"),
    ],
    "language:response_language": [({"language": "de"}, GERMAN, ENGLISH), ({"language": "de"}, "123 456", ENGLISH)],
    "length_constraints:nth_paragraph_first_word": [
        ({"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "It"}, "One.\n\n'it, too.", "It.\n\nThat"),
        ({"num_paragraphs": 1, "nth_paragraph": 1, "first_word": "it"}, "It's so.\n\n", "\n\nIt"),
    ],
    "length_constraints:number_paragraphs": [({"num_paragraphs": 2}, "***a\n***\nb***", "a\n***\n***\nb")],
    "length_constraints:number_sentences": [
        ({"num_sentences": 3, **RELATION}, "Dr. Who came. He left! Why?", "Dr. J. Who came... at 3.5 p.m. and left."),
        ({"num_sentences": 2, "relation": "less than"}, "No", "No. Yes."),
    ],
    "length_constraints:number_words": [({"num_words": 4, **RELATION}, "It's a start", "a start-up")],
    "punctuation:no_comma": [({}, "a; b", "a, b")],
    "startend:end_checker": [({"end_phrase": "So what?"}, 'Yes. "so WHAT?" ', "So what? Yes")],
    "startend:quotation": [({}, ' "Hi" ', '"Hi'), ({}, '""', '"')],
}
EVERY = [(name, *case) for name, cases in CASES.items() for case in cases]


@pytest.mark.parametrize(("name", "arguments", "follows", "misses"), EVERY)
def test_a_check_tells_the_response_that_follows_from_one_that_does_not(
    name: str, arguments: dict[str, Any], follows: str, misses: str
) -> None:
    assert (CHECKS[name](follows, **arguments), CHECKS[name](misses, **arguments)) == (True, False)


def test_all_twenty_five_instructions_are_there() -> None:
    assert len(CHECKS) == 25 and CHECKS.keys() == CASES.keys()


PIECES = [
    *(
        "The cat",
        "sat on it",
        "Dr. Who",
        "e.g. this",
        "J. Bach",
        "the U.S. Army",
        "at 3.14 or 5",
        "I'M HERE",
        "DON'T",
        "it's",
    ),
    *(
        "CANNOT",
        "WELL-KNOWN",
        "U.S.A.",
        "dog",
        "day",
        "damn",
        "Knot",
        "jj",
        "#",
        "!",
        '"',
        "'so'",
        "(an aside.)",
        "«Oui!»",
    ),
    *(
        ".",
        ". ",
        "! ",
        "? ",
        "... ",
        ", ",
        ": ",
        "; ",
        "\n",
        "\n\n",
        "***",
        "\n***\n",
        "\n******\n",
        "-",
        " -- ",
        "—",
        "a.m. ",
    ),
    *(
        "\n* point",
        "\n- point",
        "*bold*",
        "**bolder**",
        "[name]",
        "<<Title>>",
        "<< >>",
        "P.S. so",
        "P.P.S so",
        "p. s. so",
    ),
    *(
        "SECTION 1",
        "Section 2",
        "Say it.",
        "So what?",
        "My answer is yes.",
        "{}",
        "[1]",
        "```json\n",
        "```",
        ENGLISH,
        GERMAN,
    ),
]
"""Parts of made-up responses: something for every check."""


def responses(count: int, seed: int) -> Iterator[str]:
    """Those of CASES, and `count` made-up ones."""
    yield from dict.fromkeys(text for _, _, *both in EVERY for text in both if len(text) < 1000)
    generator = random.Random(seed)
    for _ in range(count):
        pieces = generator.choices(PIECES, k=generator.randint(1, 12))
        text = "".join(piece + generator.choice(["", " ", " "]) for piece in pieces).strip()
        yield generator.choice(
            [text, text, text, text.upper(), text.lower(), f'"{text}"', f"{text} So what?", f"It {text}"]
        )


@pytest.fixture(scope="module")
def nltk_tokenizers() -> tuple[Callable[[str], list[str]], Callable[[str], list[str]]]:
    """NLTK's sentences, with our abbreviations instead of its trained model, and its words."""
    punkt = pytest.importorskip("nltk.tokenize.punkt")
    words = pytest.importorskip("nltk.tokenize.destructive").NLTKWordTokenizer()
    parameters = punkt.PunktParameters()
    parameters.abbrev_types = set(ABBREVIATIONS)
    sentences = punkt.PunktSentenceTokenizer(parameters)
    return sentences.tokenize, lambda text: [word for part in sentences.tokenize(text) for word in words.tokenize(part)]


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("", 0),
        ("One", 1),
        ("One. Two! Three? Four", 4),
        ("He said: “Go!” They went.", 2),
        ("(An aside.) It goes on.", 2),
        ("Mr. J. Bach of St. Ives, e.g. on Jan. 3, won 3. place at 10 p.m. sharp.", 1),
        ("Wait... what now?! No way", 2),
        ("One.Two. 3.5 is three.\n\n- Four.\n- five", 4),
        ("No. Yes.", 2),
    ],
)
def test_sentences(text: str, sentences: int) -> None:
    assert count_sentences(text) == sentences


@pytest.mark.parametrize(
    ("text", "capitals"),
    [
        ("", 0),
        ("I AM Here, and You?", 2),
        ("THE U.S.A. and WELL-KNOWN B2B FIRMS.", 5),
        ("IT'S DON'T CANNOT GONNA it's", 8),
        ("'QUOTED' «OUI» 3 X:Y 12:30 A,1", 5),
    ],
)
def test_words_in_capitals(text: str, capitals: int) -> None:
    assert count_capital_words(text) == capitals


@pytest.mark.slow
def test_sentences_and_capitals_are_counted_as_nltk_does(nltk_tokenizers: Any) -> None:
    sentences, words = nltk_tokenizers
    for text in responses(5000, seed=1):
        assert count_sentences(text) == len(sentences(text)), text
        assert count_capital_words(text) == sum(word.isupper() for word in words(text)), text


@pytest.fixture
def harness(nltk_tokenizers: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, dict[str, Any], str], bool]:
    """The checkers of lm-evaluation-harness, imported without the rest of it and without its download."""
    result = [Path(folder) / "lm_eval" / "tasks" / "ifeval" for folder in sys.path]
    folder = next((path for path in result if (path / "instructions.py").is_file()), None)
    if folder is None:
        pytest.skip("needs lm_eval")
    for name in ("lm_eval", "lm_eval.tasks", "lm_eval.tasks.ifeval"):
        package = ModuleType(name)
        package.__path__ = [str(folder)]
        monkeypatch.setitem(sys.modules, name, package)
    nltk = pytest.importorskip("nltk")
    monkeypatch.setattr(nltk.data, "find", lambda _: None)
    for name in ("instructions_util", "instructions", "instructions_registry"):
        monkeypatch.delitem(sys.modules, f"lm_eval.tasks.ifeval.{name}", raising=False)
    from importlib import import_module

    registry = import_module("lm_eval.tasks.ifeval.instructions_registry")
    util = import_module("lm_eval.tasks.ifeval.instructions_util")
    sentences, words = nltk_tokenizers
    monkeypatch.setattr(util, "count_sentences", lambda text: len(sentences(text)))
    monkeypatch.setattr(nltk, "word_tokenize", words)

    def check(name: str, arguments: dict[str, Any], response: str) -> bool:
        instruction = registry.INSTRUCTION_DICT[name](name)
        instruction.build_description(**arguments)
        return bool(instruction.check_following(response))

    return check


def comparable(name: str, arguments: dict[str, Any]) -> bool:
    """The harness counts a random letter if another character was asked for."""
    return name != "keywords:letter_frequency" or re.fullmatch("[a-zA-Z]", arguments["letter"]) is not None


def agree(
    harness: Callable[[str, dict[str, Any], str], bool], asked: list[tuple[str, dict[str, Any]]], texts: list[str]
) -> None:
    """Both decide alike on every text, and every check has both outcomes."""
    outcomes = defaultdict(set)
    for name, arguments in asked:
        for text in texts:
            decided = CHECKS[name](text, **arguments)
            assert decided == harness(name, arguments, text), (name, arguments, text)
            outcomes[name].add(decided)
    assert dict(outcomes) == {name: {True, False} for name, _ in asked}


@pytest.mark.slow
def test_checks_decide_as_the_harness_does(harness: Callable[[str, dict[str, Any], str], bool]) -> None:
    asked = [(name, arguments) for name, arguments, _, _ in EVERY if comparable(name, arguments)]
    slow = {"language:response_language"}
    agree(harness, [pair for pair in asked if pair[0] not in slow], list(responses(150, seed=2)))
    agree(harness, [pair for pair in asked if pair[0] in slow], list(responses(12, seed=2)))


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_file(), reason=f"needs {REAL}")
def test_checks_with_the_real_arguments_decide_as_the_harness_does(
    harness: Callable[[str, dict[str, Any], str], bool],
) -> None:
    rows = [json.loads(line) for line in REAL.read_text(encoding="utf-8").split("\n") if line]
    for row in rows:
        for name, arguments in zip(row["instruction_id_list"], row["kwargs"], strict=True):
            if comparable(name, arguments):
                for text in random.Random(row["key"]).sample(list(responses(20, seed=row["key"])), 20):
                    assert CHECKS[name](text, **arguments) == harness(name, arguments, text), (name, arguments, text)
