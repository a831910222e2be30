"""Read documents from a kind of file of your own, here Markdown notes.

    python examples/own_source.py [FOLDER_OF_NOTES]

A recipe names the class as "own_source:MarkdownNotes", because this file is in its folder. Changing a note rebuilds the
shard of that note alone; changing this file rebuilds the stage.
"""

import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pyarrow.parquet as pq

import pipelines
from data_recipes import Location, Section
from infra.store import file_digest
from pipelines import Document, UserError
from pipelines.source.document_sink import DocumentSink
from pipelines.source.io.input_folder import InputFolder
from pipelines.source.protocol import InputSplit


class MarkdownNotes(Section):
    """The fields of `[[source.inputs]]`, and how documents are made from them."""

    path: Annotated[str, Location()]
    """Folder of `.md` files, relative to the recipe. As a Location it is not part of the stage's key."""
    min_characters: int = 1
    """Shorter notes are skipped."""

    def fingerprint(self, folder: InputFolder) -> dict[str, str]:
        """The sha256 of every note, by name: it fixes the content of the input."""
        notes = sorted((folder.path / self.path).glob("*.md"))
        if not notes:
            raise UserError(f"path = {self.path!r}: no .md file in {folder.path / self.path}. Name another folder.")
        return {note.name: file_digest(note) for note in notes}

    def splits(self, fingerprint: Mapping[str, str], folder: InputFolder) -> Iterator[InputSplit]:
        """One shard a note. A worker of the cluster reads it."""
        for name, sha256 in fingerprint.items():
            yield InputSplit(Note(folder.path / self.path / name, self.min_characters), [name, sha256])


@dataclass(frozen=True)
class Note:
    """One file; a frozen dataclass of plain data, so that it can travel to a worker."""

    path: Path
    min_characters: int

    def read(self, sink: DocumentSink) -> None:
        text = self.path.read_text(encoding="utf-8")
        if len(text) < self.min_characters:
            sink.skip("too_short")
        else:
            sink.write(Document(text, url=self.path.name, origin="notes", split=sink.draw_split(self.path.name)))


def main(notes: Path, store: Path) -> None:
    corpus = {
        "name": "notes",
        "description": "Markdown notes",
        "source": {
            "inputs": [{"kind": "own_source:MarkdownNotes", "path": str(notes), "min_characters": 10}],
            "heldout_fraction": 0.0,
        },
    }
    recipe = pipelines.Recipe.of(corpus, folder=Path(__file__).parent)
    result = pipelines.run(recipe, store, until="source")
    for file in sorted(result.stages["source[notes]"].path.glob("documents/*")):
        for row in pq.read_table(file).to_pylist():
            print(f"{row['url']}: {row['text']!r}")
    print(dict(result.stages["source[notes]"].metrics))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(temporary, "notes")
        if len(sys.argv) == 1:
            folder.mkdir()
            (folder / "river.md").write_text("# River\n\nIt rose in the night.\n")
            (folder / "todo.md").write_text("- tea\n")
        main(folder.absolute(), Path(temporary, "store"))
