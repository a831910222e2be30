"""The sections of recipes."""

from collections.abc import Iterator

from data_recipes import Section


def declared_sections(base: type[Section] = Section) -> Iterator[type[Section]]:
    """Every class of the recipe package below `base`."""
    for section in base.__subclasses__():
        if section.__module__.startswith("data_recipes."):
            yield section
            yield from declared_sections(section)
