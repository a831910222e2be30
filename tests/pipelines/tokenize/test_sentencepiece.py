"""Tokenizers of SentencePiece with byte fallback, as of Llama, Gemma and Unigram models, are taken as they are."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from data_recipes.schema import TokenizerSection
from data_recipes.section import RecipeError
from infra.context import StageContext
from pipelines.artifacts.tokenization.tokenizer import TOKENIZER_FILE, TextTokenizer, write_config
from pipelines.tokenize import existing_tokenizer_stage, fingerprint

SPECIAL = ["<unk>", "<s>", "</s>"]
END = "</s>"
NAMES = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256)), *"▁abcxs<>/0A", "▁a", "ab"]
VOCABULARY = {name: index for index, name in enumerate(NAMES)}
DECODER = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
SECTION = TokenizerSection(vocab_size=300, path="made.json", end_token=END)


def bpe() -> Tokenizer:
    merges = [("▁", "a"), ("a", "b")]
    return Tokenizer(models.BPE(VOCABULARY, merges, byte_fallback=True, fuse_unk=True, unk_token="<unk>"))


def unigram() -> Tokenizer:
    """Bytes and special tokens have the best score of all, as in converted models."""
    scores = [
        0.0 if len(name) > 1 and name.startswith("<") else -1.0 - index / 100 for name, index in VOCABULARY.items()
    ]
    return Tokenizer(models.Unigram(list(zip(NAMES, scores, strict=True)), 0, True))


def finished(tokenizer: Tokenizer, *, prefixed: bool = True) -> Tokenizer:
    tokenizer.decoder = decoders.Sequence([*DECODER, *([decoders.Strip(" ", 1, 0)] if prefixed else [])])
    tokenizer.add_special_tokens(SPECIAL)
    return tokenizer


def llama() -> Tokenizer:
    made = bpe()
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    return finished(made)


def llama_by_metaspace() -> Tokenizer:
    made = bpe()
    made.pre_tokenizer = pre_tokenizers.Metaspace("▁", "first", split=False)
    return finished(made)


def gemma() -> Tokenizer:
    made = bpe()
    made.normalizer = normalizers.Replace(" ", "▁")
    return finished(made, prefixed=False)


def with_unigram() -> Tokenizer:
    made = unigram()
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    return finished(made)


MADE = {"llama": llama, "llama by metaspace": llama_by_metaspace, "gemma": gemma, "unigram": with_unigram}


def text_tokenizer(made: Tokenizer, folder: Path) -> TextTokenizer:
    folder.mkdir(exist_ok=True)
    made.save(str(folder / TOKENIZER_FILE))
    write_config(made, END, folder)
    return TextTokenizer(folder)


@pytest.fixture(scope="module", params=MADE.values(), ids=MADE)
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    return text_tokenizer(request.param(), tmp_path_factory.mktemp("tokenizer"))


@pytest.mark.parametrize("made", MADE.values(), ids=MADE)
def test_it_is_taken_byte_for_byte_with_a_note_of_what_it_loses(made: Callable[[], Tokenizer], tmp_path: Path) -> None:
    made().save(str(tmp_path / "made.json"))
    (tmp_path / "out").mkdir()
    events: list[dict] = []
    stage = existing_tokenizer_stage(SECTION, fingerprint(SECTION, tmp_path), tmp_path)
    stage.work(StageContext(stage.id, tmp_path / "out", tmp_path / "state", events.append), {})
    assert (tmp_path / "out" / TOKENIZER_FILE).read_bytes() == (tmp_path / "made.json").read_bytes()
    assert [event["message"] for event in events if "normalises text" in event["message"]]


PLAIN = st.text(st.characters(exclude_characters="▁", exclude_categories=["Cs"])) | st.lists(
    st.sampled_from([*SPECIAL, "<0x0A>", " ", "\n", "ab", "<", "é"])
).map("".join)


@given(text=PLAIN)
def test_text_comes_back_and_its_bytes_are_counted(tokenizer: TextTokenizer, text: str) -> None:
    """The prefix of Metaspace absorbs the blank at the start of a text."""
    [document] = tokenizer.encode_documents([text])
    ids = document[1:-1].tolist()
    assert not {VOCABULARY[name] for name in SPECIAL} & set(ids)
    returned = tokenizer.decode(ids)
    assert returned in (text, text.removeprefix(" "))
    assert tokenizer.decodes_to(ids, text) is (returned == text)
    assert tokenizer.num_predicted_bytes(document.astype(np.int64)) == len(returned.encode())


@pytest.mark.parametrize("made", [llama, with_unigram, gemma])
def test_a_blank_at_the_start_is_kept_by_all_but_metaspace(made: Callable[[], Tokenizer], tmp_path: Path) -> None:
    tokenizer = text_tokenizer(made(), tmp_path)
    assert tokenizer.decodes_to(tokenizer.encode(" ab"), " ab")


def test_only_the_start_of_a_document_has_a_blank_too_many(tmp_path: Path) -> None:
    tokenizer = text_tokenizer(llama(), tmp_path)
    [document] = tokenizer.encode_documents(["ab ab"])
    names = [NAMES[index] for index in document]
    assert names == [END, "▁a", "b", "▁a", "b", END]
    counts = [tokenizer.num_predicted_bytes(document[start:].astype(np.int64)) for start in range(6)]
    assert counts == [5, 4, 3, 1, 0, 0]


def test_documents_that_hold_the_mark_are_known(tokenizer: TextTokenizer) -> None:
    assert not tokenizer.decodes_to(tokenizer.encode("a▁b"), "a▁b")


def lowercasing() -> Tokenizer:
    made = llama()
    made.normalizer = normalizers.Sequence([normalizers.Lowercase(), made.normalizer])
    return made


def without_a_byte() -> Tokenizer:
    made = bpe()
    made.decoder = decoders.Replace("▁", " ")
    made.add_special_tokens(SPECIAL)
    return made


def squeezing() -> Tokenizer:
    """As T5: blanks in a row become one."""
    made = with_unigram()
    made.normalizer = normalizers.Sequence([normalizers.Replace("  ", " "), made.normalizer])
    return made


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lowercasing, "does not give text back exactly"),
        (squeezing, "does not give text back exactly"),
        (without_a_byte, "neither byte-level nor with byte fallback"),
    ],
)
def test_one_that_loses_more_is_refused(made: Callable[[], Tokenizer], message: str, tmp_path: Path) -> None:
    made().save(str(tmp_path / "made.json"))
    with pytest.raises(RecipeError, match=message):
        fingerprint(SECTION, tmp_path)
