"""What the reader of an input is given: where documents go, and what is counted of the rest."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from infra.host.masking import masked
from pipelines.artifacts.documents import HELDOUT, SECOND_CHOICE, Document, DocumentWriter
from pipelines.source.web.extraction.extract import Extractor


@dataclass
class Reading:
    """One shard as it is read. `folder`: where files that belong to the result may be written; `counts` have the
    metrics' names without their group."""

    folder: Path
    extractor: Extractor
    heldout_fraction: float
    writer: DocumentWriter
    quarantined: list[Mapping[str, str]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def keep(self, document: Document) -> None:
        """Write a document, or set it aside where one of its fields is no text that can be stored."""
        try:
            self.counts["bytes"] += self.writer.write(document)
        except UnicodeEncodeError as error:
            place = document.origin if document.offset is None else f"{document.origin}:{document.offset}"
            self.quarantine(place, f"undecodable text: {error.reason} at character {error.start}")
            return
        self.counts["documents"] += 1
        self.counts["heldout_documents"] += document.split == HELDOUT
        self.counts["chosen_again"] += document.extractor.startswith(SECOND_CHOICE)

    def skip(self, reason: str, count: int = 1) -> None:
        """Count records that are sound and hold nothing to keep."""
        self.counts[f"skipped_{reason}"] += count

    def quarantine(self, origin: str, reason: str) -> None:
        """Set aside a record that could not be read."""
        self.quarantined.append({"origin": masked(origin), "reason": masked(reason)})


class Part(Protocol):
    """What one shard reads: a frozen dataclass of plain data, so that it can travel to a worker."""

    def read(self, reading: Reading) -> None:
        """Keep, skip or quarantine every record."""
