"""Recipe pages as TOML with a comment on each choice that was made for the user."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import tomlkit
from tomlkit.items import Item


class Choice(NamedTuple):
    """A value, and the reason for it."""

    value: Any
    comment: str


def toml_text(page: Mapping[str, Any], heading: str) -> str:
    """The page as TOML below a heading, one `#` line for each of its lines."""
    document = tomlkit.document()
    for line in heading.splitlines():
        document.add(tomlkit.comment(line))
    document.add(tomlkit.nl())
    for key, value in page.items():
        if isinstance(value, Mapping):
            document.add(key, _table(value))
        elif isinstance(value, list) and value and isinstance(value[0], Mapping) and key != "inputs":
            tables = tomlkit.aot()
            for each in value:
                tables.append(_table(each))
            document.add(key, tables)
        else:
            document.add(key, _item(value))
    return tomlkit.dumps(document)


def plain(value: Any) -> Any:
    """The page without comments, as a recipe model takes it."""
    if isinstance(value, Choice):
        return plain(value.value)
    if isinstance(value, Mapping):
        return {key: plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list) else value


def _table(page: Mapping[str, Any]) -> Any:
    table = tomlkit.table()
    for key, value in page.items():
        table.add(key, _item(value))
    return table


def _item(value: Any) -> Item:
    if isinstance(value, Choice):
        return _item(value.value).comment(value.comment)
    if isinstance(value, Mapping):
        inline = tomlkit.inline_table()
        inline.update({key: _item(each) for key, each in value.items()})
        return inline
    if isinstance(value, list):
        array = tomlkit.array()
        array.extend(_item(each) for each in value)
        return array.multiline(len(value) > 3)
    item: Item = tomlkit.item(value)
    return item
