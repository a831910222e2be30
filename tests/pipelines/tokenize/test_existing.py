"""An existing tokenizer is checked before anything starts, pinned by what it contains, and taken as it is."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from data_recipes.schema import TokenizerSection
from data_recipes.section import RecipeError
from infra.context import StageContext
from pipelines.artifacts.tokenizer import TOKENIZER_FILE, TextTokenizer
from pipelines.tokenize import existing_tokenizer_stage, pin

END = "<|endoftext|>"


def section(**fields: object) -> TokenizerSection:
    return TokenizerSection(**({"vocab_size": 300, "path": "made.json", "end_token": END} | fields))


def byte_level(special: str = END) -> Tokenizer:
    """As GPT-2's: 256 bytes, one merge, the end token last; no padding token, no chat marks."""
    ids = {character: index for index, character in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(ids | {"ab": 256}, [("a", "b")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([special])
    return tokenizer


def take(folder: Path, fields: TokenizerSection, pins: dict[str, str]) -> tuple[Path, list[dict]]:
    out = folder / "out"
    out.mkdir()
    events: list[dict] = []
    stage = existing_tokenizer_stage(fields, pins, folder)
    stage.work(StageContext(stage.id, out, folder / "state", events.append), {})
    return out, events


def test_it_is_taken_byte_for_byte_and_encodes_whole_texts(tmp_path: Path) -> None:
    made = byte_level()
    made.enable_truncation(4)
    made.enable_padding(length=4)
    made.save(str(tmp_path / "made.json"))
    out, events = take(tmp_path, section(), pin(section(), tmp_path))
    assert (out / TOKENIZER_FILE).read_bytes() == (tmp_path / "made.json").read_bytes()
    tokenizer = TextTokenizer(out)
    assert (tokenizer.vocab_size, tokenizer.end_id, tokenizer.pad_id) == (258, 257, 257)
    text = f"ab é {END} \u0000\n" * 3
    [ids] = tokenizer.encode_documents([text])
    assert tokenizer.decode(ids[1:-1]) == text
    assert ids[0] == ids[-1] == 257 and 257 not in ids[1:-1]
    assert tokenizer.bytes_of_id[ids].sum() == len(text.encode())
    assert events == []


def test_added_tokens_that_are_not_special_are_text(tmp_path: Path) -> None:
    larger().save(str(tmp_path / "made.json"))
    tokenizer = TextTokenizer(take(tmp_path, section(), pin(section(), tmp_path))[0])
    ids = tokenizer.encode("a<1>b")
    assert (tokenizer.decode(ids), tokenizer.bytes_of_id[ids].tolist()) == ("a<1>b", [1, 3, 1])


def test_key_follows_the_content_and_not_the_place(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    byte_level().save(str(tmp_path / "made.json"))
    byte_level().save(str(tmp_path / "other" / "moved.json"))
    moved = section(path="other/moved.json", vocab_size=400)
    keys = [existing_tokenizer_stage(fields, pin(fields, tmp_path), tmp_path).key for fields in (section(), moved)]
    assert keys[0] == keys[1]
    changed = byte_level()
    changed.add_special_tokens(["<|more|>"])
    changed.save(str(tmp_path / "made.json"))
    assert existing_tokenizer_stage(section(), pin(section(), tmp_path), tmp_path).key != keys[0]


def test_file_that_changed_since_it_was_pinned_is_refused(tmp_path: Path) -> None:
    byte_level().save(str(tmp_path / "made.json"))
    pins = pin(section(), tmp_path)
    byte_level("<|other|>").save(str(tmp_path / "made.json"))
    with pytest.raises(ValueError, match="changed while the run was starting"):
        take(tmp_path, section(), pins)


def prefixed() -> Tokenizer:
    tokenizer = byte_level()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    return tokenizer


def larger() -> Tokenizer:
    tokenizer = byte_level()
    tokenizer.add_tokens(["<1>", "<2>", "<3>"])
    return tokenizer


def accented() -> Tokenizer:
    tokenizer = byte_level()
    tokenizer.add_tokens(["<é>"])
    return tokenizer


def by_words() -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]"))
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens([END])
    return tokenizer


@pytest.mark.parametrize(
    ("made", "fields", "message"),
    [
        (byte_level, {"end_token": "</s>"}, r"end_token = '</s>': not a special token of made\.json\. It has <\|endof"),
        (byte_level, {"end_token": "ab"}, r"end_token = 'ab': not a special token"),
        (larger, {"vocab_size": 260}, r"vocab_size = 260: made\.json has ids up to 260\. Set 261 or more"),
        (prefixed, {}, r"path = 'made\.json': does not give text back exactly"),
        (accented, {}, r"path = 'made\.json': does not give text back exactly"),
        (by_words, {}, r"path = 'made\.json': not a byte-level tokenizer"),
    ],
)
def test_unfit_tokenizer_is_refused_with_the_mend(tmp_path: Path, made, fields: dict, message: str) -> None:
    made().save(str(tmp_path / "made.json"))
    with pytest.raises(RecipeError, match=message):
        pin(section(**fields), tmp_path)


def test_missing_and_broken_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"tokenizer\.path = 'made\.json': no such file"):
        pin(section(), tmp_path)
    (tmp_path / "made.json").write_text("{")
    with pytest.raises(RecipeError, match=r"made\.json: not a readable tokenizer"):
        pin(section(), tmp_path)


def test_normalising_tokenizer_is_taken_with_a_warning(tmp_path: Path) -> None:
    made = byte_level()
    made.normalizer = normalizers.NFC()
    made.save(str(tmp_path / "made.json"))
    _, events = take(tmp_path, section(), pin(section(), tmp_path))
    assert "normalises text" in events[0]["message"]


def test_a_trained_tokenizer_has_no_pin(tmp_path: Path) -> None:
    assert pin(TokenizerSection(vocab_size=300, sample_bytes_per_corpus=10), tmp_path) == {}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "give one of the two"),
        ({"path": "made.json", "end_token": END, "sample_bytes_per_corpus": 10}, "give one of the two"),
        ({"path": "made.json"}, "Set both or none"),
        ({"sample_bytes_per_corpus": 10, "end_token": END}, "Set both or none"),
    ],
)
def test_tokenizer_is_either_trained_or_taken(fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TokenizerSection(vocab_size=300, **fields)
