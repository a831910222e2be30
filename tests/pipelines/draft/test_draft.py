"""Recipes drafted from files of every kind: they plan without an edit, and read all files that they count."""

import gzip
import json
import random
import tomllib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import pipelines
from arctic_errors import UserError
from infra.events import EventLog
from infra.runner import run_inline
from infra.store import Store
from pipelines.draft import draft
from pipelines.draft.run import shares
from tests.kit.web.warc import http, record

STORY = """the river and that harbour of a market to be with gardens have boats at night while people come home and sing
old songs in quiet streets where lamps burn until morning when ships return from distant ports with salt and oil"""


def prose(seed, num_words=300):
    drawn = random.Random(seed)
    sentences = (drawn.choices(STORY.split(), k=12) for _ in range(num_words // 12))
    return " ".join(" ".join(words).capitalize() + "." for words in sentences)


def write(folder, files):
    for name, body in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(body if isinstance(body, bytes) else body.encode())


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def parquet(folder, name, rows):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / name)


def a_crawl(folder):
    page = "<html><body><article><p>{}</p></article></body></html>"
    records = (record(http(page.format(prose(n)).encode()), f"http://a{n}.example/") for n in range(120))
    stored = [gzip.compress(each, mtime=0) for each in records]
    write(folder, {"part-0.warc.gz": b"".join(stored[:60]), "part-1.warc.gz": b"".join(stored[60:])})


def rows_with_a_usual_name(folder):
    rows = [{"id": n, "content": prose(n), "url": f"http://a.example/{n}", "label": "x"} for n in range(120)]
    write(folder, {"notes.jsonl": lines(rows)})


def packed_rows_with_nested_fields(folder):
    rows = [{"story_text": prose(n), "meta": {"url": f"http://b.example/{n}", "license": "MIT"}} for n in range(120)]
    write(folder, {"a/stories.json.gz": gzip.compress(lines(rows).encode())})


def a_table(folder):
    parquet(folder, "part.parquet", [{"Text": prose(n), "date": "2024-01-01"} for n in range(120)])


def repositories(folder):
    code = "def double_{n}(value):\n    '''Double a value.'''\n    return 2 * value + {n}\n\n\n"
    for repository in range(25):
        body = "".join(code.format(n=f"{repository}_{n}") for n in range(80))
        write(folder, {f"co/r{repository}/.git/HEAD": b"ref", f"co/r{repository}/double.py": body})


def code_without_version_control(folder):
    code = "def double_{n}(value):\n    '''Double a value.'''\n    return 2 * value + {n}\n\n\n"
    bodies = ["".join(code.format(n=f"{file}_{n}") for n in range(40)) for file in range(60)]
    write(folder, {"tools/setup.py": bodies[0], **{f"tools/src/m{n}.py": body for n, body in enumerate(bodies)}})


def notes_and_saved_pages(folder):
    write(folder, {f"deep/{n}.md": f"# Note {n}\n\n{prose(n)}\n" for n in range(60)})
    page = "<html><body><article><p>{}</p></article></body></html>"
    write(folder, {f"saved/{n}.html": page.format(prose(1000 + n)) for n in range(60)})


def a_few_books(folder):
    write(folder, {f"{name}.txt": prose(name, 30_000) for name in ("one", "two", "three", "four")})


def texts_and_conversations(folder):
    a_table(folder)
    messages = [
        [{"role": "user", "content": prose(n, 24)}, {"role": "assistant", "content": prose(-n, 60)}] for n in range(90)
    ]
    write(folder, {"chats/openai.jsonl": lines({"messages": each} for each in messages)})
    rows = [{"instruction": prose(n, 24), "input": "", "output": prose(-n, 60)} for n in range(100, 190)]
    parquet(folder, "chats/alpaca.parquet", rows)


def many_kinds(folder):
    for make in (a_crawl, rows_with_a_usual_name, a_table, repositories):
        make(folder)
    write(folder, {"README.txt": "Mine.\n", "photo.jpg": b"\xff\xd8", ".hidden/x.jsonl": "{}"})


FOLDERS = {
    a_crawl: {"warc": 2},
    rows_with_a_usual_name: {"jsonl": 1},
    packed_rows_with_nested_fields: {"jsonl": 1},
    a_table: {"parquet": 1},
    repositories: {"repositories": 25},
    code_without_version_control: {"repositories": 1},
    notes_and_saved_pages: {"text_files": 120},
    a_few_books: {"text_files": 4},
    texts_and_conversations: {"parquet": 1, "chat": 2},
    many_kinds: {"warc": 2, "jsonl": 1, "parquet": 1, "repositories": 25},
}


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


def pages(drafted):
    return {file.removesuffix(".toml"): tomllib.loads(text) for file, text in drafted.texts.items()}


@pytest.mark.parametrize("make", FOLDERS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("num_gpus", [0, 1])
def test_what_is_drafted_plans_without_an_edit(data, make, num_gpus):
    make(data)
    drafted = draft([data], data.parent / "recipes", num_gpus=num_gpus)
    drafted.write()
    assert {each.group.kind: len(each.group.files) for each in drafted.corpora} == FOLDERS[make]
    plan = pipelines.plan(drafted.run_file, data.parent / "store")
    assert [planned.stage.id for planned in plan.stages][-1] == "report"


def test_the_recipe_reads_the_files_that_were_counted(data, tmp_path):
    for make in (a_crawl, a_table, notes_and_saved_pages, repositories):
        make(data)
    drafted = draft([data], tmp_path / "recipes")
    drafted.write()
    assert {each.group.kind for each in drafted.corpora} == {"warc", "parquet", "text_files", "repositories"}
    metrics = built(drafted.run_file, tmp_path / "store", until="filter*")
    for corpus in drafted.corpora:
        documents = metrics[f"source[{corpus.name}]"]["data/documents"]
        assert documents == pytest.approx(corpus.sample.num_documents, rel=0.4)
        assert metrics[f"source[{corpus.name}]"]["data/heldout_documents"] > 0
        assert metrics[f"filter[{corpus.name}]"]["data/documents"] >= 0.9 * documents


def built(recipe, store, until):
    """Metrics of stages that were built in this process, by id."""
    opened = Store(store).open()
    planned = pipelines.plan(recipe, store, until=until).stages
    outcome = run_inline(planned, opened, EventLog(store / "runs" / "one"), [].append)
    assert outcome.failed == {}
    return {name: artifact.manifest.metrics for name, artifact in outcome.artifacts.items()}


@pytest.mark.parametrize(
    ("make", "fields"),
    [
        (rows_with_a_usual_name, {"text_field": "content", "url_field": "url", "id_field": "id"}),
        (
            packed_rows_with_nested_fields,
            {"text_field": "story_text", "url_field": "meta.url", "licence_field": "meta.license"},
        ),
        (a_table, {"text_field": "Text", "date_field": "date"}),
    ],
)
def test_fields_of_rows_are_recognized(data, make, fields):
    make(data)
    drafted = draft([data], data.parent / "recipes")
    (item,) = pages(drafted)["data"]["source"]["inputs"]
    assert {name: value for name, value in item.items() if name.endswith("_field")} == fields


def test_limits_that_do_not_suit_the_files_are_loosened_and_say_why(data):
    write(data, {"short.jsonl": lines({"text": f"Order {n} left the harbour at {n % 24}."} for n in range(20_000))})
    drafted = draft([data], data.parent / "recipes")
    limits = pages(drafted)["data"]["filter"]
    assert limits["min_words"] <= 7
    assert "# 50 would drop 100% of the sample" in drafted.texts["data.toml"]


def test_files_that_suit_keep_the_default_limits(data):
    rows_with_a_usual_name(data)
    assert "filter" not in pages(draft([data], data.parent / "recipes"))["data"]


def test_what_is_not_read_is_named(data):
    many_kinds(data)
    write(data, {"book.pdf": b"%PDF", "one.json": '{\n "a": 1\n}\n'})
    drafted = draft([data], data.parent / "recipes")
    assert drafted.unread == {".pdf": 1, ".jpg": 1, ".json": 1}
    assert drafted.left_out["data_text_files"] == "only 1 documents with 6 bytes of text"


def test_conversations_become_a_fine_tune_of_what_was_trained_on_texts(data):
    texts_and_conversations(data)
    run = draft([data], data.parent / "recipes").run
    assert [phase.corpora for phase in run.phases] == [["data_parquet"]]
    (finetune,) = run.finetune
    assert (finetune.base, finetune.corpora) == (run.phases[-1].name, ["data_chat"])


def test_of_a_single_file_only_that_file_is_read(data):
    a_table(data)
    rows_with_a_usual_name(data)
    drafted = draft([data / "part.parquet"], data.parent / "recipes")
    assert [each.group.files for each in drafted.corpora] == [(data / "part.parquet",)]
    assert pages(drafted)["data"]["source"]["inputs"][0]["paths"] == ["../data/part.parquet"]


def test_a_phase_after_the_first_gives_small_corpora_more_within_their_tokens(data):
    a_crawl(data)
    parquet(data, "part.parquet", [{"text": prose(5000 + n)} for n in range(60)])
    drafted = draft([data], data.parent / "recipes")
    first, second = drafted.run.phases
    assert second.weights["data_parquet"] > first.weights["data_parquet"]


@pytest.mark.parametrize("seed", range(200))
def test_shares_sum_to_one_and_keep_to_their_limits(seed):
    drawn = random.Random(seed)
    names = [f"c{n}" for n in range(drawn.randint(1, 12))]
    sizes = {name: 10 ** drawn.uniform(0, 6) for name in names}
    total = sum(sizes.values())
    most = {name: 2.0 * size / total for name, size in sizes.items()}
    for expected in (dict.fromkeys(names, 1.0), sizes):
        result = shares(expected, most)
        assert sum(result.values()) == pytest.approx(1.0, abs=1e-9)
        assert all(share <= most[name] + 0.001 * len(names) for name, share in result.items())


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a.pdf": b"%PDF"}, "no WARC, JSON Lines, Parquet, text or HTML files, or code"),
        ({"a.txt": "Too short."}, "too little for the smallest model"),
        ({"a.jsonl": lines([{"number": n} for n in range(50)])}, "no text. data: no field holds text"),
        ({"a.txt": " \n"}, "no document holds text"),
    ],
)
def test_a_folder_without_enough_text_is_refused(data, files, message):
    write(data, files)
    with pytest.raises(UserError, match=message.replace(".", r"\.")):
        draft([data], data.parent / "recipes")


def test_a_missing_place_is_refused_and_nothing_is_overwritten(data):
    with pytest.raises(UserError, match="gone: no such file or folder"):
        draft([data / "gone"], data.parent / "recipes")
    a_table(data)
    drafted = draft([data], data.parent / "recipes")
    drafted.write()
    with pytest.raises(UserError, match=r"data_model\.toml: exists\. Remove it, or name another folder with --out"):
        drafted.write()
