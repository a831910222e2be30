"""Classifiers that fastText trained (`fasttext supervised`), read from their .bin files and asked without fastText.

Joulin, Grave, Bojanowski and Mikolov, "Bag of Tricks for Efficient Text Classification", EACL 2017; the layout of the
file is that of fastText's own `FastText::saveModel`, versions 11 and 12.
"""

import mmap
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from arctic_errors import ArcticError
from pipelines.score.text.characters import Characters

MAGIC = struct.pack("<i", 793712314)
VERSIONS = (11, 12)
SUPERVISED = 3
HIERARCHICAL_SOFTMAX, SOFTMAX = 1, 3
LOSSES = (HIERARCHICAL_SOFTMAX, 2, SOFTMAX, 4)
"""1 and 3 as named; 2 and 4 (negative sampling, one against all) give each label a separate probability."""
END_OF_LINE = b"</s>"
LABEL = b"__label__"
MAX_SIZE = 2**31 - 1
_FNV_START, _FNV_PRIME = 2166136261, 16777619
"""32-bit FNV-1a, over bytes that C++ takes for signed."""
_PAIR_FACTOR = np.uint64(116049371)


class _Arguments(NamedTuple):
    """The fields that `Args::save` writes, in its order, up to the limit of n-gram lengths."""

    dim: int
    window: int
    epoch: int
    min_count: int
    num_negatives: int
    word_ngrams: int
    loss: int
    model: int
    bucket: int
    min_length: int
    max_length: int


class _UnreadableError(ArcticError, ValueError):
    """Why a file is no model that can be read."""


@dataclass(frozen=True)
class FastTextModel:
    """The probability of one label. `rows`: row of `vectors` by word, -1 for a label; `vectors`: float32, a row for
    each word and then for each of `bucket` hashed n-grams, of words (up to `word_ngrams` of them) or of characters
    (`min_length` to `max_length` in a word). `path`, `signs`: the rows of `output` that lead to the label by
    hierarchical softmax, and on which side of each it goes on."""

    rows: Mapping[bytes, int]
    num_words: int
    arguments: _Arguments
    vectors: np.ndarray
    output: np.ndarray
    label: int
    path: np.ndarray
    signs: np.ndarray

    def probability(self, characters: Characters) -> float:
        """Of the label, for a text taken as one line; 0 for a text of which the model knows nothing.

        fastText itself adds 1e-5 to each probability, and rounds those of its losses `ns` and `ova` to a table's.
        Raises ValueError if the model's numbers make none.
        """
        rows = self._rows_of(characters.text)
        if not len(rows):
            return 0.0
        hidden = self.vectors[rows].mean(axis=0, dtype=np.float64)
        if self.arguments.loss == HIERARCHICAL_SOFTMAX:
            probability = float(np.prod(_sigmoid(self.signs * (self.output[self.path] @ hidden))))
        elif self.arguments.loss == SOFTMAX:
            scores = self.output @ hidden
            powers = np.exp(scores - scores.max())
            probability = float(powers[self.label] / powers.sum())
        else:
            probability = float(_sigmoid(self.output[self.label] @ hidden))
        if not np.isfinite(probability):
            raise ValueError(
                "the fastText model of score.quality_model holds weights that are no numbers. Train it again."
            )
        return probability

    @classmethod
    def load(cls, path: Path, label: str) -> "FastTextModel":
        """The model in `path`, whose vectors stay in the file until they are used. Raises ValueError, naming the file,
        if it holds no such model, or not this label."""
        try:
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                return _read(path, _Cursor(content), label)
        except (_UnreadableError, ValueError) as error:
            raise ValueError(f"{path}: no fastText classifier that can be read: {error}") from None

    def _rows_of(self, text: str) -> np.ndarray:
        """int64: the rows of `vectors` whose mean represents a text."""
        tokens = [*text.encode().replace(b"\0", b" ").split(), END_OF_LINE]
        tokens = tokens[: tokens.index(END_OF_LINE) + 1]
        by_token = {token: self.rows.get(token, -1) for token in set(tokens)}
        words = [token for token in tokens if by_token[token] >= 0 or not token.startswith(LABEL)]
        parts = {word: self._parts(word, by_token[word]) for word in set(words)}
        rows = np.array([row for word in words for row in parts[word]], np.int64)
        if self.arguments.word_ngrams < 2 or not self.arguments.bucket:
            return rows
        hashes = {word: fnv1a(word) for word in parts}
        return np.concatenate((rows, self._ngrams(np.array([hashes[word] for word in words], np.uint32))))

    def _parts(self, word: bytes, row: int) -> list[int]:
        """The rows of a word and of its characters' n-grams."""
        own = [row] if row >= 0 else []
        if word == END_OF_LINE or not self.arguments.bucket:
            return own
        return own + [self.num_words + key % self.arguments.bucket for key in self._subwords(b"<" + word + b">")]

    def _subwords(self, word: bytes) -> list[int]:
        """Hashes of the n-grams of characters of a word in its brackets, except the brackets alone."""
        starts = [index for index, byte in enumerate(word) if byte & 0xC0 != 0x80] + [len(word)]
        rows = []
        for first in range(len(starts) - 1):
            key = _FNV_START
            for last in range(first + 1, min(first + self.arguments.max_length, len(starts) - 1) + 1):
                key = fnv1a(word[starts[last - 1] : starts[last]], key)
                is_bracket = last == first + 1 and (first == 0 or last == len(starts) - 1)
                if last - first >= self.arguments.min_length and not is_bracket:
                    rows.append(key)
        return rows

    def _ngrams(self, hashes: np.ndarray) -> np.ndarray:
        """Rows of the n-grams of words. fastText keeps a word's hash as a signed number, which it then widens."""
        wide = hashes.view(np.int32).astype(np.int64).view(np.uint64)
        keys, rows = wide, []
        for length in range(1, min(self.arguments.word_ngrams, len(wide))):
            keys = keys[: len(wide) - length] * _PAIR_FACTOR + wide[length:]
            rows.append(self.num_words + (keys % np.uint64(self.arguments.bucket)).astype(np.int64))
        return np.concatenate(rows) if rows else np.empty(0, np.int64)


def fnv1a(content: bytes, start: int = _FNV_START) -> int:
    """fastText's 32-bit hash of `content`, which goes on from `start`."""
    key = start
    for byte in content:
        key = (key ^ (byte if byte < 128 else byte | 0xFFFFFF00)) * _FNV_PRIME & 0xFFFFFFFF
    return key


class _Cursor:
    """A position in a file, which advances with each read."""

    def __init__(self, content: mmap.mmap) -> None:
        self.at = 0
        self._content = content

    def take(self, form: str) -> tuple[int, ...]:
        """Numbers, as `struct` names them."""
        size = struct.calcsize(f"<{form}")
        self._require(size)
        self.at += size
        return struct.unpack_from(f"<{form}", self._content, self.at - size)

    def word(self) -> bytes:
        end = self._content.find(b"\0", self.at)
        if end < 0:
            raise _UnreadableError("it ends inside its dictionary. Copy it again.")
        word = self._content[self.at : end]
        self.at = end + 1
        return word

    def matrix(self, path: Path, num_rows: int, num_columns: int) -> np.ndarray:
        """A dense matrix (float32) of this shape, left in the file."""
        shape = self.take("qq")
        if shape != (num_rows, num_columns):
            raise _UnreadableError(f"a matrix has the shape {shape} instead of {(num_rows, num_columns)}.")
        self._require(4 * num_rows * num_columns)
        matrix = np.memmap(path, "<f4", "r", self.at, (num_rows, num_columns))
        self.at += matrix.nbytes
        return matrix

    def _require(self, size: int) -> None:
        if size > len(self._content) - self.at:
            raise _UnreadableError(f"it ends after {len(self._content)} bytes, within a field. Copy it again.")


def _read(path: Path, cursor: _Cursor, label: str) -> FastTextModel:
    magic, version = cursor.take("ii")
    if struct.pack("<i", magic) != MAGIC or version not in VERSIONS:
        raise _UnreadableError(f"it does not start as one of version {VERSIONS}. Name a file of fasttext supervised.")
    arguments = _arguments(cursor, version)
    entries, num_words = _dictionary(cursor)
    labels = [word for word, _ in entries[num_words:]]
    index = _label(labels, label)
    _require_dense(cursor)
    vectors = cursor.matrix(path, num_words + arguments.bucket, arguments.dim)
    _require_dense(cursor)
    output = np.array(cursor.matrix(path, len(labels), arguments.dim), np.float64)
    way = _way([count for _, count in entries[num_words:]], index)
    return FastTextModel(
        rows={word: row for row, (word, _) in enumerate(entries[:num_words])},
        num_words=num_words,
        arguments=arguments,
        vectors=vectors,
        output=output,
        label=index,
        path=np.array([row for row, _ in way], np.int64),
        signs=np.array([1.0 if right else -1.0 for _, right in way]),
    )


def _arguments(cursor: _Cursor, version: int) -> _Arguments:
    header = _Arguments._make(cursor.take("11i"))
    cursor.take("id")  # how often the learning rate changed, and the sampling threshold
    if header.model != SUPERVISED or header.loss not in LOSSES:
        raise _UnreadableError("it holds word vectors and no labels. Name a model that fasttext supervised trained.")
    if min(header.dim, header.word_ngrams) < 1 or min(header.bucket, header.min_length, header.max_length) < 0:
        raise _UnreadableError("its arguments make no model. Copy it again.")
    return header._replace(max_length=0) if version == VERSIONS[0] else header


def _dictionary(cursor: _Cursor) -> tuple[list[tuple[bytes, int]], int]:
    """(entry, count) of every word and then every label, and how many are words."""
    size, num_words, num_labels, _, num_kept = cursor.take("iiiqq")
    if num_kept >= 0:
        raise _UnreadableError("it is quantised (.ftz). Name the .bin file that it was made from.")
    if min(num_words, num_labels) < 0 or size != num_words + num_labels or not num_labels:
        raise _UnreadableError("its dictionary does not add up. Copy it again.")
    entries = []
    for index in range(size):
        word = cursor.word()
        count, kind = cursor.take("qb")
        if kind != (index >= num_words) or count < 0:
            raise _UnreadableError(f"entry {index} of its dictionary is out of order. Copy it again.")
        entries.append((word, count))
    return entries, num_words


def _label(labels: Sequence[bytes], name: str) -> int:
    if name.encode() in labels:
        return labels.index(name.encode())
    available = ", ".join(label.decode("utf-8", "replace") for label in labels[:10])
    raise _UnreadableError(f"it has no label {name!r}; it has {available}. Set score.quality_label to one of them.")


def _require_dense(cursor: _Cursor) -> None:
    (quantised,) = cursor.take("b")
    if quantised:
        raise _UnreadableError("it is quantised (.ftz). Name the .bin file that it was made from.")


def _way(counts: Sequence[int], label: int) -> list[tuple[int, bool]]:
    """The inner nodes of the Huffman tree of `counts` (largest first) above a label, each with whether it is on its
    right side; of nodes that weigh the same, the one made first joins first."""
    num_labels = len(counts)
    weights = [*counts, *[10**15] * (num_labels - 1)]
    parents, right = [0] * len(weights), [False] * len(weights)
    leaf, node = num_labels - 1, num_labels
    for parent in range(num_labels, len(weights)):
        weights[parent] = 0
        pair = []
        for _ in range(2):
            if leaf >= 0 and (node >= parent or weights[leaf] < weights[node]):
                pair.append(leaf)
                leaf -= 1
            else:
                pair.append(node)
                node += 1
        weights[parent] = weights[pair[0]] + weights[pair[1]]
        parents[pair[0]] = parents[pair[1]] = parent
        right[pair[1]] = True
    way = []
    while label != len(weights) - 1:
        way.append((parents[label] - num_labels, right[label]))
        label = parents[label]
    return way


def _sigmoid(scores: np.ndarray) -> np.ndarray:
    return np.asarray(1.0 / (1.0 + np.exp(-scores)))
