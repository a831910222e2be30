"""The reference page names every field that a recipe can have, with its default."""

from pathlib import Path

from data_recipes import schema

PAGE = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text()


def test_every_field_and_default_is_in_the_reference():
    sections = [item for item in vars(schema).values() if isinstance(item, type) and issubclass(item, schema.Section)]
    assert len(sections) > 10
    for section in sections:
        for name, field in section.model_fields.items():
            if field.is_required():
                line = f"| `{name}` | {'required' if name != 'kind' else ''}"
            elif isinstance(field.default, schema.Section):
                line = f"| `{name}` | defaults |"
            else:
                line = f"| `{name}` | `{field.default!r}` |"
            assert line in PAGE, f"{section.__name__}: {line}"
