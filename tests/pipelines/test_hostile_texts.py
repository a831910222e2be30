"""Public functions that take texts: any string has a result, except that lone surrogates, which no encoding has, are
refused with the text named."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipelines import Document, OptionError, extract, pack_texts, score_documents, train_tokenizer
from pipelines.artifacts.tokenization.tokenizer import TextTokenizer

PIECES = (
    *("river ", " ", "\n", "\0", "\x85", "\u2028", "\ufeff", "\u200b", "\u202e", "\uffff", "\U0010ffff", "e\u0301"),
    *("\ud800", "\udfff", "\ud83d", "\ude00", "\udce9", "<p>", "</div>", "<!--", "&#xD800;", "&#1114112;"),
)
TEXTS = st.lists(st.sampled_from(PIECES), max_size=8).map("".join)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    return train_tokenizer(["the river rose in the night"] * 9, 280, tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def takers(tokenizer: TextTokenizer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Callable[[str], Any]]:
    folder = tmp_path_factory.mktemp("trained")
    return {
        "document 2, text": lambda text: score_documents(["first", text]),
        "document 1, url": lambda text: score_documents([Document("first", text, "here")]),
        "document 1, origin": lambda text: score_documents([Document("first", "", text)]),
        "text 2": lambda text: train_tokenizer(["first", text], 280, folder),
        "text 3": lambda text: pack_texts(["first", "second", text], tokenizer, 8),
        "the text": tokenizer.encode,
    }


@settings(max_examples=60, deadline=None)
@given(TEXTS)
@example("caf\udce9")
@example("\ud83d\ude00")
@example("")
def test_a_text_is_taken_or_refused_with_its_place(takers: dict[str, Callable[[str], Any]], text: str) -> None:
    is_encodable = not any(0xD800 <= ord(character) <= 0xDFFF for character in text)
    for place, take in takers.items():
        if is_encodable:
            take(text)
            continue
        with pytest.raises(
            OptionError, match=rf"^{place}: its character [\d,]+ is the lone surrogate U\+D[8-F]"
        ) as error:
            take(text)
        mended = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        assert 'text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")' in str(error.value)
        take(mended)


@settings(max_examples=60, deadline=None)
@given(TEXTS)
@example("\ud800")
def test_any_text_of_a_page_can_be_extracted_and_stored(text: str) -> None:
    extract(text).encode()
    extract(f"<body><p>{text * 3}</p></body>").encode()
