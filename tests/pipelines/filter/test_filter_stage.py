"""A sidecar decision on every document, without reading its text; a changed limit builds nothing above the filter."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_recipes import CorpusRecipe, RecipeError
from data_recipes.sections.refining import FilterSection, ScoreSection
from infra.artifact import Artifact
from infra.runner import build
from infra.stage import Stage
from infra.store import Store
from pipelines import filter as filter_
from pipelines import score
from pipelines.artifacts.documents import DECISIONS, FILTERED, Document, iter_kept, write_documents, write_shard
from pipelines.artifacts.losses import loss_note
from pipelines.filter.stage import FilterError
from pipelines.graph import corpus_graph
from tests.kit.stages import committed, idle_stage

GOOD = "The people of the town have to be with the river when it is high, and that is how it always was"
SOURCE = idle_stage("source", "notes")
SECTION = FilterSection(max_top_2gram_fraction=1.0, max_top_3gram_fraction=1.0, max_top_4gram_fraction=1.0)


def prose(seed: int, words: int = 80) -> str:
    """Different sentences that break no rule."""
    return " ".join(f"{word}{'' if n % 3 else chr(97 + (n * seed) % 26)}" for n, word in enumerate(GOOD.split() * 4))[
        : 6 * words
    ]


SHARDS = [
    [prose(1), "few words", f"{prose(2)} jane@gmail.com, 93.184.216.34 {prose(3, 20)}"],
    [],
    [prose(5), prose(7)],
]


@pytest.fixture
def made(attempt, tmp_path):
    """Artifacts of source and score."""
    for number, texts in enumerate(SHARDS):
        pages = [Document(text, f"https://{number}-{n}.example.org/", "test") for n, text in enumerate(texts)]
        write_documents(pages, tmp_path / "source", number)
    source = committed(tmp_path / "source")
    return {"source": source, "score": attempt(scored(), "score", source=source).artifact}


def scored() -> Stage:
    return score.stage("notes", ScoreSection(), score.fingerprint(ScoreSection(), Path()), Path(), SOURCE)


def stage(section: FilterSection = SECTION, folder: Path = Path()) -> Stage:
    return filter_.stage(
        "notes", section, filter_.fingerprint(section, folder), folder, filter_.FilterInputs(SOURCE, scored())
    )


def rows(artifact: Artifact, kind: str) -> list[dict]:
    return [row for path in sorted(artifact.path.glob(f"{kind}/*")) for row in pq.read_table(path).to_pylist()]


def test_decisions_stand_beside_the_documents_and_the_funnel_adds_up(attempt, made):
    first, again = (attempt(stage(), name, **made) for name in ("first", "again"))
    documents, decided = rows(made["source"], "documents"), rows(first.artifact, "filtered")
    assert [row["doc_id"] for row in decided] == [row["doc_id"] for row in documents]
    assert [row["reason"] for row in decided] == ["", "min_words", "", "", ""]
    assert [row["keep"] for row in decided] == [not row["reason"] for row in decided]
    for number in range(len(SHARDS)):
        name = f"filtered/{number:05d}.parquet"
        assert pq.read_schema(first.artifact.path / name).equals(FILTERED)
        assert (first.artifact.path / name).read_bytes() == (again.artifact.path / name).read_bytes()
    texts = [text for shard in SHARDS for text in shard]
    assert first.metrics == {
        "data/documents_in": 5,
        "data/bytes_in": sum(map(len, texts)),
        "data/documents": 4,
        "data/bytes": sum(map(len, texts)) - len("few words"),
        "data/dropped_min_words": 1,
        "data/redacted_email": 1,
        "data/redacted_ip": 1,
    }


def test_the_text_is_not_read(attempt, made, tmp_path):
    """Without the column that holds it, the same bytes come out."""
    blind = tmp_path / "blind" / "documents"
    blind.mkdir(parents=True)
    for path in sorted((made["source"].path / "documents").glob("*")):
        pq.write_table(pq.read_table(path).drop_columns(["text"]), blind / path.name)
    seeing = attempt(stage(), "seeing", **made).artifact.path
    unseeing = attempt(stage(), "unseeing", **made | {"source": committed(blind.parent)}).artifact.path
    for path in sorted((seeing / "filtered").glob("*")):
        assert path.read_bytes() == (unseeing / "filtered" / path.name).read_bytes()


def test_a_changed_limit_builds_the_filter_anew_and_nothing_above_it():
    plain = {"inputs": [{"kind": "pydoc"}]}
    before, after = (
        corpus_graph(CorpusRecipe(name="notes", description="", source=plain, filter=limits), Path("notes.toml")).stages
        for limits in (FilterSection(), FilterSection(min_words=51))
    )
    same = [name for name in before if before[name].key == after[name].key]
    assert same == ["source[notes]", "score[notes]"]
    assert set(before) - set(same) == {"filter[notes]", "dedup[notes]"}


def test_what_was_found_is_blacked_out_when_the_text_is_read(attempt, made):
    documents = sorted((made["source"].path / "documents").glob("*"))[0]
    for redact, said in ((["email", "ip"], "<EMAIL>, <IP>"), (["ip"], "jane@gmail.com, <IP>"), ([], None)):
        section = SECTION.model_copy(update={"redact": redact})
        filtered = attempt(stage(section), f"redact-{len(redact)}", **made).artifact.path / "filtered" / documents.name
        decisions = pq.read_table(filtered).to_pylist()
        rows_ = [{**row, "cluster_size": 1} for row in decisions]
        write_shard(pa.Table.from_pylist(rows_, schema=DECISIONS), filtered.parent.parent / "decisions", 0)
        remaining = [
            text
            for batch in iter_kept(documents, filtered, filtered.parent.parent / "decisions" / "00000.parquet", "train")
            for text in batch["text"].to_pylist()
        ]
        expected = SHARDS[0][2].replace("jane@gmail.com, 93.184.216.34", said) if said else SHARDS[0][2]
        assert remaining == [SHARDS[0][0], expected]


def test_sidecars_of_other_documents_are_refused(attempt, made):
    filtered = attempt(stage(), "filter", **made).artifact.path / "filtered"
    documents = sorted((made["source"].path / "documents").glob("*"))[0]
    with pytest.raises(ValueError, match="rows are not those of"):
        list(iter_kept(documents, filtered / "00002.parquet", filtered / "00000.parquet", "train"))


def test_a_takedown_list_is_pinned_by_what_it_says(attempt, made, tmp_path):
    (tmp_path / "gone.txt").write_text("2-1.example.org\n")
    section = SECTION.model_copy(update={"takedown": ["gone.txt"]})
    planned = stage(section, tmp_path)
    assert planned.key != stage().key
    result = [row["reason"] for row in rows(attempt(planned, "taken", **made).artifact, "filtered")]
    assert result == ["", "min_words", "", "", "takedown"]
    (tmp_path / "gone.txt").rename(tmp_path / "other.txt")
    assert stage(section.model_copy(update={"takedown": ["other.txt"]}), tmp_path).key == planned.key
    (tmp_path / "gone.txt").write_text("1-0.example.org\n")
    with pytest.raises(RuntimeError, match="gone.txt: changed since the run was planned"):
        attempt(planned, "late", **made)


def test_an_entry_that_names_no_document_is_reported_once_and_listed(attempt, made, tmp_path):
    url = next(row["url"] for row in rows(made["source"], "documents") if "2-1.example.org" in row["url"])
    entries = [
        "2-1.example.org",
        url.replace("://", "://USER@").upper(),
        "nowhere.example",
        "https://other.example/?sig=abc",
    ]
    (tmp_path / "gone.txt").write_bytes(
        "\ufeff# note\u2028nothing.example\r\n".encode() + "\r\n".join(entries).encode()
    )
    planned, events = stage(SECTION.model_copy(update={"takedown": ["gone.txt"]}), tmp_path), []
    store = Store(tmp_path / "idle")
    store.open()
    artifact = build(planned, store, events.append, None, *(made[name] for name in planned.inputs))
    assert [row["reason"] for row in rows(artifact, "filtered")][-1] == "takedown"
    listed = (artifact.path / "takedown_without_document.txt").read_text().splitlines()
    assert {"nowhere.example", "https://other.example/?sig=abc"} <= set(listed) and "2-1.example.org" not in listed
    (warning,) = [event["message"] for event in events if event["event"] == "warning"]
    assert warning.startswith("corpus notes: takedown: ") and "nowhere.example" in warning and "abc" not in warning


def test_a_wrong_takedown_list_is_told_before_anything_starts(tmp_path):
    (tmp_path / "wrong.txt").write_text("example.org\nno domain at all\n")
    for name, message in (("gone.txt", "no such file"), ("wrong.txt", "wrong.txt:2: 'no domain at all' is no doc id")):
        with pytest.raises(RecipeError, match=rf"filter.takedown.1 = '{name}': .*{message}"):
            filter_.fingerprint(FilterSection(takedown=[name]), tmp_path)


@pytest.mark.parametrize(("kept", "total", "warns"), [(5, 10, False), (4, 10, True), (1, 1000, True), (1, 1, False)])
def test_a_loss_of_more_than_half_is_told_with_its_top_reason(kept, total, warns):
    lost = {"min_words": (total - kept) // 3, "stop_words": total - kept - (total - kept) // 3}
    note = loss_note("notes", total, lost)
    assert bool(note) == warns
    if warns:
        assert note.startswith(f"corpus notes: the filter dropped {total - kept:,} of {total:,} documents (")
        assert f"{lost['stop_words']:,} of them by the rule stop_words." in note


@pytest.mark.parametrize(("min_words", "warns"), [(50, False), (95, True)])
def test_a_heavy_loss_is_a_warning_of_the_stage(made, tmp_path, min_words, warns):
    """The console prints warnings, MLflow has them as tags."""
    events: list[dict] = []
    store = Store(tmp_path / "run")
    store.open()
    section = SECTION.model_copy(update={"min_words": min_words})
    metrics = build(stage(section), store, events.append, None, *made.values()).manifest.metrics
    reported = [event["message"] for event in events if event["event"] == "warning"]
    assert len(reported) == warns
    assert all(f"{metrics['data/dropped_min_words']} of them by the rule min_words" in message for message in reported)


def test_a_corpus_that_is_dropped_whole_fails_with_the_reasons(attempt, made):
    section = SECTION.model_copy(update={"min_words": 5000})
    with pytest.raises(FilterError, match=r"corpus notes: the rules dropped all 5 documents \(min_words 5\). Loosen"):
        attempt(stage(section), "empty", **made)
