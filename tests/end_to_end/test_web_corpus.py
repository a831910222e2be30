"""A corpus recipe on real web pages: from WARC to decisions, with a way back from every document to its record."""

import gzip
import json
import re
import shutil
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from data_recipes import load_corpus
from infra.artifact import Artifact
from infra.events import EventLog
from infra.plan import plan
from infra.runner import run_inline
from infra.store import Store
from pipelines.graph import Graph, corpus_graph
from tests.kit.real_data import REAL_DATA

REPOSITORY = Path(__file__).parents[2]
WEB = REAL_DATA / "web"
FILE = "pages-00000.warc.gz"

pytestmark = pytest.mark.skipif(
    not WEB.is_dir(), reason=f"real web pages are not on this machine: {WEB} holds WARC files and annotations.jsonl"
)


def build(graph: Graph, store: Store) -> dict[str, Artifact]:
    """Artifacts by the name of their stage."""
    log = EventLog(store.root / "runs" / "test")
    outcome = run_inline(plan(store, list(graph.stages.values())), store, log, [].append)
    log.close()
    assert outcome.ok, outcome.failed
    return {artifact.manifest.name: artifact for artifact in outcome.artifacts.values()}


def web_graph(folder: Path, files: list[str], *overrides: str) -> Graph:
    """The web recipe on some of the files, as a user would override its paths."""
    paths = json.dumps([str(WEB / file) for file in files])
    recipe = load_corpus(REPOSITORY / "data_recipes/corpora/web.toml", [f"source.inputs.1.paths={paths}", *overrides])
    return corpus_graph(recipe, folder / "web.toml")


def rows(artifact: Artifact, kind: str) -> list[dict]:
    return [row for path in sorted((artifact.path / kind).glob("*")) for row in pq.read_table(path).to_pylist()]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Artifacts and metrics by stage, of one file."""
    folder = tmp_path_factory.mktemp("web")
    made = build(web_graph(folder, [FILE]), Store(folder / "store").open())
    return made, {name: artifact.manifest.metrics for name, artifact in made.items()}


def test_nearly_all_pages_give_text_and_the_funnel_adds_up(corpus):
    _, metrics = corpus
    pages = gzip.decompress((WEB / FILE).read_bytes()).count(b"WARC-Type: response")
    assert metrics["source"]["data/documents"] + metrics["source"].get("data/skipped_no_text", 0) == pages
    assert metrics["source"]["data/documents"] > 0.95 * pages and metrics["source"]["data/quarantined"] == 0
    assert metrics["filter"]["data/documents_in"] == metrics["source"]["data/documents"]
    assert 0.5 * pages < metrics["filter"]["data/documents"] < pages
    assert metrics["dedup"]["data/documents_in"] == metrics["filter"]["data/documents"]
    assert 0 < metrics["dedup"]["data/documents"] <= metrics["dedup"]["data/documents_in"]


def test_every_document_leads_back_to_its_record(corpus):
    artifacts, _ = corpus
    documents = rows(artifacts["source"], "documents")
    for document in documents:
        with (WEB / document["origin"]).open("rb") as file:
            file.seek(document["offset"])
            record = gzip.decompress(file.read(document["length"]))
        head, _, payload = record.partition(b"\r\n\r\n")
        url = re.search(rb"(?m)^WARC-Target-URI: (\S+)", head)
        assert url and url[1].decode() == document["url"]
        assert re.search(rb"(?m)^WARC-Date: (\S+)", head)[1].decode() == document["date"]
        assert payload.startswith(b"HTTP/")
    assert len({document["doc_id"] for document in documents}) == len(documents)


def test_the_text_is_the_page_without_its_frame(corpus):
    """F1 over segments that people marked as text or as frame; resiliparse alone reaches 0.85 on the whole set,
    trafilatura 0.92, all of the text 0.70."""
    artifacts, _ = corpus
    texts = {document["url"]: document["text"] for document in rows(artifacts["source"], "documents")}
    result = Counter()
    for line in (WEB / "annotations.jsonl").read_text(encoding="utf-8").splitlines():
        page = json.loads(line)
        text = texts.get(page["url"])
        if text is not None:
            result["hit"] += sum(segment in text for segment in page["with"])
            result["missed"] += sum(segment not in text for segment in page["with"])
            result["frame"] += sum(segment in text for segment in page["without"])
    precision = result["hit"] / (result["hit"] + result["frame"])
    recall = result["hit"] / (result["hit"] + result["missed"])
    assert 2 * precision * recall / (precision + recall) > 0.88


def test_scores_and_decisions_stand_beside_the_documents(corpus):
    artifacts, _ = corpus
    columns = [
        [row["doc_id"] for row in rows(artifacts[stage], kind)]
        for stage, kind in (
            ("source", "documents"),
            ("score", "scores"),
            ("filter", "filtered"),
            ("dedup", "decisions"),
        )
    ]
    assert columns[0] == columns[1] == columns[2] == columns[3]
    scores, filtered = rows(artifacts["score"], "scores"), rows(artifacts["filter"], "filtered")
    decisions = rows(artifacts["dedup"], "decisions")
    assert all(
        decision["reason"] == "filter" for row, decision in zip(filtered, decisions, strict=True) if not row["keep"]
    )
    languages = Counter(row["language"] for row in scores)
    assert languages["de"] > languages["en"] >= 10
    remaining = {row["language"] for row, passed in zip(scores, filtered, strict=True) if passed["keep"]}
    assert remaining <= {"en", "de", "fr", "es"}


def test_a_page_that_is_crawled_twice_is_kept_once(corpus, tmp_path):
    _, once = corpus
    shutil.copy(WEB / FILE, tmp_path / "again.warc.gz")
    made = build(web_graph(tmp_path, [FILE, str(tmp_path / "again.warc.gz")]), Store(tmp_path / "store").open())
    metrics = made["dedup"].manifest.metrics
    assert metrics["data/documents_in"] == 2 * once["dedup"]["data/documents_in"]
    assert metrics["data/documents"] == once["dedup"]["data/documents"]
    assert metrics["data/dropped_exact_duplicate"] >= once["dedup"]["data/documents_in"]


def test_a_takedown_reads_no_text_and_touches_only_the_shards_of_what_it_names(tmp_path):
    files = ["pages-00000.warc.gz", "pages-00001.warc.gz"]
    store = Store(tmp_path / "store").open()
    before = build(web_graph(tmp_path, files), store)
    gone = next(row for row in rows(before["dedup"], "decisions") if row["keep"] and row["cluster_size"] == 1)
    urls = {row["doc_id"]: row["url"] for row in rows(before["source"], "documents")}
    (tmp_path / "takedown.txt").write_text(f"{gone['doc_id']}\n")
    graph = web_graph(tmp_path, files, 'filter.takedown=["takedown.txt"]')
    actions = {step.stage.name: step.action for step in plan(store, list(graph.stages.values()))}
    assert actions == {"source": "reuse", "score": "reuse", "filter": "build", "dedup": "build"}
    after = build(graph, store)
    decided = {row["doc_id"]: row for row in rows(after["dedup"], "decisions")}
    assert not decided[gone["doc_id"]]["keep"], urls[gone["doc_id"]]
    others = [row for row in rows(before["dedup"], "decisions") if row["doc_id"] != gone["doc_id"]]
    assert others == [decided[row["doc_id"]] for row in others]
    reason = {row["doc_id"]: row["reason"] for row in rows(after["filter"], "filtered")}
    assert reason[gone["doc_id"]] == "takedown"
    for name, kind in (("filter", "filtered"), ("dedup", "decisions")):
        first, second = (after[name].digests[f"{kind}/0000{shard}.parquet"] for shard in (0, 1))
        assert first != before[name].digests[f"{kind}/00000.parquet"]
        assert second == before[name].digests[f"{kind}/00001.parquet"]


def test_another_file_costs_what_is_new(tmp_path):
    store = Store(tmp_path / "store").open()
    build(web_graph(tmp_path, ["pages-00000.warc.gz"]), store)
    grown = build(web_graph(tmp_path, ["pages-00000.warc.gz", "pages-00001.warc.gz"]), store)
    for name in ("source", "score"):
        assert grown[name].manifest.provenance["shards_reused"] == 1
