"""The class of each kind of input: a built-in one, or one of the user's own."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from data_recipes.section import ExtensionSection
from data_recipes.sections.inputs import Input
from pipelines.extension import Extension, Shipped
from pipelines.source.document_sink import DocumentSink
from pipelines.source.protocol import InputKind, SplitReader

KINDS: Mapping[str, str] = {
    "warc": "pipelines.source.web.warc_files:WarcFiles",
    "common_crawl": "pipelines.source.web.common_crawl:CommonCrawl",
    "jsonl": "pipelines.source.tables.table_files:Tables",
    "parquet": "pipelines.source.tables.table_files:Tables",
    "text_files": "pipelines.source.text_files:TextFiles",
    "chat": "pipelines.source.chat.chat_files:Chats",
    "pydoc": "pipelines.source.python.pydoc_pages:Pydoc",
    "distributions": "pipelines.source.python.distributions:Distributions",
    "python_sources": "pipelines.source.python.python_sources:PythonSources",
    "repositories": "pipelines.source.code.repositories:Repositories",
    "text_to_sql": "pipelines.source.text_to_sql.generator:TextToSql",
    "annotated": "pipelines.source.annotated:Annotated",
    "text_to_sql_chat": "pipelines.source.text_to_sql.chats:TextToSqlChats",
}
"""The class of each built-in kind: a dataclass with the fields of its section."""


def open_kind(section: Input, folder: Path) -> InputKind:
    """The input that `section` of a recipe in `folder` describes. Raises ExtensionError."""
    if isinstance(section, ExtensionSection):
        return cast(InputKind, Extension.find(section.kind, section.fields, InputKind, folder).make())
    module, _, name = KINDS[section.kind].partition(":")
    kind_class: Any = getattr(import_module(module), name)
    return cast(InputKind, kind_class(**{field.name: getattr(section, field.name) for field in fields(kind_class)}))


@dataclass(frozen=True)
class OwnReader:
    """A reader whose class is the user's own."""

    shipped: Shipped

    @classmethod
    def of(cls, reader: SplitReader, extension: Extension) -> "OwnReader":
        return cls(Shipped(extension, reader))

    def read(self, sink: DocumentSink) -> None:
        self.shipped.open().read(sink)
