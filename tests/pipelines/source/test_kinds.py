"""The built-in kinds of input: each is declared once, as a section of recipes, and its class adds the methods."""

import tomllib
from typing import Any

import grimp
import pytest
from pydantic import TypeAdapter

from data_recipes.sections.inputs import BUILT_IN, Input, InputSection, TableInput, names
from pipelines.extension import load_class
from pipelines.source.from_recipe import identity
from pipelines.source.protocol import InputKind
from tests.pipelines.fit.wrong_items import ITEMS

EXTRACTION = "pipelines.source.web.extraction.extract"
each_kind = pytest.mark.parametrize("section", BUILT_IN)


def sound_fields(section: type[InputSection]) -> dict[str, Any]:
    return tomllib.loads("\n".join(f"{name} = {value}" for name, value in ITEMS[section].sound.items()))


def added_to_key(section: type[InputSection], **fields: Any) -> set[str]:
    """Parts of the key of an input besides its fields."""
    item = section.model_validate(sound_fields(section) | fields)
    return identity(item).keys() - item.identity().keys()


@pytest.mark.parametrize(("name", "section"), [(name, section) for section in BUILT_IN for name in names(section)])
def test_a_recipe_may_hold_every_kind_under_its_own_names(name: str, section: type[InputSection]) -> None:
    item = TypeAdapter(Input).validate_python(sound_fields(section) | {"kind": name})
    assert type(item) is section
    assert item.kind == name


@each_kind
def test_the_class_of_a_kind_is_its_section_with_methods(section: type[InputSection]) -> None:
    kind = load_class(section.implementation, InputKind)
    assert issubclass(kind, section)
    assert kind.model_fields.keys() == section.model_fields.keys()


@pytest.fixture(scope="module")
def imports() -> grimp.ImportGraph:
    return grimp.build_graph("pipelines", cache_dir=None)


@each_kind
def test_keys_of_inputs_whose_code_extracts_text_have_the_version_of_extraction(
    section: type[InputSection], imports: grimp.ImportGraph
) -> None:
    module = section.implementation.partition(":")[0]
    extracts = imports.chain_exists(importer=module, imported=EXTRACTION)
    assert ("extraction" in added_to_key(section)) == extracts


def test_some_inputs_extract_text_and_others_do_not(imports: grimp.ImportGraph) -> None:
    modules = {section.implementation.partition(":")[0] for section in BUILT_IN}
    extract = {module for module in modules if imports.chain_exists(importer=module, imported=EXTRACTION)}
    assert {"pipelines.source.web.warc_files", "pipelines.source.python.pydoc_pages"} <= extract < modules


def test_keys_of_tables_with_urls_have_the_version_of_their_reading() -> None:
    assert added_to_key(TableInput) == set()
    assert added_to_key(TableInput, url_field="link") == {"url_reading"}
