"""The class of each kind of input: a built-in one, or one of the user's own."""

from collections.abc import Mapping
from dataclasses import dataclass

from pipelines.extension import Extension, Shipped
from pipelines.source.document_sink import DocumentSink
from pipelines.source.protocol import SplitReader

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
    "ledgers": "pipelines.source.generated.ledgers:Ledgers",
    "annotated": "pipelines.source.annotated:Annotated",
    "text_to_sql_chat": "pipelines.source.text_to_sql.chats:TextToSqlChats",
    "docstring_chat": "pipelines.source.python.docstring_chats:DocstringChats",
    "code_chat": "pipelines.source.code_chat.chats:CodeChats",
}
"""The class of each built-in kind: a dataclass with the fields of its section."""


@dataclass(frozen=True)
class OwnReader:
    """A reader whose class is the user's own."""

    shipped: Shipped

    @classmethod
    def of(cls, reader: SplitReader, extension: Extension) -> "OwnReader":
        return cls(Shipped(extension, reader))

    def read(self, sink: DocumentSink) -> None:
        self.shipped.open().read(sink)
