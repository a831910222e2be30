"""Add a score of your own to every document, here how many links a text has.

    python examples/own_scorer.py

A recipe names the class as "own_scorer:Links", because this file is in its folder. Its columns are in the result of the
stage `score`, and limits and rules of your own (see own_filter_rule.py) can read them. Changing this file scores the
corpus again.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from data_recipes import Section
from data_recipes.sections.refining import ScoreSection
from pipelines import Document, read_documents, score_documents


class Links(Section):
    """The fields of `[[score.scorers]]`, and the scores."""

    columns: ClassVar[Mapping[str, type]] = {"num_links": int, "links_per_word": float}

    scheme: str = "https"
    """The kind of links to count."""

    def score(self, document: Document) -> dict[str, float]:
        """Every column. It may use the document and the fields above alone, so that each machine gives the same."""
        num_links = document.text.count(f"{self.scheme}://")
        return {"num_links": num_links, "links_per_word": num_links / max(1, len(document.text.split()))}


TEXTS = ["See https://a.example and https://b.example", "A text without a link"]


def main(folder: Path) -> None:
    file = folder / "notes.jsonl"
    file.write_text("".join(f'{{"text": "{text}"}}\n' for text in TEXTS))
    section = ScoreSection.model_validate({"scorers": [{"kind": "own_scorer:Links"}]})
    table = score_documents(read_documents(file), section, folder=Path(__file__).parent)
    for row in table.select(["language", "words", "num_links", "links_per_word"]).to_pylist():
        print(row)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(temporary))
