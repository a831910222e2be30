"""The reference page names every field that a recipe can have, with its default."""

from pathlib import Path

from data_recipes.schema import CorpusRecipe, RunRecipe
from data_recipes.section import Section

PAGE = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text()


def test_every_field_and_default_is_in_the_reference():
    sections = [section for section in Section.__subclasses__() if section.__module__.startswith("data_recipes.")]
    assert {CorpusRecipe, RunRecipe} < set(sections)
    for section in sections:
        for name, field in section.model_fields.items():
            if field.is_required():
                line = f"| `{name}` | {'required' if name != 'kind' else ''}"
            elif isinstance(field.default, Section):
                line = f"| `{name}` | defaults |"
            else:
                line = f"| `{name}` | `{field.default!r}` |"
            assert line in PAGE, f"{section.__name__}: {line}"
