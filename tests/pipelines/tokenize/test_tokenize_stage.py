"""From kept documents to packed sequences: nothing lost, nothing dropped comes in, the same bytes each time."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from data_recipes.schema import TokenizerSection, TokenizeSection
from infra.context import StageContext
from infra.stage import Metrics, Stage
from infra.store import Artifact
from pipelines import tokenize
from pipelines.artifacts.documents import DECISIONS, Document, write_documents, write_shard
from pipelines.artifacts.tokenizer import TOKENIZER_FILE, TextTokenizer
from pipelines.artifacts.tokens import TokenSequences, positions_and_targets

LENGTH = 32


def stand_in(name: str) -> Stage:
    return Stage(name, "", 1, {}, {}, lambda context, inputs: {})


def corpus(folder: Path, shards: list[list[tuple[Document, str]]]) -> tuple[Artifact, Artifact]:
    """Artifacts of source and dedup; each document with its reason to be dropped, "" where it is kept."""
    for number, shard in enumerate(shards):
        write_documents([document for document, _ in shard], folder / "source", number)
        decisions = [
            {"doc_id": document.doc_id, "keep": not reason, "reason": reason, "cluster_size": 1}
            for document, reason in shard
        ]
        write_shard(pa.Table.from_pylist(decisions, schema=DECISIONS), folder / "dedup" / "decisions", number)
    return Artifact(folder / "source", None), Artifact(folder / "dedup", None)


def document(text: str, split: str = "train") -> Document:
    return Document(text=text, url=f"https://example.org/{len(text)}", origin="test", split=split)


def run(stage: Stage, folder: Path, inputs: dict[str, Artifact]) -> tuple[Artifact, Metrics, list[dict]]:
    events: list[dict] = []
    out = folder / f"out-{len(list(folder.glob('out-*')))}"
    out.mkdir(parents=True)
    metrics = stage.work(StageContext(stage.id, out, out.with_suffix(".state"), events.append), inputs)
    return Artifact(out, None), metrics, events


@pytest.fixture
def documents(tmp_path: Path) -> list[list[tuple[Document, str]]]:
    texts = [f"def f{n}(x):\n    return x * {n}\n" * (1 + n % 7) for n in range(40)]
    kept = [(document(text, "heldout" if n % 5 == 0 else "train"), "") for n, text in enumerate(texts)]
    return [
        kept[:15],
        [(document("a dropped document"), "filter"), *kept[15:]],
        [(document("another"), "near_duplicate")],
    ]


@pytest.fixture
def artifacts(documents: list, tmp_path: Path) -> dict[str, Artifact]:
    source, dedup = corpus(tmp_path / "corpus", documents)
    section = TokenizerSection(vocab_size=300, sample_bytes_per_corpus=10_000)
    stage = tokenize.tokenizer_stage(section, {"code": (stand_in("source"), stand_in("dedup"))})
    tokenizer, _, _ = run(stage, tmp_path / "tokenizer", {"source:code": source, "dedup:code": dedup})
    return {"source": source, "dedup": dedup, "tokenizer": tokenizer}


def tokenize_stage(name: str = "code") -> Stage:
    section = TokenizeSection(sequence_length=LENGTH)
    return tokenize.stage(name, section, stand_in("tokenizer"), stand_in("source"), stand_in("dedup"))


def rebuilt(tokens: Artifact, split: str) -> dict[str, list[int]]:
    """Ids by document, put together again from the pieces of every sequence."""
    sequences = TokenSequences(tokens.path, split)
    ids: dict[str, dict[int, int]] = {}
    for number in range(len(sequences)):
        row = sequences.ids(number)
        for piece in sequences.pieces(number):
            part = row[piece.start : piece.start + piece.length].tolist()
            ids.setdefault(piece.doc_id, {}).update(enumerate(part, start=piece.doc_start))
    return {doc_id: [part[index] for index in range(len(part))] for doc_id, part in ids.items()}


@pytest.mark.parametrize("split", ["train", "heldout"])
def test_every_kept_document_comes_back_from_its_sequences(
    artifacts: dict[str, Artifact], documents: list, tmp_path: Path, split: str
) -> None:
    tokens, metrics, _ = run(tokenize_stage(), tmp_path / "tokens", artifacts)
    tokenizer = TextTokenizer(artifacts["tokenizer"].path)
    ids = rebuilt(tokens, split)
    kept = [item for shard in documents for item, reason in shard if not reason and item.split == split]
    assert {doc_id: tokenizer.decode(part[1:-1]) for doc_id, part in ids.items()} == {d.doc_id: d.text for d in kept}
    assert all(part[0] == part[-1] == tokenizer.end_id for part in ids.values())
    index = TokenSequences(tokens.path, split).index
    assert index.num_tokens[split] == sum(map(len, ids.values())) == metrics[f"data/{split}_tokens"]
    assert index.text_bytes[split] == sum(len(d.text.encode()) for d in kept)


def test_model_is_asked_for_every_id_of_every_document_once(artifacts: dict[str, Artifact], tmp_path: Path) -> None:
    tokens, metrics, _ = run(tokenize_stage(), tmp_path / "tokens", artifacts)
    sequences = TokenSequences(tokens.path, "train")
    targets = [
        positions_and_targets(sequences.ids(number), sequences.segments(number))[1] for number in range(len(sequences))
    ]
    asked = np.concatenate(targets)
    expected = sorted(index for ids in rebuilt(tokens, "train").values() for index in ids[1:])
    assert sorted(asked[asked >= 0].tolist()) == expected
    padding = sum((sequences.segments(number) < 0).sum() for number in range(len(sequences)))
    assert metrics["data/packed_fraction"] == pytest.approx(1 - padding / (len(sequences) * (LENGTH + 1)))


def test_two_builds_have_the_same_bytes(artifacts: dict[str, Artifact], tmp_path: Path) -> None:
    first, second = (run(tokenize_stage(), tmp_path / "tokens", artifacts)[0].path for _ in range(2))
    files = sorted(file.relative_to(first) for file in first.rglob("*") if file.is_file())
    assert len(files) == 3 * 2 * 2 + 1
    assert all((first / file).read_bytes() == (second / file).read_bytes() for file in files)


def test_tokenizer_reads_training_documents_only(documents: list, tmp_path: Path) -> None:
    heldout = [(document("ŵ" * 500, "heldout"), "")]
    source, dedup = corpus(tmp_path / "corpus", [*documents, heldout])
    section = TokenizerSection(vocab_size=5000, sample_bytes_per_corpus=10_000)
    stage = tokenize.tokenizer_stage(section, {"code": (stand_in("source"), stand_in("dedup"))})
    tokenizer, metrics, events = run(stage, tmp_path / "tokenizer", {"source:code": source, "dedup:code": dedup})
    assert len(TextTokenizer(tokenizer.path).encode("ŵ" * 10)) == 20
    assert metrics["data/vocab_size"] < 5000
    assert "lower vocab_size" in next(event for event in events if event["event"] == "warning")["message"]
    assert (tokenizer.path / TOKENIZER_FILE).is_file()


def test_corpus_with_nothing_left_says_where_its_documents_went(artifacts: dict[str, Artifact], tmp_path: Path) -> None:
    shards = [[(document("x"), "filter"), (document("yy"), "filter"), (document("zzz", "heldout"), "")]]
    source, dedup = corpus(tmp_path / "empty", shards)
    with pytest.raises(
        ValueError, match=r"corpus sql: no training document is left of 3 \(filter 2, heldout 1\)\. Loosen"
    ):
        run(tokenize_stage("sql"), tmp_path / "tokens", artifacts | {"source": source, "dedup": dedup})


def test_corpus_without_documents_is_an_error(artifacts: dict[str, Artifact], tmp_path: Path) -> None:
    source, dedup = corpus(tmp_path / "empty", [[]])
    with pytest.raises(ValueError, match="corpus sql: its source has no document"):
        run(tokenize_stage("sql"), tmp_path / "tokens", artifacts | {"source": source, "dedup": dedup})


def test_corpus_without_heldout_documents_warns(artifacts: dict[str, Artifact], tmp_path: Path) -> None:
    source, dedup = corpus(tmp_path / "train_only", [[(document("some text"), "")]])
    _, metrics, events = run(tokenize_stage(), tmp_path / "tokens", artifacts | {"source": source, "dedup": dedup})
    assert metrics["data/heldout_documents"] == 0
    assert any("no held-out document" in event.get("message", "") for event in events)
