"""Documents that an annotation of another corpus made."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_recipes.sections.inputs import AnnotatedInput
from pipelines.artifacts.documents import DOCUMENTS, Document, shard_paths
from pipelines.artifacts.formats.parquet import ParquetFile
from pipelines.source.document_sink import DocumentSink
from pipelines.source.io.input_folder import InputFolder
from pipelines.source.protocol import InputSplit


class Annotated(AnnotatedInput):
    """The documents of an annotation, one shard for each shard of its corpus."""

    def fingerprint(self, folder: InputFolder) -> None:  # noqa: ARG002 - the key of the stage that makes them fixes them
        return None

    def splits(self, fingerprint: Any, folder: InputFolder) -> Iterator[InputSplit]:  # noqa: ARG002
        made = folder.results[self.stage_id]
        for path in shard_paths(made.path, "documents"):
            yield InputSplit(MadeDocuments(path), [made.manifest.key, made.digest(path)])


@dataclass(frozen=True)
class MadeDocuments:
    """One shard of made documents."""

    path: Path

    def read(self, sink: DocumentSink) -> None:
        columns = [name for name in DOCUMENTS.names if name != "doc_id"]
        for batch in ParquetFile(self.path).iter_batches(256, columns=columns):
            for row in batch.to_pylist():
                sink.write(Document(**row))
