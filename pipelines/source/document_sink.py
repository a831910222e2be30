"""The sink that the reader of an input writes documents to, with counts of everything else."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from infra.host.masking import masked
from pipelines.artifacts.documents import HELDOUT, SECOND_CHOICE, Document, draw_split
from pipelines.errors import OptionError

Extractor = Literal["cascade", "main_content", "all_text"]
"""How HTML becomes text; see `source.extractor` of a corpus recipe."""
TextFormat = Literal["text", "markdown"]
"""The format of text from HTML; see `source.text_format` of a corpus recipe."""


class DocumentTarget(Protocol):
    """A sink of documents, such as a shard's file."""

    def write(self, document: Document) -> int:
        """Take a document; returns the bytes of its text. Raises OptionError if it cannot be stored."""


@dataclass
class DocumentSink:
    """The documents of one shard. `folder`: files that are written there belong to the result; `counts` have the
    metrics' names without their group."""

    folder: Path
    extractor: Extractor
    heldout_fraction: float
    writer: DocumentTarget
    text_format: TextFormat = "text"
    read_pdf: bool = False
    quarantined: list[Mapping[str, str]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def write(self, document: Document) -> None:
        """Write a document, or set it aside if one of its fields cannot be stored as text."""
        try:
            self.counts["bytes"] += self.writer.write(document)
        except OptionError as error:
            origin = document.origin if document.offset is None else f"{document.origin}:{document.offset}"
            self.quarantine(origin, f"undecodable text: {error}")
            return
        self.counts["documents"] += 1
        self.counts["heldout_documents"] += document.split == HELDOUT
        self.counts["chosen_again"] += document.extractor.startswith(SECOND_CHOICE)

    def skip(self, reason: str, count: int = 1, kind: str = "") -> None:
        """Count records that are sound and hold nothing to keep, also by their `kind` if there are several."""
        self.counts[f"skipped_{reason}"] += count
        if kind:
            self.counts[f"{reason}_{kind}"] += count

    def quarantine(self, origin: str, reason: str) -> None:
        """Set aside a record that could not be read."""
        self.quarantined.append({"origin": masked(origin), "reason": masked(reason)})

    def draw_split(self, group: str) -> str:
        """TRAIN or HELDOUT for the documents of `group`, such as a domain, which must not be in both splits."""
        return draw_split(group, self.heldout_fraction)
