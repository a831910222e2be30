"""One reading of the text: a row for each document, findings and evidence in sidecars, the same bytes always."""

import json
import random
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from data_recipes import RecipeError
from data_recipes.sections.refining import ScoreSection
from infra.artifact import Artifact
from infra.runner import build
from infra.stage import Stage
from infra.store import Store
from pipelines import score
from pipelines.artifacts import documents as documents_
from pipelines.artifacts.documents import Document, write_documents
from pipelines.artifacts.scores import CONTAMINATION, PII, SCORES
from tests.kit.stages import committed, idle_stage

SOURCE = idle_stage("source", "notes")
GOOD = "The people of the town have to be with the river when it is high, and that is how it always was. "
QUESTION = "Which river rose in the night, and how many people of the town stood on the bridge to see it?"
TEXTS = [
    GOOD * 4,
    "",
    f"Write to jane@gmail.com, or to joe@web.de from 93.184.216.34. {GOOD}",
    f"{GOOD} {QUESTION} {GOOD}",
    "Ein Hund und noch ein Hund, böse Wörter: verdammt, Verdammt.",
]


@pytest.fixture
def recipe(tmp_path: Path) -> tuple[ScoreSection, Path]:
    folder = tmp_path / "recipe"
    folder.mkdir()
    (folder / "urls.txt").write_text("# mine\nbad.example\n")
    (folder / "words.txt").write_text("verdammt\n")
    (folder / "eval.jsonl").write_text(
        json.dumps({"question": "too short"}) + "\n" + json.dumps({"question": QUESTION})
    )
    rare, common = ["river town bridge"] * 10, ["casino bonus today"] * 10
    score.train_quality_model(rare, common, folder / "model.safetensors")
    section = ScoreSection(
        url_lists=["urls.txt"],
        word_lists=["words.txt"],
        quality_model="model.safetensors",
        decontaminate=[{"name": "own", "path": "eval.jsonl", "fields": ["question"]}],
    )
    return section, folder


@pytest.fixture
def source(tmp_path: Path) -> Artifact:
    urls = ["https://good.example/a", "https://good.example/b", "https://sub.bad.example/", "https://c.example/"]
    pages = [
        Document(text, url, "test", opt_out='{"x-robots-tag": "noai"}' if "Ein" in text else None)
        for text, url in zip(TEXTS, [*urls, "https://d.example/"], strict=True)
    ]
    write_documents(pages[:3], tmp_path / "source", 0)
    write_documents([], tmp_path / "source", 1)
    write_documents(pages[3:], tmp_path / "source", 2)
    return committed(tmp_path / "source")


def stage(section: ScoreSection, folder: Path) -> Stage:
    return score.stage("notes", section, score.fingerprint(section, folder), folder, SOURCE)


def rows(artifact: Artifact, kind: str) -> list[dict]:
    return [row for path in sorted(artifact.path.glob(f"{kind}/*")) for row in pq.read_table(path).to_pylist()]


def test_every_document_has_a_row_and_findings_their_sidecars(attempt, source, recipe):
    made = attempt(stage(*recipe), "made", source=source)
    ids = [row["doc_id"] for row in rows(source, "documents")]
    scores = rows(made.artifact, "scores")
    assert [row["doc_id"] for row in scores] == ids
    assert [row["text_bytes"] for row in scores] == [len(text.encode()) for text in TEXTS]
    assert [row["words"] for row in scores] == [len(text.split()) for text in TEXTS]
    assert [row["listed_url"] for row in scores] == [False, False, True, False, False]
    assert [row["listed_words"] for row in scores] == [0, 0, 0, 0, 2]
    assert [row["noai"] for row in scores] == [False] * 4 + [True]
    assert [row["contamination"] for row in scores] == [0, 0, 0, 1, 0]
    assert scores[0]["quality"] > 0.5
    findings = [(row["doc_id"], row["kind"], TEXTS[2][row["start"] : row["end"]]) for row in rows(made.artifact, "pii")]
    assert findings == [
        (ids[2], "email", "jane@gmail.com"),
        (ids[2], "email", "joe@web.de"),
        (ids[2], "ip", "93.184.216.34"),
    ]
    assert (scores[2]["pii_email"], scores[2]["pii_ip"], scores[2]["pii_phone"]) == (2, 1, 0)
    (hit,) = rows(made.artifact, "contamination")
    assert (hit["doc_id"], hit["benchmark"], hit["item"], hit["field"]) == (ids[3], "own", "1", "question")
    assert QUESTION.rstrip("?") in hit["excerpt"]
    assert made.metrics["data/pii_email"] == 2 and made.metrics["data/contamination_hits"] == 1
    assert (made.metrics["data/benchmark_texts"], made.metrics["data/benchmark_texts_too_short"]) == (1, 1)


def test_the_bytes_do_not_depend_on_how_often_or_in_what_portions_it_runs(attempt, recipe, tmp_path, monkeypatch):
    random_ = random.Random(5)
    texts = [" ".join(random_.choices(GOOD.split(), k=random_.randrange(90))) for _ in range(60)]
    pages = [Document(text, f"https://e.example/{n}", "test") for n, text in enumerate(texts)]
    tables = []
    for number, size in enumerate((documents_.ROW_GROUP_DOCUMENTS, 7, 1)):
        monkeypatch.setattr(documents_, "ROW_GROUP_DOCUMENTS", size)
        write_documents(pages, tmp_path / f"source-{number}", 0)
        source = committed(tmp_path / f"source-{number}")
        made = [attempt(stage(*recipe), f"made-{number}-{time}", source=source) for time in range(2)]
        for kind in ("scores", "pii", "contamination"):
            one, other = (attempt_.artifact.path / kind / "00000.parquet" for attempt_ in made)
            assert one.read_bytes() == other.read_bytes()
        tables.append(rows(made[0].artifact, "scores"))
    assert tables[0] == tables[1] == tables[2]


def test_a_changed_shard_of_documents_is_scored_and_no_other(source, recipe, tmp_path):
    store = Store(tmp_path / "store").open()
    build(stage(*recipe), store, [].append, None, source)
    write_documents([Document("another text", "https://b.example/", "test")], tmp_path / "source", 1)
    changed = replace(stage(*recipe), inputs={"source": replace(SOURCE, params={"changed": True})})
    manifest = build(changed, store, [].append, None, committed(tmp_path / "source")).manifest
    assert manifest.provenance["shards_reused"] == 2
    fresh = build(changed, Store(tmp_path / "fresh").open(), [].append, None, committed(tmp_path / "source")).manifest
    assert (manifest.digests(), manifest.metrics) == (fresh.digests(), fresh.metrics)


def test_empty_shards_keep_their_columns(attempt, source, recipe):
    made = attempt(stage(*recipe), "made", source=source).artifact.path
    for kind, schema in (("scores", SCORES), ("pii", PII), ("contamination", CONTAMINATION)):
        for number in range(3):
            assert pq.read_schema(made / kind / f"{number:05d}.parquet").equals(schema)


def test_the_key_knows_what_files_contain_and_not_where_they_lie(recipe, tmp_path):
    section, folder = recipe
    key = stage(section, folder).key
    moved = tmp_path / "moved"
    folder.rename(moved)
    (moved / "words.txt").rename(moved / "other.txt")
    renamed = section.model_copy(update={"word_lists": ["other.txt"]})
    assert stage(renamed, moved).key == key
    (moved / "other.txt").write_text("verdammt\nverflixt\n")
    assert stage(renamed, moved).key != key
    assert stage(section.model_copy(update={"word_lists": [], "phone_regions": ["DE"]}), moved).key != key


def test_a_file_that_changed_after_the_plan_stops_the_work(attempt, source, recipe):
    planned = stage(*recipe)
    (recipe[1] / "words.txt").write_text("others\n")
    with pytest.raises(RuntimeError, match="words.txt: changed since the run was planned"):
        attempt(planned, "made", source=source)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"url_lists": ["gone.txt"]}, r"score.url_lists.1 = 'gone.txt': no such file"),
        ({"word_lists": ["urls.txt", "empty.txt"]}, r"score.word_lists.2 = 'empty.txt': the list is empty"),
        ({"quality_model": "words.txt"}, r"score.quality_model = 'words.txt': .*no quality model"),
        (
            {"decontaminate": [{"name": "own", "path": "eval.jsonl", "fields": ["answer"]}]},
            r"score.decontaminate.1.path = 'eval.jsonl': .*item 0: no field 'answer'; it has question",
        ),
        (
            {"decontaminate": [{"name": "own", "path": "words.txt", "fields": ["answer"]}]},
            "not an evaluation file, whose names end in .jsonl",
        ),
    ],
)
def test_a_wrong_file_is_told_before_anything_starts(recipe, change, message):
    section, folder = recipe
    (folder / "empty.txt").write_text("# nothing\n")
    with pytest.raises(RecipeError, match=message):
        score.fingerprint(ScoreSection.model_validate({**section.as_params(), **change}), folder)
