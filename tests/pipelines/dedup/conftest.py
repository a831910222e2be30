"""Corpora that are deduplicated in the test's own process, and the definition of the result in plain Python."""

import itertools
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

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
        for place in draw.sample(range(len(words)), changes):
            words[place] = f"new{draw.randrange(10**9)}"
        return " ".join(words)


def words_of(text: str) -> list[str]:
    r"""The definition: longest runs of `\w`, every character lower-cased alone by its first lower-case character."""
    return ["".join(character.lower()[0] for character in word) for word in re.findall(r"\w+", text)]


def shingles(text: str, ngram: int) -> set:
    """The definition: runs of `ngram` words; all words where there are fewer; the text's bytes where there is none."""
    words = words_of(text)
    if not words:
        return {text.encode()}
    size = min(ngram, len(words))
    return {tuple(words[start : start + size]) for start in range(len(words) - size + 1)}


def jaccard(one: set, other: set) -> float:
    return len(one & other) / len(one | other)


@pytest.fixture
def texts() -> type[Texts]:
    return Texts


@pytest.fixture(scope="session")
def oracle():
    """`oracle.words_of`, `oracle.shingles`, `oracle.jaccard`: the definition, by brute force."""
    return SimpleNamespace(words_of=words_of, shingles=shingles, jaccard=jaccard)


@pytest.fixture
def deduplicate(attempt, tmp_path):
    """Deduplicate documents dealt out in shards. `quality` by url, 0 where not named; `dropped`: urls that the filter
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
        stage = dedup.stage(name, section or DedupSection(), dedup.DedupInputs(source, filtered, earlier))
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
    """What source and filter leave of `shards`."""
    for number, documents in enumerate(shards):
        write_documents(documents, home, number)
        rows = [
            {"doc_id": each.doc_id, "keep": each.url not in dropped, "quality": quality.get(each.url, 0.0)}
            for each in documents
        ]
        write_shard(pa.Table.from_pylist(rows, schema=FILTERED), home / "filtered", number)
