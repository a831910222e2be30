"""Recipes: mistakes are reported with the path, the value and the remedy."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from data_recipes import RecipeError, load_corpus, load_recipe, load_run
from data_recipes.lock import Lock

ROOT = Path(__file__).parents[2] / "data_recipes"
CORPUS = """
name = "notes"
description = "Notes"
[source]
inputs = [{ kind = "warc", paths = ["*.warc.gz"] }]
"""
RUN = """
name = "tiny"
description = "Tiny"
corpora = ["notes.toml"]
[tokenizer]
vocab_size = 300
sample_bytes_per_corpus = 1000
[tokenize]
sequence_length = 64
[[phases]]
name = "one"
tokens = 1024
weights = { notes = 1.0 }
[model]
preset = "tiny"
[train]
global_batch_sequences = 4
micro_batch_sequences = 4
peak_lr = 0.001
[evaluate]
heldout_bytes_per_corpus = 1000
"""


@pytest.fixture
def pages(tmp_path):
    (tmp_path / "notes.toml").write_text(CORPUS)
    (tmp_path / "tiny.toml").write_text(RUN)
    return tmp_path


def broken(pages, old, new, name="tiny.toml"):
    text = (pages / name).read_text()
    assert old in text
    (pages / name).write_text(text.replace(old, new))
    with pytest.raises(RecipeError) as caught:
        load_run(pages / "tiny.toml")
    return str(caught.value).replace(str(pages), "")


def test_a_page_may_begin_with_a_byte_order_mark(pages):
    plain = load_run(pages / "tiny.toml")
    for page in pages.iterdir():
        page.write_bytes(b"\xef\xbb\xbf" + page.read_bytes())
    assert load_run(pages / "tiny.toml")[0] == plain[0]


def test_every_recipe_of_the_project_loads():
    for path in (ROOT / "corpora").glob("*.toml"):
        assert load_corpus(path).name == path.stem
    for path in (ROOT / "runs").glob("*.toml"):
        run, corpora = load_run(path)
        assert run.name == path.stem
        assert set(corpora) >= {name for phase in run.phases for name in phase.weights}


def test_recipes_of_public_data_sets_pin_a_revision_and_state_a_licence():
    addresses = []
    for path in (ROOT / "corpora").glob("*.toml"):
        for kind in load_corpus(path).source.inputs:
            hub = [each for each in getattr(kind, "paths", []) if each.startswith("hf://")]
            assert not hub or kind.licence, path
            addresses += hub
    assert len(addresses) == 2
    assert all(re.match(r"hf://datasets/[^/@]+/[^/@]+@[0-9a-f]{40}/", address) for address in addresses)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "weights = { notes = 1.0 }",
            "weights = { notes = 0.95 }",
            "/tiny.toml: phases.1.weights sum to 0.95 (notes 0.95); they must sum to 1. Add 0.05 or rescale.",
        ),
        (
            "weights = { notes = 1.0 }",
            "weights = { note = 1.0 }",
            "/tiny.toml: phases.1.weights.note = 1.0: no such corpus. The corpora of this run are notes. "
            "Did you mean notes?",
        ),
        (
            "weights = { notes = 1.0 }",
            "weights = { notes = 1.0 }\nweights_to = { note = 1.0 }",
            "/tiny.toml: phases.1.weights_to.note = 1.0: no such corpus. The corpora of this run are notes. "
            "Did you mean notes?",
        ),
        (
            "[[phases]]",
            '[mix]\nrehydrate = ["web"]\n[[phases]]',
            "/tiny.toml: mix.rehydrate.1 = 'web': no such corpus. The corpora of this run are notes.",
        ),
        (
            "peak_lr = 0.001",
            "peek_lr = 0.001",
            "/tiny.toml: train.peak_lr: missing. Add it.\n"
            "/tiny.toml: train.peek_lr = 0.001: unknown field. Did you mean peak_lr?",
        ),
        (
            "peak_lr = 0.001",
            'peak_lr = "fast"',
            "/tiny.toml: train.peak_lr = 'fast': input should be a valid number. Change the value.",
        ),
        ("peak_lr = 0.001", "", "/tiny.toml: train.peak_lr: missing. Add it."),
        (
            'corpora = ["notes.toml"]',
            'corpora = ["nots.toml"]',
            "/tiny.toml: corpora.1 = 'nots.toml' is not a file (/nots.toml). Correct the path. "
            " has notes.toml, tiny.toml.",
        ),
        (
            "tokens = 1024",
            "tokens = 1000",
            "/tiny.toml: phases.1.tokens = 1000 is not a whole number of steps of 256 tokens "
            "(sequence_length x global_batch_sequences). Use 1024.",
        ),
        (
            "micro_batch_sequences = 4",
            "micro_batch_sequences = 3",
            "/tiny.toml: train.global_batch_sequences = 4 is not a multiple of micro_batch_sequences x num_workers = "
            "3 x 1 = 3. Use 6.",
        ),
    ],
)
def test_a_mistake_in_a_run_is_named_with_its_mend(pages, old, new, message):
    assert broken(pages, old, new) == message


def test_a_mistake_in_a_corpus_names_the_corpus_page(pages):
    message = broken(pages, 'kind = "warc", paths', 'kind = "warc", pahts', "notes.toml")
    assert "/notes.toml: source.inputs.1.pahts = ['*.warc.gz']: unknown field. Did you mean paths?" in message


def test_broken_toml_and_missing_files_are_named(pages):
    (pages / "tiny.toml").write_text("name = tiny\n")
    with pytest.raises(RecipeError, match=r"tiny\.toml: not valid TOML: Invalid value .at line 1, column 8"):
        load_recipe(pages / "tiny.toml")
    with pytest.raises(RecipeError, match=r": cannot be read \(Is a directory\)"):
        load_recipe(pages)
    with pytest.raises(RecipeError, match=r"gone\.toml: no such recipe\. .* has notes\.toml, tiny\.toml"):
        load_recipe(pages / "gone.toml")


def test_overrides_reach_nested_fields_and_are_checked(pages):
    run, _ = load_run(pages / "tiny.toml", ["train.peak_lr=0.5", "phases.1.tokens=2048"])
    assert run.train.peak_lr == 0.5
    assert run.phases[0].tokens == 2048
    corpus = load_corpus(pages / "notes.toml", ['source.inputs=[{kind="warc", paths=["/crawl"]}]'])
    assert corpus.source.inputs[0].paths == ["/crawl"]
    with pytest.raises(RecipeError, match="unknown field"):
        load_run(pages / "tiny.toml", ["train.lr=1"])
    with pytest.raises(RecipeError, match="is not key.path=VALUE"):
        load_run(pages / "tiny.toml", ["train.peak_lr"])
    with pytest.raises(RecipeError, match="leads to no field"):
        load_run(pages / "tiny.toml", ["phases.9.tokens=1"])


def test_overrides_reach_the_corpora_of_a_run_by_name(pages):
    overrides = ["corpora.notes.filter.min_words=20", "corpora.notes.source.extractor=all_text", "train.peak_lr=0.5"]
    run, corpora = load_run(pages / "tiny.toml", overrides)
    corpus = corpora["notes"][1]
    assert (corpus.filter.min_words, corpus.source.extractor, run.train.peak_lr) == (20, "all_text", 0.5)
    assert load_recipe(pages / "tiny.toml", overrides) == run
    with pytest.raises(RecipeError, match=r"notes\.toml: filter\.min_wrods = 2: unknown field"):
        load_run(pages / "tiny.toml", ["corpora.notes.filter.min_wrods=2"])
    with pytest.raises(
        RecipeError, match=r"no corpus 'nots'\. The corpora of this run are notes\. Did you mean notes\?"
    ):
        load_run(pages / "tiny.toml", ["corpora.nots.filter.min_words=20"])
    with pytest.raises(RecipeError, match=r"corpora\.1 = 'gone\.toml' is not a file"):
        load_run(pages / "tiny.toml", ['corpora.1="gone.toml"'])


@pytest.mark.parametrize("text", ["muon", "../web.toml", "hf://a/b@main", "CC-MAIN-2024-51", "a:b", "10:13"])
def test_a_string_needs_no_quotes(pages, text):
    assert load_corpus(pages / "notes.toml", [f"description={text}"]).description == text


@pytest.mark.parametrize("text", ["", "[1, 2", '"open', "{a = 1", "a, b", "two words"])
def test_a_value_that_is_neither_toml_nor_a_plain_string_is_refused(pages, text):
    with pytest.raises(RecipeError, match=r"is not key\.path=VALUE .* train\.optimizer=muon"):
        load_corpus(pages / "notes.toml", [f"description={text}"])


def test_a_lock_reads_back_as_itself_and_refuses_other_inputs(pages):
    run, corpora = load_run(pages / "tiny.toml")
    recipes = {name: corpus for name, (_, corpus) in corpora.items()}
    lock = Lock(run, recipes, {"notes": {"a.warc.gz": "00"}}, {"": "/here", "notes": "/there"})
    again = Lock.from_json(lock.to_json(), pages / "lock.json")
    assert again == lock
    assert again.to_json() == lock.to_json()
    again.require_fingerprints(replace(lock, folders={"notes": "/moved"}), pages / "lock.json")
    with pytest.raises(
        RecipeError, match=r"fingerprints\.notes: the inputs of notes are not the ones that were locked"
    ):
        again.require_fingerprints(replace(lock, fingerprints={"notes": {"a.warc.gz": "01"}}), pages / "lock.json")
    with pytest.raises(RecipeError, match=r"fingerprints\.tokenizer: the inputs of tokenizer are not the ones"):
        again.require_fingerprints(replace(lock, tokenizer={"tokenizer": "01"}), pages / "lock.json")
    with pytest.raises(RecipeError, match="not a recipe lock"):
        Lock.from_json("[]", pages / "lock.json")
