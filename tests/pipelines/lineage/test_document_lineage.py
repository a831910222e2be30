"""`arctic show document`: one id, with the output of every stage on it."""

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from infra.artifact import Artifact
from infra.stage import Stage
from infra.store import Store
from pipelines.artifacts.documents import DECISIONS, FILTERED, Document, DocumentWriter
from pipelines.artifacts.scores import CONTAMINATION, PII, SCORES
from pipelines.cli.store.show import show
from pipelines.errors import NotInStoreError
from pipelines.lineage.documents import TEXT_SHOWN, describe, find_document
from tests.kit.stages import idle_stage

DOCUMENTS = [
    Document(f"text {number} " * 100, f"https://a.example/{number}", "crawl.warc.gz", offset=100 * number, length=50)
    for number in range(7)
]
SHARDS = (DOCUMENTS[:3], DOCUMENTS[3:])
SHORT, LEAKED, COPY, KEPT = DOCUMENTS[1], DOCUMENTS[4], DOCUMENTS[5], DOCUMENTS[0]


def stage(name: str, params: dict[str, Any], **inputs: Stage) -> Stage:
    return idle_stage(name, "web", params, inputs)


def commit(store: Store, made: Stage, tables: dict[str, list[pa.Table]]) -> Artifact:
    scratch = store.scratch(made)
    for kind, shards in tables.items():
        (scratch / kind).mkdir()
        for number, table in enumerate(shards):
            pq.write_table(table, scratch / kind / f"{number:05d}.parquet")
    if not tables:
        for number, documents in enumerate(SHARDS):
            with DocumentWriter(scratch, number) as writer:
                for document in documents:
                    writer.write(document)
    return store.commit(made, scratch, metrics={}, quarantined=[], seconds=1.0, provenance={}, shards={})


def table(schema: pa.Schema, shard: int, **special: dict[str, Any]) -> pa.Table:
    """A row for each document of a shard: zeros and empty words, except the columns in `special` by doc_id."""
    rows = [
        {field.name: empty(field.type) for field in schema} | {"doc_id": each.doc_id} | special.get(each.doc_id, {})
        for each in SHARDS[shard]
    ]
    return pa.Table.from_pylist(rows, schema=schema)


def empty(kind: pa.DataType) -> object:
    if pa.types.is_list(kind):
        return []
    return "" if pa.types.is_string(kind) else False if pa.types.is_boolean(kind) else 0


def both(schema: pa.Schema, special: dict[str, dict[str, Any]]) -> list[pa.Table]:
    return [table(schema, shard, **special) for shard in (0, 1)]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("store")).open()
    source = stage("source", {})
    scored = stage("score", {}, source=source)
    limits = {"min_words": 50, "max_words": 1000, "languages": ["en"], "max_contamination": 0.75, "min_quality": 0.0}
    filtered = stage("filter", limits, source=source, score=scored)
    deduped = stage("dedup", {"against": []}, source=source, filter=filtered)
    commit(store, source, {})
    words = {each.doc_id: {"words": 200, "language": "en"} for each in DOCUMENTS}
    words[SHORT.doc_id] = {"words": 12, "language": "de"}
    words[LEAKED.doc_id]["contamination"] = 0.9
    hit = {
        "doc_id": LEAKED.doc_id,
        "benchmark": "gsm8k",
        "item": "7",
        "field": "question",
        "share": 0.9,
        "excerpt": "Ada",
    }
    spans = [{"start": 0, "end": 4, "kind": "email"}, {"start": 6, "end": 8, "kind": "email"}]
    findings = [{"doc_id": LEAKED.doc_id, **span} for span in spans]
    none, result = pa.Table.from_pylist([], schema=PII), pa.Table.from_pylist(findings, schema=PII)
    leaks = [pa.Table.from_pylist(rows, schema=CONTAMINATION) for rows in ([], [hit])]
    commit(store, scored, {"scores": both(SCORES, words), "pii": [none, result], "contamination": leaks})
    remaining = {each.doc_id: {"keep": True} for each in DOCUMENTS}
    remaining[SHORT.doc_id] = {"reason": "language"}
    remaining[LEAKED.doc_id] = {"reason": "contamination", "redactions": spans}
    commit(store, filtered, {"filtered": both(FILTERED, remaining)})
    evidence = {"reason": "near_duplicate", "kept_id": KEPT.doc_id, "jaccard": 0.91, "cluster_size": 2}
    alone = {each.doc_id: {"keep": True, "kept_id": None, "cluster_size": 1} for each in DOCUMENTS}
    commit(store, deduped, {"decisions": both(DECISIONS, alone | {COPY.doc_id: evidence})})
    return store


def told(store: Store, document: Document) -> dict[str, Any]:
    artifacts = list(store.artifacts())
    (location,) = find_document(artifacts, document.doc_id)
    return describe(location, document.doc_id, artifacts)


def test_every_document_is_found_where_it_stands(store: Store) -> None:
    for document in DOCUMENTS:
        fields = told(store, document)
        assert (fields["corpus"], fields["doc_id"], fields["url"]) == ("web", document.doc_id, document.url)
        assert fields["text"] == f"{document.text[:TEXT_SHOWN]}... ({len(document.text):,} characters)"
        assert fields["fetch"] == f"tail -c +{document.offset + 1} crawl.warc.gz | head -c 50"
        assert fields["score.words"] == (12 if document is SHORT else 200)
        assert fields["filter.keep"] == (document not in (SHORT, LEAKED))


def test_the_rule_that_dropped_it_stands_with_score_and_limit(store: Store) -> None:
    fields = told(store, SHORT)
    beyond = {name.removeprefix("filter.beyond."): value for name, value in fields.items() if "beyond" in name}
    assert fields["filter.reason"] == "language"
    assert beyond == {"min_words": "words 12, limit 50", "languages": "language de, kept are en"}
    assert not any("beyond" in name for name in told(store, KEPT))


def test_findings_are_counted_and_leaks_have_their_evidence(store: Store) -> None:
    fields = told(store, LEAKED)
    assert fields["score.pii"] == fields["filter.redactions"] == "2 email"
    assert fields["score.contamination.1"] == "gsm8k item 7, share 0.90: Ada"
    assert fields["filter.beyond.max_contamination"] == "contamination 0.9, limit 0.75"
    assert told(store, KEPT)["filter.redactions"] == "none" and "score.pii" not in told(store, KEPT)


def test_a_duplicate_names_the_document_that_stands_for_it(store: Store) -> None:
    fields = told(store, COPY)
    assert (fields["dedup.kept_id"], fields["dedup.kept_url"]) == (KEPT.doc_id, KEPT.url)
    assert (fields["dedup.reason"], fields["dedup.jaccard"]) == ("near_duplicate", 0.91)
    assert told(store, KEPT)["dedup.keep"] and "dedup.kept_id" not in told(store, KEPT)


def test_results_of_other_limits_stand_beside_each_other_under_their_keys(store: Store, tmp_path: Path) -> None:
    again = Store(tmp_path).open()
    source = stage("source", {})
    scored = stage("score", {}, source=source)
    commit(again, source, {})
    scores = [table(SCORES, shard) for shard in (0, 1)]
    nothing = [pa.Table.from_pylist([], schema=schema) for schema in (PII, PII)]
    leaks = [pa.Table.from_pylist([], schema=CONTAMINATION)] * 2
    commit(again, scored, {"scores": scores, "pii": nothing, "contamination": leaks})
    filters = [stage("filter", {"min_words": limit}, source=source, score=scored) for limit in (10, 20)]
    for filtered in filters:
        commit(again, filtered, {"filtered": both(FILTERED, {})})
    fields = told(again, KEPT)
    for filtered, limit in zip(filters, (10, 20), strict=True):
        assert fields[f"filter {filtered.key}.beyond.min_words"] == f"words 0, limit {limit}"


def test_the_command_prints_it_and_says_where_ids_stand(store: Store) -> None:
    terminal = Console(file=io.StringIO(), width=200)
    show("document", COPY.doc_id, None, store.root, terminal)
    printed = terminal.file.getvalue()
    assert KEPT.url in printed and "near_duplicate" in printed and "https://a.example/5" in printed
    with pytest.raises(NotInStoreError, match="no document 'nothing'. Ids are 32 hex digits"):
        show("document", "nothing", None, store.root, terminal)
