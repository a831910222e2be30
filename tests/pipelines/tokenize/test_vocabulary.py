"""The tokenizer gives every text back, cannot be ended by text, and is the same bytes whoever trains it."""

import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipelines.artifacts.tokenizer import SPECIAL_TOKENS, TOKENIZER_FILE, TextTokenizer
from pipelines.tokenize.vocabulary import sample, train_tokenizer

TEXTS = [
    f"def add_{n}(a, b):\n    return a + b + {n * 37}\n\nSELECT name FROM users WHERE id = {n};" for n in range(60)
]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer(TEXTS, 400).save(str(folder / TOKENIZER_FILE))
    return TextTokenizer(folder)


@given(text=st.text())
@example(text="<|end|><|pad|> <|im_start|>")
@example(text=" \t\n\r\n  x\u0000\u00a0\ufffd👩‍👩‍👧 e\u0301 \U0010ffff")
def test_any_text_comes_back_exactly_and_bytes_are_counted(tokenizer: TextTokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.bytes_of_id[ids].sum() == len(text.encode())
    assert not {tokenizer.end_id, tokenizer.pad_id} & set(ids)


def test_documents_stand_between_end_ids(tokenizer: TextTokenizer) -> None:
    texts = ["", *TEXTS, "<|end|>"]
    documents = list(tokenizer.encode_documents(texts))
    assert [ids.tolist() for ids in documents] == [[0, *tokenizer.encode(text), 0] for text in texts]


def test_vocabulary_starts_with_special_tokens_and_has_every_byte(tokenizer: TextTokenizer) -> None:
    assert 260 < tokenizer.vocab_size <= 400
    assert tokenizer.bytes_of_id[: len(SPECIAL_TOKENS)].tolist() == [0, 0, 0, 0]
    assert (tokenizer.bytes_of_id[4:260] == 1).all()
    assert (tokenizer.bytes_of_id[260:] > 1).all()


def test_digits_stand_alone_and_words_are_merged(tokenizer: TextTokenizer) -> None:
    assert len(tokenizer.encode("2026")) == 4
    assert len(tokenizer.encode("SELECT name FROM")) < 6


def test_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / TOKENIZER_FILE).write_text("{}")
    with pytest.raises(ValueError, match=r"tokenizer\.json: not a readable tokenizer"):
        TextTokenizer(tmp_path)


def test_same_bytes_for_any_number_of_threads_and_hash_seed(tmp_path: Path) -> None:
    code = (
        "import sys; from pipelines.tokenize.vocabulary import train_tokenizer;"
        "texts = [open(sys.argv[1], encoding='utf-8').read()] * 3 + [f'SELECT {n} + x{n};' for n in range(5000)];"
        "sys.stdout.write(train_tokenizer(texts, 900).to_str())"
    )
    settings = [
        {"RAYON_NUM_THREADS": "1", "PYTHONHASHSEED": "1"},
        {"RAYON_NUM_THREADS": "5", "PYTHONHASHSEED": "2"},
        {"TOKENIZERS_PARALLELISM": "false", "PYTHONHASHSEED": "3"},
    ]
    runs = [
        subprocess.run(
            [sys.executable, "-c", code, random.__file__], env=os.environ | env, capture_output=True, check=True
        ).stdout
        for env in settings
    ]
    assert len(runs[0]) > 10_000
    assert runs[0] == runs[1] == runs[2]


def batches(rows: list[tuple[str, str]], size: int) -> list[pa.RecordBatch]:
    ids, texts = zip(*rows, strict=True)
    return pa.table({"doc_id": pa.array(ids), "text": pa.array(texts, pa.large_string())}).to_batches(
        max_chunksize=size
    )


@given(st.permutations([(f"{n:02x}", "é" * n) for n in range(12)]), st.integers(1, 200), st.integers(1, 5))
def test_sample_is_the_first_documents_by_id_up_to_the_bytes(
    rows: list[tuple[str, str]], max_bytes: int, batch_rows: int
) -> None:
    expected: list[str] = []
    for _, text in sorted(rows):
        expected.append(text)
        if sum(len(text.encode()) for text in expected) >= max_bytes:
            break
    assert sample(batches(rows, batch_rows), max_bytes) == expected


def test_sample_of_nothing_is_empty() -> None:
    assert sample([], 100) == []
    assert np.size(sample(batches([("a", "")], 1), 100)) == 1
