"""Every mistake that a recipe can hold is refused when it is planned, with the field, the value and the remedy."""

import dataclasses
import json
import re
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import BaseModel

from arctic_model import ArcticConfig
from data_recipes import load_run, parse_recipe
from data_recipes.schema import CorpusRecipe, RunRecipe
from data_recipes.section import Section
from data_recipes.sections.training import ModelSection
from pipelines.cli import main
from pipelines.fit.finetune import finetune_mistakes
from tests.pipelines.fit.wrong import Wrong
from tests.pipelines.fit.wrong_corpus_values import CORPUS
from tests.pipelines.fit.wrong_evaluations import EVALUATIONS
from tests.pipelines.fit.wrong_items import ITEMS
from tests.pipelines.fit.wrong_training import TRAINING
from tests.pipelines.fit.wrong_values import FINETUNE, RUN

OF_RUN = {**RUN, **TRAINING, **EVALUATIONS}

CORPUS_PAGE = """
name = "{name}"
description = ""
[source]
inputs = [{{ kind = "jsonl", paths = ["notes.jsonl"] }}]
"""
RUN_PAGE = """
name = "tiny"
description = ""
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
[[phases]]
name = "two"
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
VERBS = (
    "Add|Bring|Change|Choose|Convert|Correct|Did you mean|Files end|Give|Hold|Install|Known here|Leave|Lower|Mend|Name|"
    "Places are|Raise|Remove|Rename|Set|Shorten|Sort|Split|Take|The corpora|The fields|There are|Train|Use|Write"
)
REMEDY = re.compile(rf"[.:?] ({VERBS})\b")


@pytest.fixture
def refuse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """`refuse(command, page, *fields)`: the message of `arctic command` on the run "tiny.toml" or the corpus
    "notes.toml" with `fields` set, which must end with exit code 2."""
    for name in ("notes", "old"):
        (tmp_path / f"{name}.toml").write_text(CORPUS_PAGE.format(name=name))
    (tmp_path / "tiny.toml").write_text(RUN_PAGE)
    (tmp_path / "notes.jsonl").write_text(json.dumps({"text": "one two three four five six seven eight nine"}))
    pq.write_table(pa.table({"text": ["one two three"]}), tmp_path / "notes.parquet")
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "words.txt").write_text("neither an id nor a domain\n")
    monkeypatch.chdir(tmp_path)

    def refuse(command: str, page: str, *fields: str, options: Sequence[str] = ()) -> str:
        replaced = [part for field in fields for part in ("--set", field)]
        monkeypatch.setattr(sys, "argv", ["arctic", command, page, *options, *replaced])
        with pytest.raises(SystemExit) as ended:
            main()
        out, message = capsys.readouterr()
        assert ended.value.code == 2, f"{fields} pass: {out}"
        return message

    return refuse


def fields_of(section: type[BaseModel]) -> Iterator[tuple[type[BaseModel], str]]:
    """Every field of a recipe, with the section that declares it."""
    for name, field in section.model_fields.items():
        yield section, field.alias or name
        for nested in sections_in(field.annotation):
            yield from fields_of(nested)


def sections_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from sections_in(argument)


def named(fields: Any) -> set[str]:
    return {f"{section.__name__}.{name}" for section, name in fields}


def test_every_field_of_a_recipe_has_values_that_are_refused() -> None:
    declared = named([*fields_of(RunRecipe), *fields_of(CorpusRecipe)])
    tables = {section: fields for pages in (OF_RUN, CORPUS) for section, (_, fields) in pages.items()}
    tables |= {section: item.wrong for section, item in ITEMS.items()}
    assert named((section, name) for section, fields in tables.items() for name in fields) == declared


def test_every_field_of_an_architecture_has_values_that_are_refused() -> None:
    _, fields = TRAINING[ModelSection]
    messages = [row.shown for row in fields["overrides"] if isinstance(row, Wrong)]
    refused = {name for message in messages for name in re.findall(r"model\.overrides\.(\w+)", message)}
    assert {field.name for field in dataclasses.fields(ArcticConfig)} <= refused


@pytest.mark.parametrize(
    ("page", "section", "field"),
    [
        (page, section, name)
        for page, sections in (("tiny.toml", OF_RUN), ("notes.toml", CORPUS))
        for section, (_, fields) in sections.items()
        for name in fields
    ],
    ids=lambda part: getattr(part, "__name__", part),
)
def test_a_value_that_cannot_work_is_refused(
    refuse: Callable[..., str], page: str, section: type[Section], field: str
) -> None:
    location, fields = (OF_RUN if page == "tiny.toml" else CORPUS)[section]
    for row in fields[field]:
        wrong = row if isinstance(row, Wrong) else Wrong(row)
        message = refuse("plan", page, *wrong.also, f"{location}{field}={wrong.value}")
        value = tomllib.loads(f"value = {wrong.value}")["value"]
        explained(message, page, wrong.shown or f"{location}{field} = {value!r}")


@pytest.mark.parametrize(
    ("section", "field"),
    [(section, name) for section, item in ITEMS.items() for name in item.wrong],
    ids=lambda part: getattr(part, "__name__", part),
)
def test_an_item_that_cannot_work_is_refused(refuse: Callable[..., str], section: type[Section], field: str) -> None:
    item = ITEMS[section]
    for value in item.wrong[field]:
        fields = ", ".join(f"{name}={text}" for name, text in {**item.sound, field: value}.items())
        message = refuse("plan", item.page, f"{item.field}=[{{{fields}}}]")
        explained(message, item.page, f"{item.field}.1.")
        assert field in message


def explained(message: str, page: str, start: str) -> None:
    """One of the lines of `message` names the file `page`, begins with `start` and ends with a remedy."""
    lines = [line for line in message.removeprefix("error: ").splitlines() if line.startswith(f"{page}: {start}")]
    assert lines, f"no line starts with {page}: {start}\n{message}"
    assert any(REMEDY.search(line) for line in lines), f"no remedy: {message}"


@pytest.mark.parametrize("command", ["plan", "run", "size", "submit", "ablate", "replay"])
def test_every_command_refuses_the_same_before_anything_starts(refuse: Callable[..., str], command: str) -> None:
    options = {"submit": ("--address", "http://127.0.0.1:1"), "ablate": ("--phase", "1")}
    message = refuse(command, "tiny.toml", "model.overrides.vocab_size=299", options=options.get(command, ()))
    assert "tiny.toml: model.overrides.vocab_size = 299 is less than tokenizer.vocab_size = 300" in message
    assert not (Path.cwd() / "store").exists()


def test_a_chat_that_the_tokenizer_has_no_template_for_is_refused(refuse: Callable[..., str]) -> None:
    Path("plain.json").write_text(json.dumps({"added_tokens": [{"content": "<|im_start|>"}]}))
    page = (
        Path("tiny.toml").read_text().replace("sample_bytes_per_corpus = 1000", 'path = "plain.json"\nend_token = "x"')
    )
    Path("tiny.toml").write_text(page)
    message = refuse("plan", "tiny.toml", "evaluate.chat='always'")
    explained(message, "tiny.toml", "evaluate.chat = 'always': plain.json has no tokens <|im_start|> and <|im_end|>")
    assert "evaluate.chat" not in refuse("plan", "tiny.toml", "evaluate.chat='auto'")


def test_a_fine_tune_without_tokens_for_a_chat_is_refused(refuse: Callable[..., str]) -> None:
    Path("plain.json").write_text(json.dumps({"added_tokens": [{"content": "<|im_start|>"}]}))
    page = (
        Path("tiny.toml").read_text().replace("sample_bytes_per_corpus = 1000", 'path = "plain.json"\nend_token = "x"')
    )
    Path("tiny.toml").write_text(page)
    message = refuse("plan", "tiny.toml", FINETUNE)
    explained(message, "tiny.toml", "finetune.1.name = 'tuned': plain.json has no tokens <|im_start|> and <|im_end|>")


def test_a_fine_tune_may_read_conversations_of_an_own_class() -> None:
    run, files = load_run(Path(__file__).parents[3] / "data_recipes/runs/quickstart.toml")
    corpora = {name: corpus for name, (_, corpus) in files.items()}
    source = {"inputs": [{"kind": "own_source:Tickets"}]}
    own = parse_recipe({"name": "sql_chat", "description": "Conversations of our own", "source": source})
    rows = parse_recipe({"name": "sql_chat", "description": "Rows", "source": {"inputs": [{"kind": "pydoc"}]}})

    assert list(finetune_mistakes(run, corpora | {"sql_chat": own})) == []
    (mistake,) = finetune_mistakes(run, corpora | {"sql_chat": rows})
    assert "an input of kind pydoc, whose documents are no conversations" in mistake
