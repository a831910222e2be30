"""Everything that is measured on one text, from one pass over it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from data_recipes.refining import ScoreSection
from infra.stage import canonical_json
from pipelines.artifacts.formats.line_lists import list_entries
from pipelines.artifacts.scores import PII_KINDS
from pipelines.extension import restore
from pipelines.score.benchmark_files import read_benchmark
from pipelines.score.contamination import BenchmarkIndex, Hit, build_index
from pipelines.score.files import pinned_file
from pipelines.score.own import DocumentScorer
from pipelines.score.quality.classifier import Classifier, load_classifier
from pipelines.score.safety.lists import UrlList, WordList
from pipelines.score.safety.opt_out import opt_out_scores
from pipelines.score.safety.pii import Finding, find_pii
from pipelines.score.text.characters import Characters
from pipelines.score.text.language import detect
from pipelines.score.text.layout import layout
from pipelines.score.text.prose import prose_scores


class Scored(NamedTuple):
    """`row`: the columns of SCORES but `doc_id`; `pii`, `hits`: what the sidecars hold."""

    row: Mapping[str, Any]
    pii: list[Finding]
    hits: list[Hit]


@dataclass(frozen=True)
class Scorer:
    """The recipe's lists, classifier and evaluation items, loaded."""

    url_list: UrlList
    word_list: WordList
    arbitrate_language: bool
    phone_regions: tuple[str, ...]
    quality: Classifier | None
    index: BenchmarkIndex
    own: tuple[DocumentScorer, ...] = ()

    def score(self, text: str, url: str, opt_out: str | None) -> Scored:
        """Measure one document."""
        characters = Characters(text)
        found = layout(characters.codes)
        language = detect(text, self.arbitrate_language)
        pii = find_pii(characters, found, self.phone_regions)
        hits = self.index.find(characters)
        row = {
            "text_bytes": len(text.encode()),
            "language": language.code,
            "language_margin": language.margin,
            "language_arbitrated": language.arbitrated,
            **prose_scores(characters, found, language),
            "listed_url": self.url_list.has(url),
            "listed_words": self.word_list.count(characters.words),
            **opt_out_scores(opt_out),
            "quality": self.quality.probability(characters) if self.quality else 0.0,
            "contamination": max((hit.share for hit in hits), default=0.0),
            **{f"pii_{kind}": sum(finding.kind == kind for finding in pii) for kind in PII_KINDS},
        }
        return Scored(row, pii, hits)


def load_scorer(section: ScoreSection, pins: Mapping[str, Any], folder: Path) -> Scorer:
    """The scorer of `section`; its files lie relative to `folder`. Kept for the next shard of this process."""
    return _load(canonical_json(section.as_params()), canonical_json(pins), folder)


@lru_cache(maxsize=1)
def _load(section_json: str, pins_json: str, folder: Path) -> Scorer:
    import json

    section, pins = ScoreSection.model_validate_json(section_json), json.loads(pins_json)

    def listed(field: str) -> list[str]:
        files = zip(getattr(section, field), pins[field], strict=True)
        contents = [pinned_file(folder, path, digest).read_bytes() for path, digest in files]
        return [entry for content in contents for entry in list_entries(content)]

    quality = None
    if section.quality_model:
        file = pinned_file(folder, section.quality_model, pins["quality_model"])
        quality = load_classifier(file, section.quality_label)
    return Scorer(
        UrlList.of(listed("url_lists")),
        WordList.of(listed("word_lists")),
        section.arbitrate_language,
        tuple(section.phone_regions),
        quality,
        build_index(
            (item.name, *found)
            for item, digest in zip(section.decontaminate, pins["decontaminate"], strict=True)
            for found in read_benchmark(pinned_file(folder, item.path, digest), item)
        ),
        tuple(extension.make() for extension in restore(section.scorers, pins.get("scorers", ()), folder)),
    )
