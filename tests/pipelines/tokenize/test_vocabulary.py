"""The tokenizer reproduces every text, cannot be ended by text, and is the same bytes for every trainer."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import jinja2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from pipelines.artifacts.tokenization.tokenizer import CONFIG_FILE, TOKENIZER_FILE, TextTokenizer, write_config
from pipelines.tokenize import vocabulary
from pipelines.tokenize.vocabulary import END, LONGEST_WORD, SPECIAL_TOKENS, train_tokenizer

TEXTS = [
    f"def add_{n}(a, b):\n    return a + b + {n * 37}\n\nSELECT name FROM users WHERE id = {n};" for n in range(60)
]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    return saved(tmp_path_factory.mktemp("tokenizer"))


def saved(folder: Path) -> TextTokenizer:
    tokenizer = train_tokenizer(TEXTS, 400)
    tokenizer.save(str(folder / TOKENIZER_FILE))
    write_config(tokenizer, END, folder)
    return TextTokenizer(folder)


SPECIAL_LOOKING = st.lists(st.sampled_from([*SPECIAL_TOKENS, "<|", "|>", "end", "\n", " ", "\r\n"])).map("".join)


RUNS = [" ", "\n", "a", "-", "语", "\u0301", " \t", "ab"]


def piece_lengths(text: str) -> list[int]:
    """Characters of one word in the trainer's view."""
    cut = vocabulary.training_splitter().pre_tokenize_str(text)
    return [end - start for _, (start, end) in cut]


@pytest.mark.parametrize("run", RUNS)
def test_the_work_of_training_grows_with_a_run_and_not_with_its_square(run: str) -> None:
    """The library's work on a word is the square of its length, which is summed here."""
    works = [sum(n * n for n in piece_lengths(f"The end. {run * length}x{TEXTS[0]}")) for length in (4000, 8000, 16000)]
    assert works[1] < 2.2 * works[0] and works[2] < 2.2 * works[1]


def test_training_cuts_no_word_of_usual_length_and_encoding_none() -> None:
    plain = train_tokenizer(TEXTS, 400)
    run = " " * (LONGEST_WORD + 1)
    for text in (*TEXTS, "x" * LONGEST_WORD, "\n" * LONGEST_WORD):
        assert vocabulary.training_splitter().pre_tokenize_str(text) == plain.pre_tokenizer.pre_tokenize_str(text)
    assert [end for _, (_, end) in plain.pre_tokenizer.pre_tokenize_str(run)] == [len(run)]
    assert str(LONGEST_WORD) not in plain.to_str()


@given(text=st.text() | st.text(st.characters(max_codepoint=0x9F)) | SPECIAL_LOOKING)
@example(text="<|end|><|pad|> <|im_start|>user\nhello<|im_end|>\n")
@example(text=" \t\n\r\n  x\u0000\u00a0\ufffd👩‍👩‍👧 e\u0301 \U0010ffff")
@example(text="\n")
def test_any_text_comes_back_exactly_and_bytes_are_counted(tokenizer: TextTokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.bytes_of_id[ids].sum() == len(text.encode())
    assert not set(range(len(SPECIAL_TOKENS))) & set(ids)
    assert [document.tolist() for document in tokenizer.encode_documents([text])] == [[0, *ids, 0]]


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


def test_documents_of_any_size_are_encoded_in_order(tokenizer: TextTokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.artifacts.tokenization.tokenizer.BATCH_CHARACTERS", 1000)
    texts = ["a" * 2000, "b", *["c d"] * 200, "e" * 2000, "f"]
    documents = list(tokenizer.encode_documents(texts))
    assert [tokenizer.decode(ids[1:-1]) for ids in documents] == texts


def test_chat_is_read_by_tools_that_know_the_template(tokenizer: TextTokenizer, tmp_path: Path) -> None:
    saved(tmp_path)
    config = json.loads((tmp_path / CONFIG_FILE).read_text())
    messages = [{"role": "user", "content": "How many users?"}, {"role": "assistant", "content": "SELECT 1;"}]
    template = jinja2.Environment().from_string(config["chat_template"])
    chat = template.render(messages=messages, add_generation_prompt=True)
    assert chat == (
        "<|im_start|>user\nHow many users?<|im_end|>\n"
        "<|im_start|>assistant\nSELECT 1;<|im_end|>\n<|im_start|>assistant\n"
    )
    # as other tools do: special tokens in a chat are the special ids
    ids = Tokenizer.from_file(str(tmp_path / TOKENIZER_FILE)).encode(chat).ids
    assert [index for index in ids if index < len(SPECIAL_TOKENS)] == [2, 3, 2, 3, 2]
    assert (config["eos_token"], config["pad_token"]) == SPECIAL_TOKENS[:2]


def test_broken_files_are_named(tmp_path: Path) -> None:
    (tmp_path / TOKENIZER_FILE).write_text("{}")
    with pytest.raises(ValueError, match=r"tokenizer\.json: not a readable tokenizer"):
        TextTokenizer(tmp_path)
    saved(tmp_path)
    (tmp_path / CONFIG_FILE).write_text('{"eos_token": "<eos>", "pad_token": "<pad>"}')
    with pytest.raises(ValueError, match=r"tokenizer_config\.json: does not fit tokenizer\.json \(KeyError\('<eos>'"):
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
