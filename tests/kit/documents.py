"""Documents in memory, where a stage writes files."""

from dataclasses import dataclass, field

from pipelines.artifacts.documents import Document


@dataclass
class Collected:
    """Takes documents as a shard's file does."""

    documents: list[Document] = field(default_factory=list)

    def write(self, document: Document) -> int:
        self.documents.append(document)
        return len(document.text.encode())
