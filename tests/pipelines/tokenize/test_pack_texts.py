"""Texts to sequences by function calls: every id of every text, once, in order."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.artifacts.tokenization.tokenizer import TextTokenizer
from pipelines.tokenize.pack_texts import TokenizeError, pack_texts, train_tokenizer

TEXTS = [f"SELECT name FROM table_{number} WHERE age > {number};" for number in range(40)]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> TextTokenizer:
    return train_tokenizer(TEXTS, 300, tmp_path_factory.mktemp("tokenizer"))


@settings(deadline=None, max_examples=50)
@given(texts=st.lists(st.text(max_size=60), max_size=8), length=st.integers(1, 40))
def test_the_ids_of_a_text_come_back_from_its_pieces(tokenizer, texts, length):
    packed = pack_texts(texts, tokenizer, length)
    ids: dict[int, dict[int, int]] = {}
    used = np.zeros(packed.rows.shape, bool)
    location = packed.placement
    columns = (location.row, location.start, location.length, location.document, location.doc_start)
    for row, start, size, document, first in zip(*(column.tolist() for column in columns), strict=True):
        piece = packed.rows[row, start : start + size].tolist()
        ids.setdefault(document, {}).update(enumerate(piece, start=first))
        assert not used[row, start : start + size].any(), "pieces do not overlap"
        used[row, start : start + size] = True
    rebuilt = [[part for _, part in sorted(ids[document].items())] for document in range(len(texts))]
    assert rebuilt == [[tokenizer.end_id, *tokenizer.encode(text), tokenizer.end_id] for text in texts]
    assert (packed.rows[~used] == packed.pad_id).all()


def test_a_tokenizer_is_read_again_from_its_folder(tokenizer, tmp_path):
    again = train_tokenizer(TEXTS, 300, tmp_path / "new" / "folder")
    assert TextTokenizer(tmp_path / "new" / "folder").encode(TEXTS[0]) == again.encode(TEXTS[0])
    assert again.encode(TEXTS[0]) == tokenizer.encode(TEXTS[0])


def test_numbers_that_cannot_work_are_refused(tokenizer, tmp_path):
    with pytest.raises(TokenizeError, match="vocab_size = 100: must be at least 260"):
        train_tokenizer(TEXTS, 100, tmp_path)
    with pytest.raises(TokenizeError, match="sequence_length = 0"):
        pack_texts(TEXTS, tokenizer, 0)
