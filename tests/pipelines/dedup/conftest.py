"""Corpora that are deduplicated in the test's own process, and the definition of the result in plain Python."""

import itertools
import random
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit

from data_recipes.schema import DedupSection
from infra.stage import Stage
from pipelines import dedup
from pipelines.artifacts.documents import Document, write_documents, write_shard
from tests.kit.stages import committed, idle_stage

WORDS = [f"{first}{second}" for first in "bcdfghjk" for second in ("an", "eld", "ist", "or", "umber", "ynt")]
FILTERED = pa.schema([("doc_id", pa.string()), ("keep", pa.bool_()), ("quality", pa.float64())])


@dataclass(frozen=True)
class Made:
    """A deduplicated corpus: its stages, the folders of its inputs and of its result, its metrics."""

    source: Stage
    dedup: Stage
    home: Path
    path: Path
    metrics: dict[str, float]

    def decisions(self) -> dict[str, dict]:
        paths = sorted(self.path.glob("decisions/*.parquet"))
        return {row["doc_id"]: row for path in paths for row in pq.read_table(path).to_pylist()}

    def kept(self) -> set[str]:
        return {doc_id for doc_id, row in self.decisions().items() if row["keep"]}


class Texts:
    """Made-up texts; everything is drawn from a name."""

    @staticmethod
    def some(name: object, length: int = 250) -> str:
        return " ".join(random.Random(str(name)).choices(WORDS, k=length))

    @staticmethod
    def edited(text: str, name: object, changes: int) -> str:
        """`changes` words replaced by new ones."""
        draw, words = random.Random(str(name)), text.split()
        for location in draw.sample(range(len(words)), changes):
            words[location] = f"new{draw.randrange(10**9)}"
        return " ".join(words)


RANGES = (
    r"\u3005-\u3007\u3021-\u3029\u3031-\u3035\u303b\u303c\u3041-\u30ff\u3105-\u312f\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf"
    r"\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U0001aff0-\U0001b16f\U00020000-\U000323af\u0e00-\u0fff\u1000-\u109f"
    r"\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf\u1b00-\u1b7f\ua980-\ua9ff\uaa60-\uaadf\U00011700-\U0001174f"
)
"""Han, kana, bopomofo; Thai, Lao, Tibetan, Burmese, Khmer, Tai, Balinese, Javanese, Ahom."""


def is_alone(character: str) -> bool:
    return re.match(r"\w", character) is not None or unicodedata.category(character) in ("Mn", "Mc")


ALONE = frozenset(filter(is_alone, re.findall(f"[{RANGES}]", "".join(map(chr, range(0x110000))))))


def words_of(text: str) -> list[str]:
    r"""The definition: longest runs of `\w`, every character lower-cased alone by its first lower-case character; a
    character of a script without blanks is a word."""
    spaced = "".join(f" {character} " if character in ALONE else character for character in text)
    words = (word for part in spaced.split(" ") for word in ([part] if part in ALONE else re.findall(r"\w+", part)))
    return ["".join(character.lower()[0] for character in word) for word in words]


def shingles(text: str, ngram: int) -> set:
    """The definition: runs of words; all words if there are fewer; the text's bytes if there is none."""
    words = words_of(text)
    if not words:
        return {text.encode()}
    return set(map(tuple, runs_of(words, ngram)))


def runs_of(words: list[str], ngram: int) -> list[list[str]]:
    """In order: the `ngram` words to each word, three if it is a character of a script without blanks."""
    sizes = (min(3, ngram) if word in ALONE else ngram for word in words)
    runs = [words[end - size : end] for end, size in enumerate(sizes, start=1) if end >= size]
    return runs or [words]


def jaccard(one: set, other: set) -> float:
    return len(one & other) / len(one | other)


@pytest.fixture
def texts() -> type[Texts]:
    return Texts


@dataclass(frozen=True)
class MadeModel:
    """A static embedding model in a folder: each of WORDS has a synonym, which ends in "s", with nearly its row."""

    folder: Path
    rows: Mapping[str, np.ndarray]

    def cosine(self, one: str, other: str) -> float:
        """The definition, in float64; words without a row count for nothing."""
        a, b = (sum(self.rows[word] for word in text.split() if word in self.rows) for text in (one, other))
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    @staticmethod
    def paraphrased(text: str) -> str:
        return " ".join(f"{word}s" for word in text.split())


@pytest.fixture
def static_model(tmp_path) -> MadeModel:
    draw = np.random.default_rng(7)
    rows = {}
    for word in WORDS:
        rows[word] = draw.normal(size=32).astype(np.float32)
        rows[f"{word}s"] = (rows[word] + draw.normal(scale=0.05, size=32)).astype(np.float32)
    write_static_model(tmp_path / "model", rows)
    return MadeModel(tmp_path / "model", rows)


def write_static_model(folder: Path, rows: Mapping[str, np.ndarray]) -> None:
    """As model2vec writes a model; id 0 stands for words that are not in `rows`."""
    folder.mkdir()
    tokenizer = Tokenizer(WordLevel({word: number for number, word in enumerate(["[UNK]", *rows])}, "[UNK]"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))
    unknown = np.full(32, 9, np.float32)
    save_file({"embeddings": np.stack([unknown, *rows.values()])}, folder / "model.safetensors")


@pytest.fixture(scope="session")
def oracle():
    """`oracle.words_of`, `oracle.runs_of`, `oracle.shingles`, `oracle.jaccard`: the definition, by brute force."""
    return SimpleNamespace(words_of=words_of, runs_of=runs_of, shingles=shingles, jaccard=jaccard)


@pytest.fixture
def deduplicate(attempt, tmp_path):
    """Deduplicate documents dealt out in shards. `quality` by url, 0 if not named; `dropped`: urls that the filter
    dropped; `against`: corpora made before, which `section.against` names by their subject."""
    numbers = itertools.count()

    def deduplicate(
        shards: Sequence[Sequence[Document]],
        section: DedupSection | None = None,
        *,
        name: str = "notes",
        dropped: tuple[str, ...] = (),
        quality: dict[str, float] | None = None,
        against: Sequence[Made] = (),
    ) -> Made:
        folder = f"{name}-{next(numbers)}"
        home = tmp_path / f"{folder}-inputs"
        write_inputs(home, shards, dropped, quality or {})
        source = idle_stage("source", name, {"home": folder})
        filtered = idle_stage("filter", name, {}, {"source": source})
        earlier = {made.dedup.subject: dedup.Deduplicated(made.source, made.dedup) for made in against}
        section = section or DedupSection()
        fingerprints = dedup.fingerprint(section, tmp_path)
        stage = dedup.stage(name, section, fingerprints, tmp_path, dedup.DedupInputs(source, filtered, earlier))
        inputs = {"source": committed(home), "filter": committed(home)}
        for made in against:
            inputs[f"source:{made.dedup.subject}"] = committed(made.home)
            inputs[f"dedup:{made.dedup.subject}"] = committed(made.path)
        done = attempt(stage, folder, **inputs)
        return Made(source, stage, home, done.artifact.path, dict(done.metrics))

    return deduplicate


def write_inputs(
    home: Path, shards: Sequence[Sequence[Document]], dropped: Sequence[str], quality: dict[str, float]
) -> None:
    """The output of source and filter for `shards`."""
    for number, documents in enumerate(shards):
        write_documents(documents, home, number)
        rows = [
            {"doc_id": each.doc_id, "keep": each.url not in dropped, "quality": quality.get(each.url, 0.0)}
            for each in documents
        ]
        write_shard(pa.Table.from_pylist(rows, schema=FILTERED), home / "filtered", number)
