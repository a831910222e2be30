"""The reference pages and JSON Schemas are those of the code, and describe every field of a recipe."""

import json
import re
import tomllib
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import jsonschema
import pytest

from data_recipes.schema import CorpusRecipe, RunRecipe
from data_recipes.section import Section
from tests.kit.sections import declared_sections

ROOT = Path(__file__).parents[2]
RECIPES = [*sorted(ROOT.glob("data_recipes/corpora/*.toml")), *sorted(ROOT.glob("data_recipes/runs/*.toml"))]
SECTIONS = list(declared_sections())


@pytest.fixture(scope="module")
def generated() -> dict[Path, str]:
    spec = spec_from_file_location("generate", ROOT / "docs/generate.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.pages()


def test_the_committed_pages_and_schemas_follow_from_the_code(generated):
    stale = [str(path.relative_to(ROOT)) for path, text in generated.items() if path.read_text() != text]
    assert not stale, f"{stale} differ from the code: run `make reference`"


def test_every_field_has_a_description_that_is_a_complete_phrase():
    assert {CorpusRecipe, RunRecipe} < set(SECTIONS)
    for section in SECTIONS:
        for name, field in section.model_fields.items():
            text = field.description or ""
            assert re.match(r"[A-Z0-9`]|\.[a-z]", text), f"{section.__name__}.{name}: {text!r}"
            assert text.endswith("."), f"{section.__name__}.{name}: {text!r}"


def test_the_recipe_page_has_a_row_for_every_field_with_its_default(generated):
    page = generated[ROOT / "docs/reference/recipes.md"]
    for section in SECTIONS:
        for name, field in section.model_fields.items():
            row = re.compile(
                rf"^\| `{field.alias or name}` \| .+ \| {re.escape(_default(section, name))} \| .+ \|$", re.MULTILINE
            )
            assert row.search(page), f"{section.__name__}.{name}: {field.default!r}"


def _default(section: type[Section], name: str) -> str:
    field = section.model_fields[name]
    # A phase may leave `tokens` out, because `tokens_per_corpus` gives the sum.
    if field.default is None or (section.__name__, name) == ("PhaseSection", "tokens"):
        return "unset"
    if field.is_required():
        return "required"
    return "its defaults" if isinstance(field.default, Section) else f"`{json.dumps(field.default)}`"


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_an_editor_accepts_each_shipped_recipe_by_the_schema_it_names(recipe):
    first = recipe.read_text().splitlines()[0]
    assert first.startswith("#:schema ../")
    schema = json.loads((recipe.parent / first.removeprefix("#:schema ")).read_text())
    jsonschema.validate(tomllib.loads(recipe.read_text()), schema)


@pytest.mark.parametrize(
    ("field", "value"), [("source.extractr", "cascade"), ("filter.min_quality", 1.5), ("dedup.on_alarm", "ignore")]
)
def test_an_editor_marks_an_unknown_field_and_a_value_out_of_range(field, value):
    page = tomllib.loads((ROOT / "data_recipes/corpora/web.toml").read_text())
    section, name = field.split(".")
    page[section][name] = value
    schema = json.loads((ROOT / "data_recipes/schemas/corpus.schema.json").read_text())
    with pytest.raises(jsonschema.ValidationError, match=name):
        jsonschema.validate(page, schema)


def test_an_editor_accepts_a_phase_that_gives_its_tokens_per_corpus():
    page = tomllib.loads((ROOT / "data_recipes/runs/quickstart.toml").read_text())
    page["phases"] = [{"name": "one", "tokens_per_corpus": {"python_docs": 2048}}]
    jsonschema.validate(page, json.loads((ROOT / "data_recipes/schemas/run.schema.json").read_text()))


def test_the_schemas_ship_with_the_recipes():
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    shipped = {path for pattern in patterns["data_recipes"] for path in (ROOT / "data_recipes").glob(pattern)}
    assert {*RECIPES, *ROOT.glob("data_recipes/schemas/*.schema.json")} <= shipped
