"""The 25 instructions of IFEval (Zhou et al. 2023, arXiv 2311.07911), each a function of a response and its arguments.

They decide as Google's `instruction_following_eval` does (its version of 2025, in which any character may be counted as
a "letter"). Keywords and splitters are regular expressions there, and so they are here.
"""

import json
import operator
import re
from collections.abc import Callable, Mapping, Sequence

from pipelines.evaluate.tasks.ifeval.text import count_capital_words, count_sentences, language_of

RELATIONS: Mapping[str, Callable[[int, int], bool]] = {"less than": operator.lt, "at least": operator.ge}
OPTIONS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
POSTSCRIPTS = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}
"""The accepted spellings of the two usual markers; any other is matched literally."""


def has_keywords(response: str, keywords: Sequence[str]) -> bool:
    return all(re.search(keyword, response, re.IGNORECASE) for keyword in keywords)


def has_keyword_often(response: str, keyword: str, frequency: int, relation: str) -> bool:
    return RELATIONS[relation](len(re.findall(keyword.strip(), response, re.IGNORECASE)), frequency)


def has_no_forbidden_words(response: str, forbidden_words: Sequence[str]) -> bool:
    return not any(re.search(rf"\b{word}\b", response, re.IGNORECASE) for word in forbidden_words)


def has_letter_often(response: str, letter: str, let_frequency: int, let_relation: str) -> bool:
    return RELATIONS[let_relation](response.lower().count(letter.strip().lower()), let_frequency)


def is_in_language(response: str, language: str) -> bool:
    return language_of(response) in (language, None)


def has_sentences(response: str, num_sentences: int, relation: str) -> bool:
    return RELATIONS[relation](count_sentences(response), num_sentences)


def has_paragraphs(response: str, num_paragraphs: int) -> bool:
    """Exactly this many paragraphs, with `***` between them."""
    paragraphs = [paragraph.strip() for paragraph in re.split(r"\s?\*\*\*\s?", response)]
    return all(paragraphs[1:-1]) and sum(map(bool, paragraphs)) == num_paragraphs


def has_words(response: str, num_words: int, relation: str) -> bool:
    return RELATIONS[relation](len(re.findall(r"\w+", response)), num_words)


def has_first_word(response: str, num_paragraphs: int, nth_paragraph: int, first_word: str) -> bool:
    """This many paragraphs, with empty lines between them, and that first word in one of them."""
    paragraphs = response.split("\n\n")
    num_filled = sum(bool(paragraph.strip()) for paragraph in paragraphs)
    if num_filled != num_paragraphs or nth_paragraph > num_filled or not paragraphs[nth_paragraph - 1].strip():
        return False
    word = paragraphs[nth_paragraph - 1].split()[0].lstrip("'").lstrip('"')
    return re.split("[.,?!'\"]", word)[0].lower() == first_word.lower()


def has_placeholders(response: str, num_placeholders: int) -> bool:
    return len(re.findall(r"\[.*?\]", response)) >= num_placeholders


def has_postscript(response: str, postscript_marker: str) -> bool:
    marker = postscript_marker.strip()
    return re.search(POSTSCRIPTS.get(marker, marker.lower()), response.lower()) is not None


def has_bullets(response: str, num_bullets: int) -> bool:
    stars = re.findall(r"^\s*\*[^\*].*$", response, re.MULTILINE)
    dashes = re.findall(r"^\s*-.*$", response, re.MULTILINE)
    return len(stars) + len(dashes) == num_bullets


def is_one_of_the_options(response: str) -> bool:
    return any(option in response for option in OPTIONS)


def has_highlights(response: str, num_highlights: int) -> bool:
    """Bold text counts twice: between its inner stars too."""
    single = [highlight.strip("*") for highlight in re.findall(r"\*[^\n\*]*\*", response)]
    double = [
        highlight.removeprefix("**").removesuffix("**") for highlight in re.findall(r"\*\*[^\n\*]*\*\*", response)
    ]
    return sum(bool(highlight.strip()) for highlight in (*single, *double)) >= num_highlights


def has_sections(response: str, section_spliter: str, num_sections: int) -> bool:
    return len(re.findall(rf"{section_spliter.strip()}\s?\d+", response)) >= num_sections


def is_json(response: str) -> bool:
    text = response.strip()
    for fence in ("```json", "```Json", "```JSON", "```"):
        text = text.removeprefix(fence)
    try:
        json.loads(text.removesuffix("```").strip())
    except (ValueError, RecursionError):
        return False
    return True


def has_title(response: str) -> bool:
    return any(title.lstrip("<").rstrip(">").strip() for title in re.findall(r"<<[^\n]+>>", response))


def has_two_responses(response: str) -> bool:
    """Two different ones with `******` between them."""
    parts = [part.strip() for part in response.split("******")]
    filled = [part for part in parts if part]
    return all(parts[1:-1]) and len(filled) == 2 and filled[0] != filled[1]


def repeats_prompt(response: str, prompt_to_repeat: str) -> bool:
    return response.strip().lower().startswith(prompt_to_repeat.strip().lower())


def has_end(response: str, end_phrase: str) -> bool:
    return response.strip().strip('"').lower().endswith(end_phrase.strip().lower())


def has_capital_words(response: str, capital_frequency: int, capital_relation: str) -> bool:
    return RELATIONS[capital_relation](count_capital_words(response), capital_frequency)


def is_english_in_capitals(response: str) -> bool:
    return response.isupper() and language_of(response) in ("en", None)


def is_english_in_lowercase(response: str) -> bool:
    return response.islower() and language_of(response) in ("en", None)


def has_no_comma(response: str) -> bool:
    return "," not in response


def is_quoted(response: str) -> bool:
    text = response.strip()
    return len(text) > 1 and text[0] == text[-1] == '"'


CHECKS: Mapping[str, Callable[..., bool]] = {
    "change_case:capital_word_frequency": has_capital_words,
    "change_case:english_capital": is_english_in_capitals,
    "change_case:english_lowercase": is_english_in_lowercase,
    "combination:repeat_prompt": repeats_prompt,
    "combination:two_responses": has_two_responses,
    "detectable_content:number_placeholders": has_placeholders,
    "detectable_content:postscript": has_postscript,
    "detectable_format:constrained_response": is_one_of_the_options,
    "detectable_format:json_format": is_json,
    "detectable_format:multiple_sections": has_sections,
    "detectable_format:number_bullet_lists": has_bullets,
    "detectable_format:number_highlighted_sections": has_highlights,
    "detectable_format:title": has_title,
    "keywords:existence": has_keywords,
    "keywords:forbidden_words": has_no_forbidden_words,
    "keywords:frequency": has_keyword_often,
    "keywords:letter_frequency": has_letter_often,
    "language:response_language": is_in_language,
    "length_constraints:nth_paragraph_first_word": has_first_word,
    "length_constraints:number_paragraphs": has_paragraphs,
    "length_constraints:number_sentences": has_sentences,
    "length_constraints:number_words": has_words,
    "punctuation:no_comma": has_no_comma,
    "startend:end_checker": has_end,
    "startend:quotation": is_quoted,
}
"""By the names that the data uses; arguments too have the data's names."""
