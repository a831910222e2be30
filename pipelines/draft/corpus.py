"""The page of a corpus recipe for a group of files."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_recipes.sections.refining import FilterSection
from pipelines.artifacts.documents import HELDOUT, Document, draw_split
from pipelines.artifacts.scores import DUPLICATE_NGRAMS, TOP_NGRAMS
from pipelines.draft.pages import Choice
from pipelines.draft.sample import Sample, languages
from pipelines.draft.survey import CHAT, REPOSITORIES, TYPES, Group
from pipelines.score.from_recipe import score_documents
from pipelines.source.io.local_files import visible_files

LIMITS: Mapping[str, str] = {
    "min_words": "words",
    "min_mean_word_length": "mean_word_length",
    "max_mean_word_length": "mean_word_length",
    "max_symbol_to_word_ratio": "symbol_to_word_ratio",
    "max_bullet_lines_fraction": "bullet_lines_fraction",
    "min_alpha_words_fraction": "alpha_words_fraction",
    "min_stop_words": "stop_words",
    "max_duplicate_line_fraction": "duplicate_line_fraction",
    "max_duplicate_paragraph_fraction": "duplicate_paragraph_fraction",
    "max_duplicate_line_characters_fraction": "duplicate_line_characters_fraction",
    "max_duplicate_paragraph_characters_fraction": "duplicate_paragraph_characters_fraction",
    "max_duplicate_code_characters_fraction": "duplicate_code_characters_fraction",
    **{f"max_top_{n}gram_fraction": f"top_{n}gram_fraction" for n in TOP_NGRAMS},
    **{f"max_duplicate_{n}gram_fraction": f"duplicate_{n}gram_fraction" for n in DUPLICATE_NGRAMS},
}
"""Limits that are made for web prose and may not suit other text, each with the score that it limits."""
MAX_DROPPED = 0.1
"""Share of the sample above which a limit does not suit the files: they are the user's own choice, unlike a crawl."""
KEPT_PERCENTILE = 2.0
"""Percentile of the sample's scores that a loosened limit still drops, on the side of the limit."""
FAR = "../../.."
"""Begins a relative path that is harder to read than the absolute one."""
MIN_HELDOUT = 20
MAX_HELDOUT_FRACTION = 0.2


@dataclass(frozen=True)
class DraftedCorpus:
    """A corpus recipe: its name, its page, and estimates about the documents that it keeps."""

    name: str
    group: Group
    sample: Sample
    page: Mapping[str, Any]

    @property
    def train_bytes(self) -> float:
        """UTF-8 bytes of the documents to train on."""
        return float(self.sample.text_bytes * (1.0 - self.page["source"]["heldout_fraction"].value))


def draft_corpus(group: Group, sampled: Sample, folder: Path, taken: Sequence[str]) -> DraftedCorpus:
    """The corpus recipe of a group, to be written into `folder`; its name differs from all that are `taken`."""
    name = unique_name(group.name, taken)
    page: dict[str, Any] = {
        "name": name,
        "description": f"{_NOUNS[group.kind]} of {group.root.name}",
        "source": {
            "inputs": [{"kind": group.kind, "paths": _paths(group, folder), **sampled.fields, **_heldout_unit(group)}],
            "heldout_fraction": _heldout_fraction(group, sampled),
        },
        "filter": _limits(group, sampled.documents),
    }
    return DraftedCorpus(name, group, sampled, {key: value for key, value in page.items() if value})


def unique_name(name: str, taken: Sequence[str]) -> str:
    """The name as recipes spell names, with a number if it is taken.

    >>> unique_name("Über uns (2024)", ["ber_uns_2024"])
    'ber_uns_2024_2'
    """
    plain = re.sub(r"[^a-z0-9.-]+", "_", name.lower()).strip("_.-")[:56] or "corpus"
    numbered = (plain if number == 1 else f"{plain}_{number}" for number in range(1, len(taken) + 2))
    return next(candidate for candidate in numbered if candidate not in taken)


_NOUNS = {
    "warc": "Crawled pages",
    "jsonl": "Rows of JSON Lines files",
    "parquet": "Rows of Parquet files",
    "text_files": "Text files",
    REPOSITORIES: "Code",
    CHAT: "Conversations",
}


def _paths(group: Group, folder: Path) -> list[str]:
    """The shortest list of paths that gives the group's files and no others, relative to the recipe's folder."""
    if group.kind == REPOSITORIES:
        return [_relative(path, folder) for path in group.files]
    parents = sorted({path.parent for path in group.files})
    if len(group.files) == 1:
        return [_relative(group.files[0], folder)]
    # A folder includes all files of its kind below it, so it is named only if the group has them all.
    top = Path(os.path.commonpath(parents))
    below = [path for path in visible_files(top, "paths") if _is_read(path, group.kind)]
    if set(below) == set(group.files):
        return [_relative(top, folder)]
    return [_relative(path, folder) for path in group.files]


def _is_read(path: Path, kind: str) -> bool:
    """Whether an input of this kind reads a file of a folder that it is given."""
    return any(TYPES[name].fits(path.name) for name in (("jsonl", "parquet") if kind == CHAT else (kind,)))


def _relative(path: Path, folder: Path) -> str:
    relative = os.path.relpath(path, folder.absolute())
    return str(path) if relative.startswith(FAR) else relative


def _heldout_unit(group: Group) -> dict[str, str]:
    """Few repositories are held out file by file: a whole one would be too much."""
    is_few = group.kind == REPOSITORIES and len(group.files) < MIN_HELDOUT
    return {"heldout_by": "file"} if is_few else {}


def _heldout_fraction(group: Group, sampled: Sample) -> Choice:
    """Enough documents for an interval of the held-out loss, and no more than 1 % of many; none of very few."""
    by_repository = group.kind == REPOSITORIES and not _heldout_unit(group)
    noun, count = ("repositories", len(group.files)) if by_repository else ("documents", sampled.num_documents)
    if count < MIN_HELDOUT:
        return Choice(_drawn_fraction(sampled.documents), f"of {count} {noun}")
    fraction = min(MAX_HELDOUT_FRACTION, max(0.01, round(MIN_HELDOUT / count, 3)))
    return Choice(fraction, f"of some {_rounded(count):,} {noun}")


def _drawn_fraction(documents: Sequence[Document]) -> float:
    """The smallest fraction that draws one document of a few, or more, but not most of them; 0 if there is none."""
    for percent in range(5, 55, 5):
        num_drawn = sum(draw_split(document.url, percent / 100) == HELDOUT for document in documents)
        if 0 < num_drawn <= len(documents) / 2:
            return percent / 100
    return 0.0


def _limits(group: Group, documents: Sequence[Document]) -> dict[str, Any]:
    if group.kind == "warc":
        codes = languages(documents)
        return {"languages": Choice(codes, "of at least 5 % of the sampled pages"), "profile": "web"} if codes else {}
    return loosened(documents)


def loosened(documents: Sequence[Document]) -> dict[str, Choice]:
    """Limits of the filter that would drop too many of these documents, loosened until nearly all of them pass."""
    if not documents:
        return {}
    scores, defaults = score_documents(documents), FilterSection()
    limits: dict[str, Choice] = {}
    for limit, score in LIMITS.items():
        values = np.array([value for value in scores[score].to_pylist() if value is not None], dtype=float)
        default = getattr(defaults, limit)
        is_least = limit.startswith("min_")
        dropped = values < default if is_least else values > default
        if dropped.sum() > MAX_DROPPED * len(documents):
            comment = f"{default:g} would drop {dropped.sum() / len(documents):.0%} of the sample"
            limits[limit] = Choice(_percentile(values, is_least, isinstance(default, int)), comment)
    return limits


def _percentile(values: np.ndarray, is_least: bool, is_count: bool) -> float | int:
    """The limit that all but a few of the values pass, rounded to their side."""
    value = float(np.percentile(values, KEPT_PERCENTILE if is_least else 100.0 - KEPT_PERCENTILE))
    if is_count:
        return int(value)
    return float(np.floor(value * 100) if is_least else np.ceil(value * 100)) / 100


def _rounded(number: int) -> int:
    """Two significant digits: the number is an estimate."""
    digits = max(0, len(str(number)) - 2)
    return int(round(number / 10**digits) * 10**digits)
