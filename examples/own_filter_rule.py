"""Drop documents by a rule of your own, which reads their scores and never their text.

    python examples/own_filter_rule.py

A recipe names the class as "own_filter_rule:FewLinks", because this file is in its folder. The rule is applied to
documents that pass every limit of `[filter]`. Changing this file filters the corpus again, and scores nothing again.
"""

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pyarrow.parquet as pq

import pipelines
from data_recipes import Section


class FewLinks(Section):
    """The fields of `[[filter.rules]]`, and the decision."""

    columns: ClassVar[Sequence[str]] = ("num_links", "words", "url")
    """The scores that the rule reads; "url" and "licence" can be read as well."""

    max_links_per_word: float = 0.2

    def filter(self, scores: Mapping[str, Any]) -> bool | tuple[bool, str]:
        """True keeps the document; False drops it as "few_links", (False, reason) for another reason."""
        if scores["url"].startswith("https://spam.example/"):
            return False, "spam"
        return bool(scores["num_links"] <= self.max_links_per_word * scores["words"])


PAGES = [
    {"text": "The river rose in the night and the people of the town went to see it.", "url": "https://a.example/"},
    {"text": "See https://b.example and https://c.example here", "url": "https://b.example/"},
    {"text": "The market of the town is open in the morning and in the evening.", "url": "https://spam.example/1"},
]


def main(folder: Path) -> None:
    pages = folder / "pages.jsonl"
    pages.write_text("".join(json.dumps(page) + "\n" for page in PAGES))
    corpus = {
        "name": "pages",
        "description": "Pages with few links",
        "source": {"inputs": [{"kind": "jsonl", "paths": [str(pages)], "url_field": "url"}], "heldout_fraction": 0.0},
        "score": {"scorers": [{"kind": "own_scorer:Links"}]},
        "filter": {
            "min_words": 1,
            "min_stop_words": 0,
            "max_mean_word_length": 20.0,
            "rules": [{"kind": "own_filter_rule:FewLinks", "max_links_per_word": 0.1}],
        },
    }
    recipe = pipelines.Recipe.of(corpus, folder=Path(__file__).parent)
    result = pipelines.run(recipe, folder / "store", until="filter")
    for row in pq.read_table(result.stages["filter[pages]"].path / "filtered" / "00000.parquet").to_pylist():
        print("kept" if row["keep"] else f"dropped: {row['reason']}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(temporary).absolute())
