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
from infra.context import StageContext
from infra.store import Artifact
from pipelines import dedup, filter, source

REPOSITORY = Path(__file__).parents[2]
WEB = REPOSITORY / ".." / "shared" / "data" / "web"
FILE = "pages-00000.warc.gz"

pytestmark = pytest.mark.skipif(
    not WEB.is_dir(), reason=f"real web pages are not on this machine: {WEB} holds WARC files and annotations.jsonl"
)


def run(stage, folder: Path, **inputs: Artifact):
    for part in ("out", "state"):
        (folder / part).mkdir(parents=True)
    context = StageContext(stage.id, folder / "out", folder / "state", [].append)
    metrics = stage.work(context, inputs)
    return Artifact(folder / "out", None), metrics


def rows(artifact: Artifact, kind: str) -> list[dict]:
    return [row for path in sorted((artifact.path / kind).glob("*")) for row in pq.read_table(path).to_pylist()]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """The web recipe on one of the files, as a user would override its paths: artifacts and metrics by stage."""
    folder = tmp_path_factory.mktemp("web")
    recipe = load_corpus(
        REPOSITORY / "data_recipes/corpora/web.toml",
        [f"source.inputs.1.paths={json.dumps([str(WEB / FILE)])}"],
    )
    sourced = source.stage(recipe.name, recipe.source, source.pin(recipe.source, folder), folder)
    filtered = filter.stage(recipe.name, recipe.filter, sourced)
    deduped = dedup.stage(recipe.name, recipe.dedup, sourced, filtered)
    made = {"source": run(sourced, folder / "source")}
    made["filter"] = run(filtered, folder / "filter", source=made["source"][0])
    made["dedup"] = run(deduped, folder / "dedup", source=made["source"][0], filter=made["filter"][0])
    return {name: artifact for name, (artifact, _) in made.items()}, {name: found for name, (_, found) in made.items()}


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
    found = Counter()
    for line in (WEB / "annotations.jsonl").read_text(encoding="utf-8").splitlines():
        page = json.loads(line)
        text = texts.get(page["url"])
        if text is not None:
            found["hit"] += sum(segment in text for segment in page["with"])
            found["missed"] += sum(segment not in text for segment in page["with"])
            found["frame"] += sum(segment in text for segment in page["without"])
    precision = found["hit"] / (found["hit"] + found["frame"])
    recall = found["hit"] / (found["hit"] + found["missed"])
    assert 2 * precision * recall / (precision + recall) > 0.88


def test_scores_and_decisions_stand_beside_the_documents(corpus):
    artifacts, _ = corpus
    columns = [
        [row["doc_id"] for row in rows(artifacts[stage], kind)]
        for stage, kind in (("source", "documents"), ("filter", "scores"), ("dedup", "decisions"))
    ]
    assert columns[0] == columns[1] == columns[2]
    scores, decisions = rows(artifacts["filter"], "scores"), rows(artifacts["dedup"], "decisions")
    assert all(
        decision["reason"] == "filter" for score, decision in zip(scores, decisions, strict=True) if not score["keep"]
    )
    languages = Counter(score["language"] for score in scores)
    assert languages["de"] > languages["en"] >= 10
    assert {score["language"] for score in scores if score["keep"]} <= {"en", "de", "fr", "es"}


def test_a_page_that_is_crawled_twice_is_kept_once(corpus, tmp_path):
    artifacts, _ = corpus
    for stage, kind in (("source", "documents"), ("filter", "scores")):
        (tmp_path / stage / kind).mkdir(parents=True)
        for shard in ("00000.parquet", "00001.parquet"):
            shutil.copy(artifacts[stage].path / kind / "00000.parquet", tmp_path / stage / kind / shard)
    recipe = load_corpus(REPOSITORY / "data_recipes/corpora/web.toml")
    sourced = source.stage("web", recipe.source, {}, tmp_path)
    deduped = dedup.stage("web", recipe.dedup, sourced, filter.stage("web", recipe.filter, sourced))
    twice = {name: Artifact(tmp_path / name, None) for name in ("source", "filter")}
    _, metrics = run(deduped, tmp_path / "dedup", **twice)
    assert metrics["data/documents"] <= metrics["data/documents_in"] / 2
    assert metrics["data/dropped_exact_duplicate"] >= metrics["data/documents_in"] / 2 - 3
