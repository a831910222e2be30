"""A source, a scorer and a filter rule of the user's own: named in a recipe, built inline, known by their code."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from data_recipes import RecipeError, load_corpus, parse_recipe
from infra.host.provenance import code_digest
from infra.runner import build
from infra.store import Store
from pipelines.fit import require_fit
from pipelines.graph import Graph, corpus_graph
from pipelines.source.from_recipe import plan
from pipelines.source.shards import Shard

LINES = [
    "see https://a.example and https://b.example",
    "no link stands in this text",
    "one link is here now: https://c.example ftp://d.example",
]
CODE = """
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from arctic_errors import UserError
from data_recipes.section import Location, Section
from infra.store import file_digest
from pipelines.artifacts.documents import Document
from pipelines.source.protocol import InputSplit


class Links(Section):
    columns: ClassVar = {"num_links": int, "links_per_word": float}
    scheme: str = "https"

    def score(self, document):
        count = document.text.count(f"{self.scheme}://")
        return {"num_links": count, "links_per_word": count / len(document.text.split())}


class EnoughLinks(Section):
    columns: ClassVar = ("num_links", "url")
    min_links: int = 1

    def filter(self, scores):
        if scores["url"].endswith("#1"):
            return scores["num_links"] > 0, "first_line"
        return scores["num_links"] >= self.min_links


class Silent(Section):
    columns: ClassVar = ("num_links",)

    def filter(self, scores):
        return None


class Wordy(Section):
    columns: ClassVar = {"words": int}

    def score(self, document):
        return {"words": 1}


class Notes(Section):
    path: Annotated[str, Location()]
    title: bool = False

    def fingerprint(self, folder):
        files = sorted((folder.path / self.path).glob("*.md"))
        if not files:
            raise UserError(f"path = {self.path!r}: no Markdown file. Name another folder.")
        return {file.name: file_digest(file) for file in files}

    def splits(self, fingerprint, folder):
        for name, digest in fingerprint.items():
            yield InputSplit(NoteFile(folder.path / self.path / name, self.title), [name, digest])


@dataclass(frozen=True)
class NoteFile:
    path: Path
    title: bool

    def read(self, sink):
        text = self.path.read_text()
        if not text:
            sink.skip("no_text")
        else:
            split = sink.draw_split(self.path.name)
            sink.write(Document(self.path.stem + text if self.title else text, self.path.name, "notes", split))


class Unplain(Notes):
    def fingerprint(self, folder):
        return {"folder": folder}


class Halves(Section):
    columns: ClassVar = {"half": int}

    def score(self, document):
        return {"half": 0.5}
"""
RECIPE = """
name = "notes"
description = ""
[source]
inputs = [{inputs}]
heldout_fraction = 0.0
[score]
scorers = [{scorers}]
[filter]
min_words = 1
min_stop_words = 0
rules = [{rules}]
"""
TABLE = '{ kind = "jsonl", paths = ["notes.jsonl"] }'
SCORER = '{ kind = "own_notes:Links" }'


@pytest.fixture
def notes(tmp_path, monkeypatch):
    """`notes(scorers, rules, code)`: the graph of a recipe with classes of `code`, as in a new process."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "notes.jsonl").write_text("".join(f'{{"text": "{line}"}}\n' for line in LINES))

    def notes(scorers: str = "", rules: str = "", code: str = CODE, inputs: str = TABLE) -> Graph:
        forget()
        (tmp_path / "own_notes.py").write_text(code)
        path = tmp_path / "notes.toml"
        path.write_text(RECIPE.format(inputs=inputs, scorers=scorers, rules=rules))
        return corpus_graph(load_corpus(path), path)

    yield notes
    forget()


def forget() -> None:
    sys.modules.pop("own_notes", None)
    code_digest.cache_clear()


def run(graph: Graph, folder: Path) -> dict[str, Path]:
    """Every stage but dedup, in this process; folders of the results by the stage's name."""
    store, made = Store(folder).open(), {}
    for stage in list(graph.stages.values())[:3]:
        made[stage.id] = build(stage, store, [].append, None, *(made[needed.id] for needed in stage.inputs.values()))
    return {artifact.manifest.name: artifact.path for artifact in made.values()}


def test_scores_of_ones_own_reach_rules_of_ones_own(notes, tmp_path):
    folders = run(notes(SCORER, '{ kind = "own_notes:EnoughLinks", min_links = 2 }'), tmp_path / "store")
    scores = pq.read_table(folders["score"] / "scores" / "00000.parquet")
    assert scores["num_links"].to_pylist() == [2, 0, 1]
    assert scores["links_per_word"].to_pylist() == [2 / 4, 0.0, 1 / 7]
    decisions = pq.read_table(folders["filter"] / "filtered" / "00000.parquet")
    assert decisions["reason"].to_pylist() == ["", "enough_links", "enough_links"]


def test_a_rule_names_its_reason(notes, tmp_path):
    rule = '{ kind = "own_notes:EnoughLinks" }'
    folders = run(notes('{ kind = "own_notes:Links", scheme = "ftp" }', rule), tmp_path / "store")
    decisions = pq.read_table(folders["filter"] / "filtered" / "00000.parquet")
    assert decisions["reason"].to_pylist() == ["first_line", "enough_links", ""]


@pytest.fixture
def folder(tmp_path):
    """A folder of notes, one of them empty."""
    for name, text in (("b", "the second"), ("a", "the first"), ("c", "")):
        (tmp_path / "notes").mkdir(exist_ok=True)
        (tmp_path / "notes" / f"{name}.md").write_text(text)
    return tmp_path / "notes"


def source(field: str = "", kind: str = "Notes", folder: str = "notes") -> str:
    return f'{{ kind = "own_notes:{kind}", path = "{folder}"{field} }}'


def test_an_input_of_ones_own_becomes_documents(notes, folder, tmp_path):
    made = run(notes(inputs=source(", title = true")), tmp_path / "store")["source"]
    texts = [text for path in sorted(made.rglob("documents/*")) for text in pq.read_table(path)["text"].to_pylist()]
    assert texts == ["athe first", "bthe second"]
    assert json.loads((made / "manifest.json").read_text())["metrics"]["data/skipped_no_text"] == 1


def test_its_key_follows_what_it_holds_and_not_where_it_lies(notes, folder):
    before = keys(notes(inputs=source()))["source"]
    folder.rename(folder.with_name("moved"))
    assert keys(notes(inputs=source(folder="moved")))["source"] == before
    folder.with_name("moved").rename(folder)
    assert keys(notes(inputs=source(), code=CODE + "\n"))["source"] != before
    assert keys(notes(inputs=source(", title = true")))["source"] != before
    (folder / "a.md").write_text("other")
    assert keys(notes(inputs=source()))["source"] != before


def test_a_changed_file_costs_its_own_shard(notes, folder, tmp_path):
    run(notes(inputs=source()), tmp_path / "store")
    (folder / "a.md").write_text("another first")
    made = run(notes(inputs=source()), tmp_path / "store")["source"]
    assert json.loads((made / "manifest.json").read_text())["provenance"]["shards_reused"] == 2


def test_a_reader_of_ones_own_travels_to_a_process_that_does_not_know_its_module(notes, folder, tmp_path):
    graph = notes(inputs=source())
    recipe = load_corpus(tmp_path / "notes.toml")
    (first, *_) = plan(recipe.source, graph.lock.fingerprints["notes"], tmp_path)
    (tmp_path / "shard.pickle").write_bytes(pickle.dumps(Shard(0, first.reader, "all_text", 0.0)))
    program = (
        "import pickle, sys, pathlib; from pipelines.source.shards import read_shard; here = pathlib.Path(sys.argv[1]);"
        "print(read_shard(pickle.loads((here / 'shard.pickle').read_bytes()), here / 'out').metrics['documents'])"
    )
    elsewhere = {"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, cwd="/", env=elsewhere
    )
    assert (done.stdout, done.returncode) == ("1\n", 0), done.stderr


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (source(), r"notes.toml: source.inputs.1.path = 'notes': no Markdown file. Name another folder."),
        (source(", titel = true"), r"notes.toml: source.inputs.1.titel = True: unknown field. Did you mean title"),
        ('{ kind = "own_notes:Links" }', r"own_notes:Links: it has no method fingerprint\(self, folder\)"),
        (source(kind="Unplain"), r"own_notes:Unplain: its fingerprint is no plain data: value.folder is"),
        ('{ kind = "warx" }', r"source.inputs.1.kind = 'warx': must be one of 'warc', .* or a class, such as"),
    ],
)
def test_a_mistake_in_an_input_is_named_when_the_graph_is_built(notes, inputs, message):
    with pytest.raises(RecipeError, match=message):
        notes(inputs=inputs)


def keys(graph: Graph) -> dict[str, str]:
    return {stage.name: stage.key for stage in graph.stages.values()}


def test_changed_code_or_fields_build_the_stages_that_use_them(notes):
    rule = '{ kind = "own_notes:EnoughLinks", min_links = 2 }'
    before = keys(notes(SCORER, rule))
    assert keys(notes(SCORER, rule)) == before
    other_field = keys(notes(SCORER, rule.replace("2", "3")))
    assert [name for name in before if before[name] != other_field[name]] == ["filter", "dedup"]
    other_code = keys(notes(SCORER, rule, CODE + "\n# another digest\n"))
    assert [name for name in before if before[name] != other_code[name]] == ["score", "filter", "dedup"]
    named_default = keys(notes('{ kind = "own_notes:Links", scheme = "https" }', rule))
    assert named_default == before


@pytest.mark.parametrize(
    ("scorers", "rules", "message"),
    [
        ('{ kind = "own_gone:Links" }', "", r"score.scorers.1.kind = own_gone:Links: no module 'own_gone' in"),
        ('{ kind = "own_notes:Lings" }', "", r"score.scorers.1.kind = own_notes:Lings: .*Did you mean Links\?"),
        ('{ kind = "own_notes:EnoughLinks" }', "", r"it has no method score\(self, document\), which DocumentScorer"),
        ('{ kind = "own_notes:Links", scheme = 3 }', "", r"notes.toml: score.scorers.1.scheme = 3: input should be"),
        ('{ kind = "own_notes:Links", skeme = "a" }', "", r"scorers.1.skeme = 'a': unknown field. Did you mean sch"),
        ('{ kind = "own_notes:Wordy" }', "", "score.scorers: columns of Wordy: 'words' is another score's name"),
        (f"{SCORER}, {SCORER}", "", "score.scorers: columns of Links: 'num_links' is another score's name"),
        ("", '{ kind = "own_notes:EnoughLinks" }', "filter.rules: columns of EnoughLinks: no score 'num_links'. The"),
        (SCORER, '{ kind = "own_notes:EnoughLinks", min_links = "2" }', r"filter.rules.1.min_links = '2': input"),
        ("", '{ kind = "EnoughLinks" }', r"filter.rules.1.kind = 'EnoughLinks': string should match pattern"),
    ],
)
def test_a_mistake_is_named_when_the_graph_is_built(notes, scorers, rules, message):
    with pytest.raises(RecipeError, match=message):
        notes(scorers, rules)


@pytest.mark.parametrize(
    ("scorers", "rules", "message"),
    [
        (SCORER, '{ kind = "own_notes:Silent" }', "Silent.filter returned None. Return True, False or"),
        ('{ kind = "own_notes:Halves" }', "", "Halves.score returned half = 0.5, no int, for document notes.jsonl#1"),
    ],
)
def test_a_class_that_returns_something_else_is_named(notes, tmp_path, scorers, rules, message):
    with pytest.raises(ValueError, match=message):
        run(notes(scorers, rules), tmp_path / "store")


def test_a_phase_is_ordered_by_a_score_of_ones_own(notes, tmp_path):
    notes(SCORER)
    page = {
        "name": "ordered",
        "description": "",
        "corpora": ["notes"],
        "tokenizer": {"vocab_size": 300, "sample_bytes_per_corpus": 1000},
        "tokenize": {"sequence_length": 8},
        "phases": [{"name": "one", "tokens": 8, "weights": {"notes": 1.0}, "order": "easy_to_hard"}],
        "model": {"preset": "tiny", "overrides": {"vocab_size": 300, "max_positions": 8}},
        "train": {"global_batch_sequences": 1, "micro_batch_sequences": 1, "peak_lr": 0.001},
        "evaluate": {"heldout_bytes_per_corpus": 100},
    }
    corpus = load_corpus(tmp_path / "notes.toml", ["source.heldout_fraction=0.5"])

    def check(column: str) -> None:
        page["phases"][0]["order_by"] = column
        run = parse_recipe(page, tmp_path / "run.toml")
        require_fit({"notes": (tmp_path / "notes.toml", corpus)}, run, tmp_path / "run.toml")

    check("num_links")
    with pytest.raises(
        RecipeError, match=r"order_by = 'num_linx': .* no such numeric column. Did you mean num_links\?"
    ):
        check("num_linx")


STAGES = """
from typing import ClassVar

from data_recipes import Section
from infra import Resources


class Count(Section):
    resources: ClassVar = Resources(num_cpus=0.5)
    factor: int = 1

    def work(self, context, inputs):
        shards = sorted((inputs["dedup[notes]"].path / "decisions").glob("*.parquet"))
        (context.out / "shards.txt").write_text(str(self.factor * len(shards)))
        return {"shards": float(self.factor * len(shards))}


class Twice(Section):
    def work(self, context, inputs):
        text = (inputs["count[notes]"].path / "shards.txt").read_text()
        (context.out / "twice.txt").write_text(text * 2)
        return {}
"""
OWN_STAGES = """
[[stages]]
name = "count"
kind = "own_stages_of_notes:Count"
inputs = ["dedup[notes]"]
factor = {factor}
[[stages]]
name = "twice"
kind = "own_stages_of_notes:Twice"
inputs = ["count[notes]"]
"""


@pytest.fixture
def staged(tmp_path, monkeypatch):
    """`staged(factor, code)`: the graph of a corpus with two stages of the user's own, as in a new process."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "notes.jsonl").write_text("".join(f'{{"text": "{line}"}}\n' for line in LINES))

    def staged(factor: object = 1, code: str = STAGES) -> Graph:
        sys.modules.pop("own_stages_of_notes", None)
        code_digest.cache_clear()
        (tmp_path / "own_stages_of_notes.py").write_text(code)
        path = tmp_path / "notes.toml"
        page = RECIPE.format(inputs=TABLE, scorers="", rules="") + OWN_STAGES.format(factor=factor)
        path.write_text(page)
        return corpus_graph(load_corpus(path), path)

    return staged


def test_stages_of_ones_own_read_results_and_each_other(staged, tmp_path):
    graph = staged(factor=3)
    store = Store(tmp_path / "store").open()
    for stage in graph.stages.values():
        build(stage, store, [].append, None, *(store.find(needed) for needed in stage.inputs.values()))
    assert (store.path(graph.stages["twice[notes]"]) / "twice.txt").read_text() == "33"
    assert store.find(graph.stages["count[notes]"]).manifest.metrics == {"shards": 3.0}
    assert graph.stages["count[notes]"].resources.num_cpus == 0.5


def test_the_key_of_an_own_stage_follows_its_code_and_fields(staged):
    keys = {name: stage.key for name, stage in staged().stages.items()}
    for changed in (staged(factor=2), staged(code=STAGES + "\n# another comment\n")):
        different = [name for name, stage in changed.stages.items() if stage.key != keys[name]]
        assert different == ["count[notes]", "twice[notes]"]


def test_a_field_of_an_own_stage_is_checked_at_plan(staged):
    with pytest.raises(RecipeError, match=r"notes.toml: stages.1.factor = 'much'"):
        staged(factor='"much"')
    with pytest.raises(RecipeError, match=r"notes.toml: stages.1.kind = .*no method work"):
        staged(
            code=STAGES.replace("def work(self, context, inputs):\n        shards", "def run(self):\n        shards")
        )
