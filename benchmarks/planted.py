"""Documents with planted near duplicates of known Jaccard, and different documents that share boilerplate."""

import random
import re
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from data_recipes.schema import DedupSection
from infra.artifact import Artifact
from infra.context import StageContext
from infra.stage import Stage
from pipelines import dedup
from pipelines.artifacts.documents import Document, write_documents, write_shard

_TOKEN = re.compile(r"\w+|\W+")
FILTERED = pa.schema([("doc_id", pa.string()), ("keep", pa.bool_()), ("quality", pa.float64())])


def substitute(text: str, draw: random.Random) -> str:
    """Words replaced here and there."""
    tokens, share = _TOKEN.findall(text), draw.uniform(0.002, 0.04)
    return "".join(
        f"word{draw.randrange(10**6)}" if token[0].isalnum() and draw.random() < share else token for token in tokens
    )


def insert(text: str, draw: random.Random) -> str:
    """New words put in between."""
    tokens, share = _TOKEN.findall(text), draw.uniform(0.002, 0.04)
    return "".join(
        f"{token}word{draw.randrange(10**6)} " if token.isspace() and draw.random() < share else token
        for token in tokens
    )


def prefix(text: str, draw: random.Random) -> str:
    """A head of new words, as a site puts before its pages."""
    words = text.split()
    head = " ".join(f"head{draw.randrange(10**6)}" for _ in range(int(len(words) * draw.uniform(0.02, 0.25))))
    return f"{head}\n{text}"


def cut_tail(text: str, draw: random.Random) -> str:
    """The end missing."""
    return text[: int(len(text) * draw.uniform(0.75, 0.98))]


def reorder(text: str, draw: random.Random) -> str:
    """Blocks in another order."""
    lines = text.splitlines(keepends=True)
    size = max(1, len(lines) // draw.randint(3, 12))
    blocks = ["".join(lines[start : start + size]) for start in range(0, len(lines), size)]
    draw.shuffle(blocks)
    return "".join(blocks)


EDITS = (substitute, insert, prefix, cut_tail, reorder)


def planted(texts: Sequence[str], seed: int = 0) -> list[str]:
    """The texts; edits of three in ten of them; and the same number of pages that share up to half of their words with
    others."""
    draw = random.Random(seed)
    result = list(texts)
    for text in draw.sample(list(texts), int(len(texts) * 0.3)):
        result += [draw.choice(EDITS)(text, draw) for _ in range(draw.choice((1, 1, 1, 2, 4)))]
    result += boilerplate(texts, int(len(texts) * 0.2), draw)
    draw.shuffle(result)
    return result


def boilerplate(texts: Sequence[str], count: int, draw: random.Random) -> list[str]:
    """Pages of a few families: the family's licence or navigation around each page's own words (J from 0.4 to 0.79)."""
    pool = [word for text in texts[:200] for word in text.split()]
    families = [" ".join(draw.choices(pool, k=draw.randint(300, 900))) for _ in range(max(1, count // 25))]
    pages = []
    for _ in range(count):
        frame = draw.choice(families)
        words = len(frame.split())
        own = " ".join(draw.choices(pool, k=int(words * draw.uniform(0.14, 0.7))))
        half = len(frame) // 2
        pages.append(f"{frame[:half]} {own} {frame[half:]}")
    return pages


def write_corpus(texts: Sequence[str], folder: Path, num_shards: int) -> list[Document]:
    """The output of source and filter for `texts`: documents/ and filtered/ under `folder`."""
    documents = [Document(text, f"page/{number}", "benchmark") for number, text in enumerate(texts)]
    write_shards(documents, folder, num_shards)
    return documents


def write_shards(documents: Sequence[Document], folder: Path, num_shards: int) -> None:
    """The output of source and filter for `documents`, dealt out in turn, under `folder`."""
    for shard in range(num_shards):
        part = documents[shard::num_shards]
        write_documents(part, folder, shard)
        rows = [{"doc_id": each.doc_id, "keep": True, "quality": 0.0} for each in part]
        write_shard(pa.Table.from_pylist(rows, schema=FILTERED), folder / "filtered", shard)


def run_stage(corpus: Path, folder: Path, section: DedupSection) -> dict[str, float]:
    """The stage `dedup` of `corpus` in this process; its result lies in `folder`/out."""
    for name in ("out", "state"):
        (folder / name).mkdir(parents=True)
    source = Stage("source", "benchmark", 1, {}, {}, lambda context, inputs: {})
    stage = dedup.stage(
        "benchmark", section, dedup.fingerprint(section, folder), folder, dedup.DedupInputs(source, source)
    )
    inputs = dict.fromkeys(("source", "filter"), Artifact(corpus, None))  # type: ignore[arg-type]
    context = StageContext(stage.id, folder / "out", folder / "state", lambda event: None)
    return dict(stage.work(context, inputs))
