"""fastText's classifiers: files made here byte by byte, probabilities worked out by hand or by the published rules."""

import struct
from ctypes import c_int8, c_int32, c_uint32, c_uint64
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_recipes import RecipeError
from data_recipes.sections.refining import ScoreSection
from pipelines import score
from pipelines.score.from_recipe import load_scorer
from pipelines.score.quality.classifier import load_classifier
from pipelines.score.quality.fasttext_model import FastTextModel, fnv1a
from pipelines.score.text.characters import Characters

HS, NS, SOFTMAX = 1, 2, 3
WORDS = [("</s>", 9), ("good", 5), ("bad", 4), ("straße", 2)]
LABELS = [("__label__hq", 6), ("__label__lq", 3), ("__label__mid", 2)]


def write(
    path: Path, vectors, output, words=WORDS, labels=LABELS, loss=SOFTMAX, word_ngrams=1, bucket=0, lengths=(0, 0)
):
    """A model as fastText 0.9.2 saves it: magic, version, arguments, dictionary, two matrices."""
    vectors, output = np.asarray(vectors, "<f4"), np.asarray(output, "<f4")
    parts = [struct.pack("<ii", 793712314, 12)]
    parts += [struct.pack("<12id", vectors.shape[1], 5, 5, 1, 5, word_ngrams, loss, 3, bucket, *lengths, 100, 1e-4)]
    parts += [struct.pack("<iiiqq", len(words) + len(labels), len(words), len(labels), 99, -1)]
    for kind, entries in enumerate((words, labels)):
        parts += [word.encode() + b"\0" + struct.pack("<qb", count, kind) for word, count in entries]
    for matrix in (vectors, output):
        parts += [b"\0", struct.pack("<qq", *matrix.shape), matrix.tobytes()]
    path.write_bytes(b"".join(parts))
    return path


def matrices(num_rows: int, num_labels: int = 3, dim: int = 5) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(num_rows)
    return random.normal(size=(num_rows, dim)).astype("f4"), random.normal(size=(num_labels, dim)).astype("f4")


def probability(path: Path, text: str, label: str = "__label__hq") -> float:
    return FastTextModel.load(path, label).probability(Characters(text))


def test_softmax_by_hand(tmp_path):
    # "good bad good" and the line's end: (2 * [1, 0] + [0, 2] + [2, 2]) / 4 = [1, 1]; scores 1, 0 and -1.
    vectors = [[2, 2], [1, 0], [0, 2], [7, 7]]
    path = write(tmp_path / "m.bin", vectors, [[0.5, 0.5], [1, -1], [-2, 1]])
    total = np.e + 1 + 1 / np.e
    for label, power in (("hq", np.e), ("lq", 1), ("mid", 1 / np.e)):
        assert probability(path, "good bad\tgood", f"__label__{label}") == pytest.approx(power / total)
    assert probability(path, "good never\nseen bad good __label__hq") == pytest.approx(np.e / total)


def test_hierarchical_softmax_by_hand(tmp_path):
    # Counts 6, 3, 2: first 2 and 3 are joined (3 on the right), then these 5 with 6 (6 on the right).
    # Hidden is [1, 1]: the lower node scores 1, the upper -2.
    path = write(tmp_path / "m.bin", [[1, 1]] * 4, [[0.5, 0.5], [-1, -1], [9, 9]], loss=HS)
    lower, upper = 1 / (1 + np.exp(-1)), 1 / (1 + np.exp(2))
    expected = {"hq": upper, "lq": (1 - upper) * lower, "mid": (1 - upper) * (1 - lower)}
    for label, value in expected.items():
        assert probability(path, "good", f"__label__{label}") == pytest.approx(value)


@pytest.mark.parametrize("num_labels", [1, 2, 3, 7, 20])
def test_the_labels_of_any_tree_share_one(tmp_path, num_labels):
    labels = [(f"__label__{number}", 1 + (num_labels - number) ** 2 // 3) for number in range(num_labels)]
    path = write(tmp_path / "m.bin", *matrices(4, num_labels), labels=labels, loss=HS)
    assert sum(probability(path, "good bad", name) for name, _ in labels) == pytest.approx(1)


def test_negative_sampling_gives_each_label_its_own_probability(tmp_path):
    path = write(tmp_path / "m.bin", [[1, 1]] * 4, [[0.5, 0.5], [-1, -1], [0, 0]], loss=NS)
    assert probability(path, "good") == pytest.approx(1 / (1 + np.exp(-1)))


def published_hash(text: str) -> int:
    """Dictionary::hash, in C's own types."""
    key = c_uint32(2166136261)
    for byte in text.encode():
        key = c_uint32((key.value ^ c_uint32(c_int8(byte).value).value) * 16777619)
    return key.value


def published_rows(text: str, word_ngrams: int, bucket: int, shortest: int, longest: int) -> list[int]:
    """Dictionary::getLine with addSubwords, computeSubwords and addWordNgrams, step by step on characters."""
    ids = {word: number for number, (word, _) in enumerate(WORDS)}
    rows, hashes = [], []
    for word in [*text.split(), "</s>"]:
        rows += [ids[word]] if word in ids else []
        hashes.append(c_int32(published_hash(word)).value)
        if word != "</s>":
            whole = f"<{word}>"
            spans = [(i, i + n) for i in range(len(whole)) for n in range(1, longest + 1) if i + n <= len(whole)]
            for start, end in spans:
                if end - start >= shortest and not (end - start == 1 and (start == 0 or end == len(whole))):
                    rows.append(len(WORDS) + published_hash(whole[start:end]) % bucket)
    for i in range(len(hashes)):
        key = c_uint64(hashes[i])
        for j in range(i + 1, min(len(hashes), i + word_ngrams)):
            key = c_uint64(key.value * 116049371 + c_uint64(hashes[j]).value)
            rows.append(len(WORDS) + key.value % bucket)
    return rows


@pytest.mark.parametrize(
    ("word_ngrams", "shortest", "longest"), [(2, 0, 0), (3, 0, 0), (1, 3, 6), (1, 1, 2), (4, 2, 4)]
)
@pytest.mark.parametrize("text", ["good", "good bad good", "Die straße, größer 漢字", "", "a b c d e f g a b c"])
def test_ngrams_of_words_and_characters_stand_in_their_buckets(tmp_path, word_ngrams, shortest, longest, text):
    bucket = 53
    vectors, output = matrices(len(WORDS) + bucket)
    path = write(
        tmp_path / "m.bin", vectors, output, word_ngrams=word_ngrams, bucket=bucket, lengths=(shortest, longest)
    )
    hidden = vectors[published_rows(text, word_ngrams, bucket, shortest, longest)].astype(float).mean(axis=0)
    powers = np.exp(output.astype(float) @ hidden)
    assert probability(path, text) == pytest.approx(powers[0] / powers.sum())


def test_the_hash_is_fnv_1a():
    assert (fnv1a(b""), fnv1a(b"a"), fnv1a(b"foobar")) == (0x811C9DC5, 0xE40C292C, 0xBF9CF968)


def test_a_text_without_known_words_has_probability_zero(tmp_path):
    path = write(tmp_path / "m.bin", [[1, 1]] * 3, [[1, 1]] * 3, words=WORDS[1:])
    assert probability(path, "never seen") == 0


def changed(content: bytes, at: int, piece: bytes) -> bytes:
    return content[:at] + piece + content[at + len(piece) :]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c[:-1], "it ends after .* bytes, within a field. Copy it again"),
        (lambda c: c[:108], "inside its dictionary"),
        (lambda c: c[:6], "it ends after 6 bytes"),
        (lambda c: b"", "no fastText classifier that can be read"),
        (lambda c: changed(c, 4, b"\x07"), r"version \(11, 12\). Name a file of fasttext supervised"),
        (lambda c: changed(c, 36, b"\x02"), "holds word vectors and no labels"),
        (lambda c: changed(c, 8, b"\xff\xff\xff\xff"), "its arguments make no model"),
        (lambda c: changed(c, 64, b"\x63"), "its dictionary does not add up"),
        (lambda c: changed(c, 84, b"\0" * 8), "it is quantised .* Name the .bin"),
        (lambda c: changed(c, c.index(b"__label__hq") + 20, b"\0"), "entry 4 of its dictionary is out of order"),
        (lambda c: changed(c, c.index(b"__label__mid") + 22, b"\1"), "it is quantised .* Name the .bin"),
        (
            lambda c: changed(c, c.index(b"__label__mid") + 23, b"\x09"),
            r"a matrix has the shape \(9, 5\) instead of \(4, 5\)",
        ),
    ],
)
def test_a_damaged_file_is_refused_with_its_name_and_the_mend(tmp_path, change, message):
    path = write(tmp_path / "m.bin", *matrices(4))
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match=rf"m.bin: .*{message}"):
        FastTextModel.load(path, "__label__hq")


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(8, 250), piece=st.binary(min_size=1, max_size=8))
def test_no_damage_breaks_the_reader(tmp_path, at, piece):
    path = write(tmp_path / "m.bin", *matrices(4))
    path.write_bytes(changed(path.read_bytes(), at, piece))
    try:
        result = probability(path, "good straße bad")
    except ValueError as error:
        assert str(error)
    else:
        assert 0 <= result <= 1


@pytest.fixture
def recipe(tmp_path) -> tuple[Path, str]:
    write(tmp_path / "model.bin", [[2, 2], [1, 0], [0, 2], [7, 7]], [[0.5, 0.5], [1, -1], [-2, 1]])
    return tmp_path, "model.bin"


def test_a_recipe_names_the_file_and_its_good_label(recipe):
    folder, name = recipe
    section = ScoreSection(quality_model=name, quality_label="__label__lq")
    scorer = load_scorer(section, score.fingerprint(section, folder), folder)
    assert scorer.score("good bad good", "https://a.example/", None).row["quality"] == pytest.approx(
        1 / (np.e + 1 + 1 / np.e)
    )


def test_a_label_that_is_not_there_is_told_before_anything_starts(recipe):
    folder, name = recipe
    for label in ("", "hq"):
        message = (
            rf"quality_model = 'model.bin': .*no label '{label}'; it has __label__hq, __label__lq, .*quality_label"
        )
        with pytest.raises(RecipeError, match=message):
            score.fingerprint(ScoreSection(quality_model=name, quality_label=label), folder)


def test_only_fasttext_s_files_have_labels(tmp_path):
    path = tmp_path / "own.safetensors"
    score.train_quality_model(["river town bridge"] * 10, ["casino bonus today"] * 10, path)
    assert 0 < load_classifier(path, "").probability(Characters("river")) < 1
    with pytest.raises(ValueError, match="own.safetensors: not of fastText, .* Take score.quality_label out"):
        load_classifier(path, "__label__hq")
