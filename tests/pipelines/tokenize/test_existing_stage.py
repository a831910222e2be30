"""An existing tokenizer is checked before anything starts, pinned by its content, and used unchanged."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from data_recipes.schema import TokenizerSection
from data_recipes.section import RecipeError
from infra.context import StageContext
from pipelines.artifacts.tokenization.tokenizer import TOKENIZER_FILE, TextTokenizer, write_config
from pipelines.tokenize import existing_tokenizer_stage, fingerprint, probing

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


def take(folder: Path, fields: TokenizerSection, fingerprints: dict[str, str]) -> tuple[Path, list[dict]]:
    out = folder / "out"
    out.mkdir()
    events: list[dict] = []
    stage = existing_tokenizer_stage(fields, fingerprints, folder)
    stage.work(StageContext(stage.id, out, folder / "state", events.append), {})
    return out, events


def test_it_is_taken_byte_for_byte_and_encodes_whole_texts(tmp_path: Path) -> None:
    made = byte_level()
    made.enable_truncation(4)
    made.enable_padding(length=4)
    made.save(str(tmp_path / "made.json"))
    out, events = take(tmp_path, section(), fingerprint(section(), tmp_path))
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
    tokenizer = TextTokenizer(take(tmp_path, section(), fingerprint(section(), tmp_path))[0])
    ids = tokenizer.encode("a<1>b")
    assert (tokenizer.decode(ids), tokenizer.bytes_of_id[ids].tolist()) == ("a<1>b", [1, 3, 1])


def test_key_follows_the_content_and_not_the_place(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    byte_level().save(str(tmp_path / "made.json"))
    byte_level().save(str(tmp_path / "other" / "moved.json"))
    moved = section(path="other/moved.json", vocab_size=400)
    keys = [
        existing_tokenizer_stage(fields, fingerprint(fields, tmp_path), tmp_path).key for fields in (section(), moved)
    ]
    assert keys[0] == keys[1]
    changed = byte_level()
    changed.add_special_tokens(["<|more|>"])
    changed.save(str(tmp_path / "made.json"))
    assert existing_tokenizer_stage(section(), fingerprint(section(), tmp_path), tmp_path).key != keys[0]


def test_file_that_changed_since_it_was_pinned_is_refused(tmp_path: Path) -> None:
    byte_level().save(str(tmp_path / "made.json"))
    fingerprints = fingerprint(section(), tmp_path)
    byte_level("<|other|>").save(str(tmp_path / "made.json"))
    with pytest.raises(ValueError, match="changed while the run was starting"):
        take(tmp_path, section(), fingerprints)


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


def adding(content: str = "<tool>", **fields: bool) -> Callable[[], Tokenizer]:
    def made() -> Tokenizer:
        tokenizer = byte_level()
        tokenizer.add_tokens([AddedToken(content, **fields)])
        return tokenizer

    return made


def normalising(normalizer: normalizers.Normalizer) -> Callable[[], Tokenizer]:
    def made() -> Tokenizer:
        tokenizer = byte_level()
        tokenizer.normalizer = normalizer
        return tokenizer

    return made


def splitting(splitter: pre_tokenizers.PreTokenizer) -> Callable[[], Tokenizer]:
    def made() -> Tokenizer:
        tokenizer = byte_level()
        byte_letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([splitter, byte_letters])
        return tokenizer

    return made


def decoding(decoder: decoders.Decoder) -> Callable[[], Tokenizer]:
    def made() -> Tokenizer:
        tokenizer = byte_level()
        tokenizer.decoder = decoders.Sequence([decoders.ByteLevel(), decoder])
        return tokenizer

    return made


CHANGING = {
    "lstrip": adding(lstrip=True),
    "rstrip": adding(rstrip=True),
    "both": adding(lstrip=True, rstrip=True),
    "Strip": normalising(normalizers.Strip()),
    "Strip left": normalising(normalizers.Strip(left=True, right=False)),
    "Strip right": normalising(normalizers.Strip(left=False, right=True)),
    "line ends": normalising(normalizers.Replace("\r\n", "\n")),
    "blanks in one": normalising(normalizers.Replace(Regex(" {2,}"), " ")),
    "quotes": normalising(normalizers.Replace("``", '"')),
    "a rare literal": normalising(normalizers.Replace("quokka", "wombat")),
    "a literal in a sequence": normalising(normalizers.Sequence([normalizers.NFC(), normalizers.Replace("zq", "")])),
    "addresses": normalising(normalizers.Replace(Regex(r"\w+@\w+\.\w+"), "")),
    "dates": normalising(normalizers.Replace(Regex(r"\d{4}-\d{2}-\d{2}"), "0000-00-00")),
    "tags of HTML": normalising(normalizers.Replace(Regex("<[^>]+ [^>]+>"), "")),
    "long runs": normalising(normalizers.Replace(Regex(r"(.)\1{60,}"), "")),
    "emphasis": normalising(normalizers.Replace(Regex(r"\*\*"), "")),
    "formulas": normalising(normalizers.Replace(Regex(r"\\\w+\{"), "{")),
    "Prepend": normalising(normalizers.Prepend("▁")),
    "Lowercase": normalising(normalizers.Lowercase()),
    "StripAccents": normalising(normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()])),
    "NFKC": normalising(normalizers.NFKC()),
    "Nmt": normalising(normalizers.Nmt()),
    "BertNormalizer": normalising(normalizers.BertNormalizer(lowercase=False)),
    "blanks removed": splitting(pre_tokenizers.WhitespaceSplit()),
    "commas removed": splitting(pre_tokenizers.Split(",", "removed")),
    "delimiter": splitting(pre_tokenizers.CharDelimiterSplit("|")),
    "decoder's Replace": decoding(decoders.Replace("tion", "sion")),
    "a long literal": normalising(normalizers.Replace("quokka " * 60, "wombat")),
    "a long token": adding("q" * 300, lstrip=True),
    "a rare blank": normalising(normalizers.Replace("\u1680", " ")),
    "a rare blank among others": normalising(normalizers.Replace(Regex(r" |\u1680"), " ")),
    "rare blanks": normalising(normalizers.Replace(Regex(r"\p{Zs}"), " ")),
    "rare dashes": normalising(normalizers.Replace(Regex(r"[-\u2e3a\ufe58]"), "-")),
    "a range": normalising(normalizers.Replace(Regex(r"[\ua000-\ua4cf]"), "")),
    "decoder's Strip": decoding(decoders.Strip(" ", 1, 0)),
}


@pytest.mark.parametrize("made", CHANGING.values(), ids=CHANGING)
def test_a_tokenizer_that_changes_text_is_refused_with_a_text_that_it_changes(tmp_path: Path, made) -> None:
    made().save(str(tmp_path / "made.json"))
    with pytest.raises(RecipeError, match=r"does not give text back exactly: '.*' comes back as .*Take one that does"):
        fingerprint(section(), tmp_path)


UNTRIED = {
    "digits": normalising(normalizers.Replace(Regex(r"\b\d{33}\b"), "")),
    "a sentence": normalising(
        normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex("All rights? res"), "")])
    ),
    "a branch that changes nothing": normalising(normalizers.Replace(Regex("a|read(?= more)"), "a")),
    "a branch that changes nothing, of a decoder": decoding(decoders.Replace(Regex(" |All (?:rights)"), " ")),
    "removed": splitting(pre_tokenizers.Split(Regex("colou?rful"), "removed")),
    "decoder": decoding(decoders.Replace(Regex("Read (?:more|on)"), "")),
}


@pytest.mark.parametrize("made", UNTRIED.values(), ids=UNTRIED)
def test_a_part_that_no_tried_text_reaches_is_not_taken_on_trust(tmp_path: Path, made) -> None:
    made().save(str(tmp_path / "made.json"))
    with pytest.raises(RecipeError, match=r"replaces or removes text that matches '.*Take one without that part"):
        fingerprint(section(), tmp_path)


KEEPING = {
    "added tokens": adding(),
    "whole words": adding(single_word=True),
    "NFC": normalising(normalizers.NFC()),
    "NFD": normalising(normalizers.NFD()),
    "isolated": splitting(pre_tokenizers.Split(Regex(r"\s+"), "isolated")),
    "digits": splitting(pre_tokenizers.Digits(individual_digits=True)),
    "a rare pattern apart": splitting(pre_tokenizers.Split(Regex("Subscribe[^.]*"), "isolated")),
}


@pytest.mark.parametrize("made", KEEPING.values(), ids=KEEPING)
def test_a_tokenizer_that_keeps_text_up_to_composition_is_taken(tmp_path: Path, made) -> None:
    made().save(str(tmp_path / "made.json"))
    assert fingerprint(section(), tmp_path)


def test_one_that_encodes_at_random_is_taken_without_that_and_with_a_note(tmp_path: Path) -> None:
    made = byte_level()
    made.model.dropout = 0.4
    made.save(str(tmp_path / "made.json"))
    out, events = take(tmp_path, section(), fingerprint(section(), tmp_path))
    assert "encodes at random (dropout 0.4)" in events[0]["message"]
    tokenizer = TextTokenizer(out)
    assert len({tuple(tokenizer.encode("ab ab cab" * 20)) for _ in range(20)}) == 1
    # The library alone, as other engines use the file, is no more random.
    plain = Tokenizer.from_file(str(out / TOKENIZER_FILE))
    assert {tuple(plain.encode("ab ab cab" * 20).ids) for _ in range(20)} == {tuple(tokenizer.encode("ab ab cab" * 20))}
    assert probing.is_random(made) and not probing.is_random(plain)


def test_random_encoding_that_no_field_switches_off_is_refused(tmp_path: Path, monkeypatch) -> None:
    made = byte_level()
    made.model.dropout = 0.4
    made.save(str(tmp_path / "made.json"))
    monkeypatch.setattr("pipelines.artifacts.tokenization.tokenizer.SAMPLING", ())
    with pytest.raises(RecipeError, match="gives a text other ids each time"):
        fingerprint(section(), tmp_path)


@pytest.mark.parametrize("text", ["", "plain", "ab é\r\n 👩‍👩‍👧\x00", f"{END} <tool>"])
def test_documents_that_their_ids_do_not_give_back_are_known(tmp_path: Path, text: str) -> None:
    for made in (byte_level, CHANGING["Strip"]):
        made().save(str(tmp_path / TOKENIZER_FILE))
        write_config(made(), END, tmp_path)
        tokenizer = TextTokenizer(tmp_path)
        assert tokenizer.decodes_to(tokenizer.encode(text), text)
        assert tokenizer.decodes_to(tokenizer.encode(f" {text} "), f" {text} ") is (made is byte_level)


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
        (by_words, {}, r"path = 'made\.json': neither byte-level nor with byte fallback"),
    ],
)
def test_unfit_tokenizer_is_refused_with_the_mend(tmp_path: Path, made, fields: dict, message: str) -> None:
    made().save(str(tmp_path / "made.json"))
    with pytest.raises(RecipeError, match=message):
        fingerprint(section(**fields), tmp_path)


def test_missing_and_broken_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"tokenizer\.path = 'made\.json': no such file"):
        fingerprint(section(), tmp_path)
    (tmp_path / "made.json").write_text("{")
    with pytest.raises(RecipeError, match=r"made\.json: not a readable tokenizer"):
        fingerprint(section(), tmp_path)


def test_normalising_tokenizer_is_taken_with_a_warning(tmp_path: Path) -> None:
    made = byte_level()
    made.normalizer = normalizers.NFC()
    made.save(str(tmp_path / "made.json"))
    _, events = take(tmp_path, section(), fingerprint(section(), tmp_path))
    assert "normalises text" in events[0]["message"]


def test_a_trained_tokenizer_has_no_fingerprint(tmp_path: Path) -> None:
    assert fingerprint(TokenizerSection(vocab_size=300, sample_bytes_per_corpus=10), tmp_path) == {}


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
