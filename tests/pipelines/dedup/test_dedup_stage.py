"""The stage `dedup`: planted duplicates go, others stay, and nothing depends on order."""

import itertools
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_recipes.schema import DedupSection
from infra.context import StageContext
from infra.stage import Stage
from infra.store import Artifact
from pipelines import dedup
from pipelines.artifacts.documents import DECISIONS, Document, iter_kept, write_documents, write_shard
from pipelines.dedup.minhash import jaccard, shingles

SOURCE = Stage("source", "notes", 1, {}, {}, lambda context, inputs: {})
FILTER = Stage("filter", "notes", 1, {}, {"source": SOURCE}, lambda context, inputs: {})
WORDS = [f"{first}{second}" for first in "bcdfghjk" for second in ("an", "eld", "ist", "or", "umber", "ynt")]


def some_text(seed: object, length: int = 250) -> str:
    return " ".join(random.Random(str(seed)).choices(WORDS, k=length))


def edited(text: str, seed: object, changes: int) -> str:
    draw, words = random.Random(str(seed)), text.split()
    for place in draw.sample(range(len(words)), changes):
        words[place] = "changed"
    return " ".join(words)


def planted() -> list[Document]:
    """Originals, near copies (J about 0.96 and 0.9), remote copies (J about 0.5), exact copies, texts with a long
    common part, and texts without words."""
    texts = []
    for n in range(12):
        text = some_text(n)
        texts += [text, edited(text, (n, 1), 1), edited(text, (n, 2), 3), edited(text, (n, 3), 18)]
    texts += [some_text(n).replace(" ", "\n ") for n in range(3)]
    licence = some_text("licence", 300)
    texts += [licence + " " + some_text(("own", n), 120) for n in range(8)]
    texts += ["", "  ", "!", "one two", "one two three four five", "One two"]
    return [Document(text, f"http://example.org/{n}", "test") for n, text in enumerate(texts)]


@pytest.fixture
def run(attempt, tmp_path):
    """Dedup documents dealt out in shards; the filter keeps all but those whose url is in `dropped`."""
    numbers = itertools.count()

    def run(shards: list[list[Document]], section: DedupSection | None = None, dropped: tuple[str, ...] = ()):
        name = f"run-{next(numbers)}"
        home = tmp_path / f"{name}-inputs"
        for number, documents in enumerate(shards):
            write_documents(documents, home, number)
            rows = [{"doc_id": each.doc_id, "keep": each.url not in dropped} for each in documents]
            schema = pa.schema([("doc_id", pa.string()), ("keep", pa.bool_())])
            write_shard(pa.Table.from_pylist(rows, schema=schema), home / "scores", number)
        stage = dedup.stage("notes", section or DedupSection(), SOURCE, FILTER)
        artifact = Artifact(home, None)
        made = attempt(stage, name, source=artifact, filter=artifact)
        return made, home

    return run


def decisions(made) -> dict[str, dict]:
    paths = sorted(made.artifact.path.glob("decisions/*.parquet"))
    return {row["doc_id"]: row for path in paths for row in pq.read_table(path).to_pylist()}


def best_of(documents: list[Document]) -> Document:
    return min(documents, key=lambda each: (-len(each.text), each.doc_id))


def test_planted_duplicates_are_removed_and_every_removal_is_true(run):
    documents = planted()
    made, _ = run([documents[:20], documents[20:21], [], documents[21:]])
    found = decisions(made)
    by_id = {each.doc_id: each for each in documents}
    sets = {each.doc_id: shingles(each.text, 5) for each in documents}
    for doc_id, row in found.items():
        if row["keep"]:
            assert (row["reason"], row["kept_id"], row["jaccard"]) == ("", None, None)
            continue
        exact = jaccard(sets[doc_id], sets[row["kept_id"]])
        assert row["jaccard"] == exact >= 0.8
        assert found[row["kept_id"]]["keep"], "the document that stands for others is kept itself"
        assert best_of([by_id[doc_id], by_id[row["kept_id"]]]).doc_id == row["kept_id"]
        same = by_id[doc_id].text.split() == by_id[row["kept_id"]].text.split()
        assert row["reason"] == ("exact_duplicate" if same else "near_duplicate")
    kept = [doc_id for doc_id, row in found.items() if row["keep"]]
    missed = [pair for pair in itertools.combinations(kept, 2) if jaccard(sets[pair[0]], sets[pair[1]]) >= 0.8]
    assert not missed
    assert sum(row["reason"] == "near_duplicate" for row in found.values()) >= 24


def test_without_verification_boilerplate_would_have_gone(run):
    licence = some_text("licence", 300)
    documents = [Document(f"{licence} {some_text(n, 90)}", f"http://example.org/{n}", "test") for n in range(10)]
    made, _ = run([documents])
    assert made.metrics["data/pairs_rejected"] > 0
    assert made.metrics["data/documents"] == 10


def test_what_the_filter_dropped_is_not_compared_and_stands_for_nothing(run):
    text = some_text(0)
    documents = [Document(text + " more", "a", "test"), Document(text, "b", "test"), Document(text, "c", "test")]
    made, home = run([documents], dropped=("a",))
    found = decisions(made)
    first, *others = (found[each.doc_id] for each in documents)
    assert (first["keep"], first["reason"], first["kept_id"], first["cluster_size"]) == (False, "filter", None, 1)
    kept = best_of(documents[1:]).doc_id
    assert sorted((row["keep"], row["kept_id"], row["cluster_size"]) for row in others) == [
        (False, kept, 2),
        (True, None, 2),
    ]
    batches = list(iter_kept(home / "documents/00000.parquet", made.artifact.path / "decisions/00000.parquet", "train"))
    assert [doc_id for batch in batches for doc_id in batch["doc_id"].to_pylist()] == [kept]


def test_a_shard_of_which_nothing_passed_is_all_filter(run):
    documents = planted()[:6]
    made, _ = run([documents[:3], documents[3:]], dropped=tuple(each.url for each in documents[:3]))
    table = pq.read_table(made.artifact.path / "decisions/00000.parquet")
    assert table["reason"].to_pylist() == ["filter"] * 3


def test_decisions_have_the_schema_and_the_order_of_the_documents(run):
    documents = planted()
    made, home = run([documents[:10], documents[10:]])
    for name in ("00000", "00001"):
        table = pq.read_table(made.artifact.path / "decisions" / f"{name}.parquet")
        assert table.schema.equals(DECISIONS)
        assert table["doc_id"] == pq.read_table(home / "documents" / f"{name}.parquet")["doc_id"]


def test_clusters_are_listed_largest_first_and_the_numbers_agree(run):
    documents = planted()
    made, _ = run([documents])
    found = decisions(made)
    clusters = pq.read_table(made.artifact.path / "clusters.parquet").to_pylist()
    sizes = [row["size"] for row in clusters]
    assert sizes == sorted(sizes, reverse=True) and min(sizes) > 1
    for row in clusters:
        members = [each for each in found.values() if row["kept_id"] in (each["doc_id"], each["kept_id"])]
        assert {each["cluster_size"] for each in members} == {len(members)} == {row["size"]}
    removed = [row for row in found.values() if not row["keep"]]
    assert made.metrics["data/clusters"] == len(clusters) and made.metrics["data/largest_cluster"] == sizes[0]
    assert made.metrics["data/documents_in"] - made.metrics["data/documents"] == len(removed)
    by_reason = [made.metrics[f"data/dropped_{reason}"] for reason in ("exact_duplicate", "near_duplicate")]
    assert sum(by_reason) == len(removed) and min(by_reason) > 0


def test_decisions_are_the_same_however_documents_are_dealt_out(run):
    documents = planted()
    reference, _ = run([documents])
    for seed in range(3):
        draw = random.Random(seed)
        shuffled = draw.sample(documents, len(documents))
        cut = draw.randrange(len(shuffled))
        made, _ = run([shuffled[:cut], shuffled[cut:]])
        assert decisions(made) == decisions(reference)
        assert (made.artifact.path / "clusters.parquet").read_bytes() == (
            reference.artifact.path / "clusters.parquet"
        ).read_bytes()


def test_two_builds_are_the_same_bytes_and_leave_no_signatures_in_the_result(run):
    documents = planted()
    (one, _), (two, _) = (run([documents[:9], documents[9:]]) for _ in range(2))
    files = {str(file.relative_to(one.artifact.path)) for file in one.artifact.path.rglob("*") if file.is_file()}
    files.remove("manifest.json")
    assert files == {"clusters.parquet", "decisions/00000.parquet", "decisions/00001.parquet"}
    assert all((one.artifact.path / name).read_bytes() == (two.artifact.path / name).read_bytes() for name in files)


def test_a_second_attempt_goes_on_from_the_shards_that_are_signed(run, tmp_path, monkeypatch):
    documents = planted()
    reference, home = run([documents[:9], documents[9:]])
    stage = dedup.stage("notes", DedupSection(), SOURCE, FILTER)
    inputs = {"source": Artifact(home, None), "filter": Artifact(home, None)}
    (tmp_path / "state").mkdir()
    for number in range(2):
        out = tmp_path / f"out-{number}"
        out.mkdir()
        with monkeypatch.context() as patch:
            if number:
                patch.setattr("pipelines.dedup.signing.signatures", None)
            stage.work(StageContext(stage.id, out, tmp_path / "state", [].append), inputs)
        name = "decisions/00001.parquet"
        assert (out / name).read_bytes() == (reference.artifact.path / name).read_bytes()


@pytest.mark.parametrize(("threshold", "near"), [(0.5, 36), (0.95, 12), (1.0, 0)])
def test_the_threshold_decides_how_near_is_near(run, threshold, near):
    documents = planted()[:48]
    made, _ = run([documents], DedupSection(num_bands=32, rows_per_band=4, jaccard_threshold=threshold))
    assert made.metrics["data/dropped_near_duplicate"] == pytest.approx(near, abs=near // 3)
