"""Readers whose class is the user's own."""

from dataclasses import dataclass

from pipelines.extension import Extension, Shipped
from pipelines.source.document_sink import DocumentSink
from pipelines.source.protocol import SplitReader


@dataclass(frozen=True)
class OwnReader:
    """A reader whose class is the user's own."""

    shipped: Shipped

    @classmethod
    def of(cls, reader: SplitReader, extension: Extension) -> "OwnReader":
        return cls(Shipped(extension, reader))

    def read(self, sink: DocumentSink) -> None:
        self.shipped.open().read(sink)
