"""Clusters as people see them: `arctic show cluster`, and the page's section of alarms and largest clusters."""

import pyarrow as pa
import pytest

from data_recipes.schema import DedupSection
from infra.events import EventLog
from infra.plan import plan
from infra.runner import run_inline
from infra.stage import Stage
from infra.store import Store
from pipelines import dedup
from pipelines.artifacts.conversations import ASSISTANT, USER, Conversation, Turn
from pipelines.artifacts.documents import FILTERED, Document, write_documents, write_shard
from pipelines.errors import NotInStoreError
from pipelines.lineage.duplicates import describe_cluster, word_changes
from pipelines.report.sections.duplicates import duplicates_section
from pipelines.report.summary.duplicates import read_duplicates


@pytest.fixture
def corpora(texts) -> dict[str, list[Document]]:
    """An earlier corpus, and one with 120 copies of one text, near copies, and a copy of the earlier corpus."""
    old = [Document(texts.some("old", 60), "old/0", "snapshot"), Document(texts.some("other", 60), "old/1", "snapshot")]
    page = texts.some("page", 60)
    new = [Document(page, f"page/{n}", "shop <&>") for n in range(120)]
    new.append(Document(" ".join([*page.split()[:30], "x", *page.split()[31:]]), "page/near", "shop <&>"))
    new.append(Document(old[0].text + " and more", "page/old", "wiki"))
    new.append(Document(texts.some("alone", 60), "page/alone", "wiki"))
    return {"snapshot": old, "notes": new}


@pytest.fixture
def store(tmp_path, corpora) -> Store:
    return commit(tmp_path, corpora)


def commit(folder, corpora: dict[str, list[Document]], **rules) -> Store:
    """The corpora as committed stages, each deduplicated against those before it."""
    stages: dict[str, tuple[Stage, Stage]] = {}
    for name, documents in corpora.items():

        def write(context, inputs, documents=documents):
            write_documents(documents, context.out, 0)
            return {}

        def pass_all(context, inputs, documents=documents):
            spans = [[{"start": 0, "end": 3, "kind": "email"}] if each.url == "page/old" else [] for each in documents]
            rows = [(each.doc_id, True, "", 0.0, span) for each, span in zip(documents, spans, strict=True)]
            columns = dict(zip(FILTERED.names, zip(*rows, strict=True), strict=True))
            write_shard(pa.table(columns, schema=FILTERED), context.out / "filtered", 0)
            return {}

        source = Stage("source", name, 1, {}, {}, write)
        filtered = Stage("filter", name, 1, {}, {"source": source}, pass_all)
        section = DedupSection(against=list(stages), **rules)
        against = {earlier: dedup.Deduplicated(*pair) for earlier, pair in stages.items()}
        stages[name] = source, dedup.stage(name, section, {}, folder, dedup.DedupInputs(source, filtered, against))
    store = Store(folder / "store").open()
    log = EventLog(store.root / "runs" / "test")
    outcome = run_inline(
        plan(store, [each for pair in stages.values() for each in _with_inputs(pair)]), store, log, print
    )
    log.close()
    assert outcome.ok, outcome.failed
    return store


def _with_inputs(pair: tuple[Stage, Stage]) -> list[Stage]:
    source, deduped = pair
    return [source, deduped.inputs["filter"], deduped]


def kept_of(store: Store, corpora) -> str:
    """The document that the shop's cluster is named by."""
    shown = describe_cluster(corpora["notes"][0].doc_id, store)
    return shown.split()[1]


def test_a_cluster_is_shown_by_its_own_id_and_by_that_of_any_member(store, corpora):
    remaining = kept_of(store, corpora)
    shown = describe_cluster(remaining, store)
    assert shown.startswith(f"cluster {remaining} of dedup[notes] ") and "121 documents, one kept" in shown
    assert describe_cluster(corpora["notes"][5].doc_id, store) == shown
    assert "and 100 more" in shown and "exact duplicate: Jaccard 1.000, containment 1.000, 16 bands shared" in shown


def test_a_copy_of_a_document_that_gave_way_itself_is_shown_too(tmp_path, texts):
    answer = texts.some(1, 200)
    turns = [("Name a river.", answer), ("Name a river.", f"{answer} again"), ("Name a river.", texts.some(2, 400))]
    whole = [Conversation((Turn(USER, question), Turn(ASSISTANT, reply))) for question, reply in turns]
    chats = [Document(each.text, f"chat/{n}", "t", attributes=each.attributes) for n, each in enumerate(whole)]
    store = commit(tmp_path, {"chats": chats}, first_prompts=True)
    shown = describe_cluster(chats[0].doc_id, store)
    assert "first prompt: Jaccard 1.000" in shown
    assert "near duplicate: of a document that was itself removed for this one" in shown
    artifacts = {each.manifest.name: {"chats": each} for each in store.artifacts()}
    page = duplicates_section(read_duplicates(*(artifacts[kind] for kind in ("source", "filter", "dedup"))))
    assert "removed, of a document that was itself removed" in page


def test_what_differs_is_shown_word_by_word(store, corpora, monkeypatch):
    monkeypatch.setattr("pipelines.lineage.duplicates.MEMBERS_SHOWN", 1000)
    shown = describe_cluster(corpora["notes"][120].doc_id, store)
    word = corpora["notes"][0].text.split()[30]
    assert f"[-{word}-] {{+x+}}" in shown and shown.count("the same words") == 119


def test_a_cluster_may_be_kept_in_an_earlier_corpus(store, corpora):
    gone, remaining = corpora["notes"][121], corpora["snapshot"][0]
    shown = describe_cluster(gone.doc_id, store)
    assert f"kept {remaining.doc_id}  old/0" in shown and f"gone {gone.doc_id}  page/old" in shown
    assert "{+and more+}" in shown


def test_an_unknown_cluster_is_an_error_that_says_where_names_are(store):
    with pytest.raises(NotInStoreError, match=r"no cluster 'f00'.*kept_id of clusters.parquet"):
        describe_cluster("f00", store)


def test_changes_are_marked_in_their_surroundings():
    remaining, other = "a b c d e f g h i j", "a b c d x f g h i j k l"
    assert word_changes(remaining, other) == ["a b c d [-e-] {+x+} f g h i", "g h i j {+k l+}"]
    assert word_changes(remaining, remaining) == ["the same words"]
    numbers = [str(n) for n in range(100)]
    changed = ["x" if n % 10 == 5 else word for n, word in enumerate(numbers)]
    assert word_changes(" ".join(numbers), " ".join(changed))[-1] == "and 6 more changes"


def test_the_page_lists_the_largest_clusters_with_samples_and_the_alarms(store, corpora):
    artifacts = {(each.manifest.name, each.manifest.subject): each for each in store.artifacts()}
    result = read_duplicates(
        *({name: artifacts[kind, name] for name in corpora} for kind in ("source", "filter", "dedup"))
    )
    assert [(each.corpus, each.size) for each in result.clusters] == [("notes", 121), ("notes", 2)]
    assert [len(each.samples) for each in result.clusters] == [2, 1]
    assert result.clusters[1].samples[0].beginning == f"<EMAIL>{corpora['notes'][121].text[3:]}"[:160]
    # 121 pages of the shop and two that stand alone in both corpora; the copy of the earlier corpus is not kept.
    counts = {"snapshot": [(2, 2)], "notes": [(1, 1), (0, 0), (0, 0), (0, 0), (1, 121)]}
    assert result.sizes == {name: [*existing, *[(0, 0)] * (6 - len(existing))] for name, existing in counts.items()}
    page = duplicates_section(result)
    assert ">100 to 999</td>" in page and ">1,000 and more</td>" not in page
    assert 'id="duplicates"' in page and kept_of(store, corpora) in page
    assert "origin shop &lt;&amp;&gt;: 120 of 121 documents are duplicates" in page
    assert "<code>" in page and "shop <&>" not in page
