"""From kept documents to packed sequences: nothing lost, nothing dropped comes in, the same bytes each time."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_recipes.schema import TokenizerSection, TokenizeSection
from infra.artifact import Artifact
from infra.context import StageContext
from infra.stage import Metrics, Stage
from pipelines import tokenize
from pipelines.artifacts.documents import DECISIONS, FILTERED, Document, write_documents, write_shard
from pipelines.artifacts.tokenization.tokenizer import CONFIG_FILE, SAMPLE_FILE, TOKENIZER_FILE, TextTokenizer
from pipelines.artifacts.tokenization.tokens import TokenSequences, positions_and_targets
from pipelines.tokenize import TokenizeInputs, TrainingDocuments
from tests.kit.stages import committed, idle_stage

LENGTH = 32
KEPT = ("source", "filter", "dedup")


def stand_in(name: str, build: int = 0) -> Stage:
    return idle_stage(name, "", {"build": build})


def corpus(folder: Path, shards: list[list[tuple[Document, str]]]) -> dict[str, Artifact]:
    """Artifacts of source, filter and dedup; each document with its reason to be dropped, "" if it is kept. The filter
    blacks out the first word SECRET of a text."""
    for number, shard in enumerate(shards):
        write_documents([document for document, _ in shard], folder / "source", number)
        decisions = [
            {"doc_id": document.doc_id, "keep": not reason, "reason": reason, "cluster_size": 1}
            for document, reason in shard
        ]
        write_shard(pa.Table.from_pylist(decisions, schema=DECISIONS), folder / "dedup" / "decisions", number)
        filtered = [
            {**decision, "quality": 0.0, "redactions": redactions(item.text)}
            for decision, (item, _) in zip(decisions, shard, strict=True)
        ]
        write_shard(pa.Table.from_pylist(filtered, schema=FILTERED), folder / "filter" / "filtered", number)
    return {name: committed(folder / name) for name in KEPT}


def redactions(text: str) -> list[dict]:
    start = text.find("SECRET")
    return [{"start": start, "end": start + 6, "kind": "secret"}] if start >= 0 else []


def document(text: str, split: str = "train") -> Document:
    return Document(text=text, url=f"https://example.org/{len(text)}", origin="test", split=split)


def run(stage: Stage, folder: Path, inputs: dict[str, Artifact]) -> tuple[Artifact, Metrics, list[dict]]:
    events: list[dict] = []
    out = folder / f"out-{len(list(folder.glob('out-*')))}"
    out.mkdir(parents=True)
    metrics = stage.work(StageContext(stage.id, out, out.with_suffix(".state"), events.append), inputs)
    return committed(out), metrics, events


@pytest.fixture
def documents(tmp_path: Path) -> list[list[tuple[Document, str]]]:
    texts = [f"def f{n}(x):\n    return x * {n}\n" * (1 + n % 7) for n in range(40)]
    remaining = [(document(text, "heldout" if n % 5 == 0 else "train"), "") for n, text in enumerate(texts)]
    return [
        remaining[:15],
        [(document("a dropped document"), "filter"), *remaining[15:]],
        [(document("another"), "near_duplicate")],
    ]


@pytest.fixture
def artifacts(documents: list, tmp_path: Path) -> dict[str, Artifact]:
    remaining = corpus(tmp_path / "corpus", documents)
    section = TokenizerSection(vocab_size=300, sample_bytes_per_corpus=10_000)
    stage = tokenize.tokenizer_stage(section, {"code": TrainingDocuments(*map(stand_in, KEPT))})
    tokenizer, _, _ = run(stage, tmp_path / "tokenizer", {f"{name}:code": remaining[name] for name in KEPT})
    return remaining | {"tokenizer": tokenizer}


def tokenize_stage(name: str = "code", build: int = 0) -> Stage:
    section = TokenizeSection(sequence_length=LENGTH)
    tokenizer, *documents = (stand_in(name, build) for name in ("tokenizer", *KEPT))
    return tokenize.stage(name, section, TokenizeInputs(tokenizer, TrainingDocuments(*documents)))


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
    remaining = [item for shard in documents for item, reason in shard if not reason and item.split == split]
    assert {doc_id: tokenizer.decode(part[1:-1]) for doc_id, part in ids.items()} == {
        d.doc_id: d.text for d in remaining
    }
    assert all(part[0] == part[-1] == tokenizer.end_id for part in ids.values())
    index = TokenSequences(tokens.path, split).index
    assert index.num_tokens[split] == sum(map(len, ids.values())) == metrics[f"data/{split}_tokens"]
    assert index.text_bytes[split] == sum(len(d.text.encode()) for d in remaining)


def test_what_the_filter_blacks_out_reaches_neither_tokenizer_nor_tokens(tmp_path: Path) -> None:
    remaining = corpus(tmp_path / "corpus", [[(document(f"say SECRET {n} twice SECRET"), "") for n in range(9)]])
    section = TokenizerSection(vocab_size=300, sample_bytes_per_corpus=10_000)
    stage = tokenize.tokenizer_stage(section, {"code": TrainingDocuments(*map(stand_in, KEPT))})
    tokenizer, _, _ = run(stage, tmp_path / "tokenizer", {f"{name}:code": remaining[name] for name in KEPT})
    tokens, _, _ = run(tokenize_stage(), tmp_path / "tokens", remaining | {"tokenizer": tokenizer})
    texts = [TextTokenizer(tokenizer.path).decode(ids[1:-1]) for ids in rebuilt(tokens, "train").values()]
    assert sorted(texts) == [f"say <SECRET> {n} twice SECRET" for n in range(9)]


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
    assert len(files) == 3 * 2 * 3 + 1
    assert all((first / file).read_bytes() == (second / file).read_bytes() for file in files)


def test_takedown_is_worked_on_in_the_shards_that_have_the_documents(
    artifacts: dict[str, Artifact], documents: list, tmp_path: Path, attempt: Callable
) -> None:
    before = attempt(tokenize_stage(build=1), "store", **artifacts).artifact
    taken_down = next(item for item, _ in documents[1][1:] if item.split == "train")
    documents[1] = [(item, "takedown" if item == taken_down else reason) for item, reason in documents[1]]
    remaining = corpus(tmp_path / "after", documents)
    after = attempt(tokenize_stage(build=2), "store", **(artifacts | remaining)).artifact
    assert after.manifest.key != before.manifest.key
    assert after.manifest.provenance["shards_reused"] == len(documents) - 1
    changed = {file for file, digest in after.digests.items() if before.digests[file] != digest}
    assert changed == {"tokens.json", *(f"train/00001.{suffix}" for suffix in ("bin", "bounds.npy", "parquet"))}
    assert taken_down.doc_id in rebuilt(before, "train")
    assert taken_down.doc_id not in rebuilt(after, "train")
    # the same as if it had been built from nothing
    assert attempt(tokenize_stage(build=2), "fresh", **(artifacts | remaining)).artifact.digests == after.digests


def test_pieces_know_the_row_of_their_document(artifacts: dict[str, Artifact], documents: list, tmp_path: Path) -> None:
    sequences = TokenSequences(run(tokenize_stage(), tmp_path / "tokens", artifacts)[0].path, "train")
    for number in range(len(sequences)):
        shard, _ = sequences.locate(number)
        for piece in sequences.pieces(number):
            assert documents[shard][piece.doc_row][0].doc_id == piece.doc_id


def test_boundaries_are_those_of_the_pieces(artifacts: dict[str, Artifact], tmp_path: Path) -> None:
    sequences = TokenSequences(run(tokenize_stage(), tmp_path / "tokens", artifacts)[0].path, "train")
    for number in range(len(sequences)):
        pieces = sequences.pieces(number)
        assert sequences.cu_seqlens(number).tolist() == [0, *(piece.start + piece.length for piece in pieces)]
        for offset in range(number % 5, LENGTH + 1, 5):
            segment = sequences.segments(number)[offset]
            assert sequences.piece_at(number, offset) == (pieces[segment] if segment >= 0 else None)


def test_sample_is_stated_in_the_tokenizer(documents: list, tmp_path: Path) -> None:
    remaining = corpus(tmp_path / "corpus", documents)
    section = TokenizerSection(vocab_size=300, sample_bytes_per_corpus=500)
    stage = tokenize.tokenizer_stage(
        section, {name: TrainingDocuments(*map(stand_in, KEPT)) for name in ("code", "more")}
    )
    inputs = {f"{side}:{name}": remaining[side] for side in KEPT for name in ("code", "more")}
    tokenizer, metrics, _ = run(stage, tmp_path / "tokenizer", inputs)
    sample = pq.read_table(tokenizer.path / SAMPLE_FILE).to_pylist()
    sizes = {item.doc_id: len(item.text.encode()) for shard in documents for item, _ in shard}
    for name in ("code", "more"):
        rows = [row for row in sample if row["corpus"] == name]
        assert [row["text_bytes"] for row in rows] == [sizes[row["doc_id"]] for row in rows]
        total = sum(row["text_bytes"] for row in rows)
        assert total - rows[-1]["text_bytes"] < 500 <= total == metrics[f"data/sample_bytes_{name}"]
    assert metrics["data/sample_documents"] == len(sample)
    assert {file.name for file in tokenizer.path.iterdir()} == {TOKENIZER_FILE, CONFIG_FILE, SAMPLE_FILE}


def test_tokenizer_reads_training_documents_only(documents: list, tmp_path: Path) -> None:
    heldout = [(document("ŵ" * 500, "heldout"), "")]
    remaining = corpus(tmp_path / "corpus", [*documents, heldout])
    section = TokenizerSection(vocab_size=5000, sample_bytes_per_corpus=10_000)
    stage = tokenize.tokenizer_stage(section, {"code": TrainingDocuments(*map(stand_in, KEPT))})
    inputs = {f"{name}:code": remaining[name] for name in KEPT}
    tokenizer, metrics, events = run(stage, tmp_path / "tokenizer", inputs)
    assert len(TextTokenizer(tokenizer.path).encode("ŵ" * 10)) == 20
    assert metrics["data/vocab_size"] < 5000
    assert "lower vocab_size" in next(event for event in events if event["event"] == "warning")["message"]
    assert (tokenizer.path / TOKENIZER_FILE).is_file()


def test_corpus_with_nothing_left_says_where_its_documents_went(artifacts: dict[str, Artifact], tmp_path: Path) -> None:
    shards = [[(document("x"), "filter"), (document("yy"), "filter"), (document("zzz", "heldout"), "")]]
    empty = corpus(tmp_path / "empty", shards)
    with pytest.raises(
        ValueError, match=r"corpus sql: no training document is left of 3 \(filter 2, heldout 1\)\. Loosen"
    ):
        run(tokenize_stage("sql"), tmp_path / "tokens", artifacts | empty)


def test_corpus_without_documents_is_an_error(artifacts: dict[str, Artifact], tmp_path: Path) -> None:
    empty = corpus(tmp_path / "empty", [[]])
    with pytest.raises(ValueError, match="corpus sql: its source has no document"):
        run(tokenize_stage("sql"), tmp_path / "tokens", artifacts | empty)


def test_corpus_without_heldout_documents_warns(artifacts: dict[str, Artifact], tmp_path: Path) -> None:
    train_only = corpus(tmp_path / "train_only", [[(document("some text"), "")]])
    _, metrics, events = run(tokenize_stage(), tmp_path / "tokens", artifacts | train_only)
    assert metrics["data/heldout_documents"] == 0
    assert any("no held-out document" in event.get("message", "") for event in events)
