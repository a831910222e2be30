"""Ids are the library's whichever encoder makes them; an encoder that differs anywhere is not used."""

import random
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from pipelines.artifacts.tokenization.tokenizer import TextTokenizer, write_config
from pipelines.tokenize.encoders import choice, choose, encode_checked
from pipelines.tokenize.encoders.encoder import Encoder, Ids, LibraryEncoder, UnsupportedError
from pipelines.tokenize.encoders.gigatoken import GigatokenEncoder
from pipelines.tokenize.encoders.joining import between_end_ids, num_changed
from pipelines.tokenize.encoders.tiktoken import TiktokenEncoder
from pipelines.tokenize.probing import hostile_texts
from pipelines.tokenize.vocabulary import END, train_tokenizer

PROSE = [f"Row {n}: the cat's 12{n} mats, naïve Straße; x = [{n}]\n\n    return 'café' # 日本語\t" for n in range(99)]
FAST = (GigatokenEncoder, TiktokenEncoder)


def saved(tokenizer: Tokenizer, folder: Path, end: str = END) -> TextTokenizer:
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    write_config(tokenizer, end, folder)
    return TextTokenizer(folder)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    return saved(train_tokenizer(PROSE, 500), tmp_path_factory.mktemp("trained"))


def sentencepiece() -> Tokenizer:
    """As Llama 2's: blanks are letters, and bytes represent unknown characters."""
    names = ["<unk>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "h", "e", "he", "▁he"]
    ids = {name: index for index, name in enumerate(names)}
    merges = [("h", "e"), ("▁", "he")]
    tokenizer = Tokenizer(models.BPE(ids, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    strip = decoders.Strip(" ", 1, 0)
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), strip])
    tokenizer.add_special_tokens(["<unk>", "</s>"])
    return tokenizer


def unigram() -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram([("<unk>", 0.0), ("</s>", 0.0), ("▁", -1.0), ("he", -2.0)], 0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.add_special_tokens(["</s>"])
    return tokenizer


def gpt2(**fields: object) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(**({"add_prefix_space": False} | fields))
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False, special_tokens=[END])
    tokenizer.train_from_iterator(PROSE, trainer)
    return tokenizer


def batch(texts: list[str]) -> pa.RecordBatch:
    ids = pa.array([f"{n:032x}" for n in range(len(texts))])
    return pa.record_batch({"doc_id": ids, "text": pa.array(texts, pa.large_string())})


def ids_of(encoder: Encoder, texts: list[str]) -> list[list[int]]:
    ids = encoder.encode(pa.array(texts, pa.large_string()))
    return [ids.of(number).tolist() for number in range(len(texts))]


def by_library(tokenizer: TextTokenizer, texts: list[str]) -> list[list[int]]:
    return [tokenizer.backend.encode(text, add_special_tokens=False).ids for text in texts]


@pytest.mark.parametrize("make", FAST)
def test_every_hostile_text_has_the_librarys_ids(make, trained: TextTokenizer) -> None:
    texts = list(hostile_texts(trained.backend))
    assert ids_of(make(trained), texts) == by_library(trained, texts)


@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
@pytest.mark.parametrize("make", FAST)
def test_any_text_has_the_librarys_ids(make, trained: TextTokenizer, text: str) -> None:
    [ids] = ids_of(choice._proven(make, trained), [text])
    assert ids == by_library(trained, [text])[0]


@pytest.mark.parametrize("make", FAST)
def test_the_names_of_special_tokens_in_a_text_are_text(make, trained: TextTokenizer) -> None:
    [ids] = ids_of(make(trained), [f"a{END}b<|im_start|>"])
    assert trained.end_id not in ids and trained.decode(ids) == f"a{END}b<|im_start|>"


@pytest.mark.parametrize("make", FAST)
def test_slices_of_a_batch_and_empty_texts_are_encoded(make, trained: TextTokenizer) -> None:
    texts = ["dropped", "", *PROSE[:3], ""]
    encoder = make(trained)
    ids = encoder.encode(pa.array(texts, pa.large_string())[1:])
    assert [ids.of(number).tolist() for number in range(5)] == by_library(trained, texts[1:])
    assert len(encoder.encode(pa.array([], pa.large_string())).values) == 0


def test_gigatoken_forgets_its_words_and_goes_on(trained: TextTokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.tokenize.encoders.gigatoken.RENEW_BYTES", 100)
    encoder = GigatokenEncoder(trained)
    assert [ids_of(encoder, [text])[0] for text in PROSE] == by_library(trained, PROSE)


@pytest.mark.parametrize(
    ("made", "end", "expected"),
    [
        (gpt2(), END, ["gigatoken", "tiktoken", "tokenizers"]),
        (gpt2(add_prefix_space=True), END, ["gigatoken", "tokenizers"]),
        (sentencepiece(), "</s>", ["gigatoken", "tokenizers"]),
        (unigram(), "</s>", ["tokenizers"]),
    ],
)
def test_what_an_encoder_does_not_know_goes_to_the_next(made, end: str, expected: list[str], tmp_path: Path) -> None:
    tokenizer = saved(made, tmp_path, end)
    texts = list(hostile_texts(tokenizer.backend))
    names: list[str] = []
    for _ in expected:
        encoder, differences = choose(tokenizer, names)
        assert ids_of(encoder, texts) == by_library(tokenizer, texts)
        assert differences == {}
        names.append(encoder.name)
    assert names == expected


def test_tokens_that_are_added_but_not_special_are_taken_out_of_text(tmp_path: Path) -> None:
    made = gpt2()
    made.add_tokens([AddedToken("<1>", special=False)])
    tokenizer = saved(made, tmp_path)
    assert ids_of(GigatokenEncoder(tokenizer), ["a<1>b"]) == by_library(tokenizer, ["a<1>b"])
    with pytest.raises(UnsupportedError):
        TiktokenEncoder(tokenizer)


class Liar:
    """Gives one text an id too many; right otherwise."""

    name = "liar"

    def __init__(self, tokenizer: TextTokenizer) -> None:
        self._right = LibraryEncoder(tokenizer)

    def encode(self, texts: pa.Array) -> Ids:
        ids = self._right.encode(texts)
        if not any("lie" in text for text in texts.to_pylist()):
            return ids
        return Ids(ids.values[:-1], [*ids.offsets[:-1], ids.offsets[-1] - 1])


class HostileLiar(Liar):
    name = "hostile liar"

    def encode(self, texts: pa.Array) -> Ids:
        if any("\x00" in text for text in texts.to_pylist()):
            raise RuntimeError("no nul bytes")
        return self._right.encode(texts)


def test_an_encoder_that_fails_on_hostile_texts_is_not_used(
    trained: TextTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "FASTEST_FIRST", (HostileLiar, TiktokenEncoder))
    encoder, differences = choose(trained, [])
    assert encoder.name == "tiktoken"
    assert differences == {"hostile liar": "fails (RuntimeError('no nul bytes'))"}


def test_the_first_document_of_a_shard_is_compared(trained: TextTokenizer) -> None:
    with pytest.raises(choice.DifferenceError, match="gives other ids for 'lie'"):
        encode_checked(Liar(trained), trained, batch(["lie"]), first=True)
    encode_checked(Liar(trained), trained, batch(["lie"]), first=False)


def test_one_document_in_a_thousand_is_compared(trained: TextTokenizer) -> None:
    result = 0
    for start in range(0, 20_000, 100):
        texts = ["lie"] * 100
        made = batch(texts).set_column(0, "doc_id", pa.array([f"{n:032x}" for n in range(start, start + 100)]))
        try:
            encode_checked(Liar(trained), trained, made, first=False)
        except choice.DifferenceError:
            result += 1
    # Of 200 batches, each is caught with a chance of 1 - 0.999^100 = 9.5 %: 19, give or take 4.1.
    assert 7 <= result <= 31


def test_each_text_stands_between_end_ids(trained: TextTokenizer) -> None:
    texts = ["", "a b", "café" * 3]
    ids = LibraryEncoder(trained).encode(pa.array(texts, pa.large_string()))
    framed = between_end_ids(ids, trained.end_id, "uint16")
    expected = [index for each in by_library(trained, texts) for index in (trained.end_id, *each, trained.end_id)]
    assert framed.tolist() == expected and framed.dtype == "uint16"


def test_texts_that_do_not_come_back_are_counted(tmp_path: Path) -> None:
    made = gpt2()
    made.normalizer = normalizers.Lowercase()
    tokenizer = saved(made, tmp_path)
    texts = pa.array(["abc", "Abc", "", "ÉÉ", "x"], pa.large_string())
    assert num_changed(tokenizer, LibraryEncoder(tokenizer).encode(texts), texts) == 2
    # The bytes of all texts are the same, and in different texts.
    shifted = pa.array(["ab", "c"], pa.large_string())
    ids = LibraryEncoder(tokenizer).encode(pa.array(["a", "bc"], pa.large_string()))
    assert num_changed(tokenizer, ids, shifted) == 2


def test_long_runs_are_encoded_by_whichever_encoder_can(trained: TextTokenizer) -> None:
    """A million blanks are more than tiktoken's expressions hold."""
    text = " " * 10**6
    encoder, _ = choose(trained, [])
    assert ids_of(encoder, [text]) == by_library(trained, [text])
    with pytest.raises(choice.DifferenceError, match="tiktoken"):
        encode_checked(TiktokenEncoder(trained), trained, batch([text]), first=False)


@pytest.mark.parametrize("seed", range(3))
def test_random_bytes_of_text_have_the_librarys_ids(trained: TextTokenizer, seed: int) -> None:
    draw = random.Random(seed)
    texts = ["".join(chr(draw.choice((32, 10, draw.randrange(0xD7FF), draw.randrange(128)))) for _ in range(5000))]
    for make in FAST:
        assert ids_of(make(trained), texts) == by_library(trained, texts)
