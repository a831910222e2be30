"""Everything that is measured on one text, from one pass over it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from pipelines.artifacts.scores import PII_KINDS
from pipelines.score.contamination import BenchmarkIndex, Hit
from pipelines.score.own import DocumentScorer
from pipelines.score.quality.classifier import Classifier
from pipelines.score.safety.lists import UrlList, WordList
from pipelines.score.safety.opt_out import opt_out_scores
from pipelines.score.safety.pii import Finding, find_pii
from pipelines.score.text.characters import Characters
from pipelines.score.text.language import detect
from pipelines.score.text.layout import layout
from pipelines.score.text.prose import prose_scores


class Scored(NamedTuple):
    """`row`: the columns of SCORES but `doc_id`; `pii`, `hits`: rows of the sidecars."""

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
        page_layout = layout(characters.codes)
        language = detect(text, self.arbitrate_language)
        pii = find_pii(characters, page_layout, self.phone_regions)
        hits = self.index.find(characters)
        row = {
            "text_bytes": len(text.encode()),
            "language": language.code,
            "language_margin": language.margin,
            "language_arbitrated": language.arbitrated,
            **prose_scores(characters, page_layout, language),
            "listed_url": self.url_list.has(url),
            "listed_words": self.word_list.count(characters.words),
            **opt_out_scores(opt_out),
            "quality": self.quality.probability(characters) if self.quality else 0.0,
            "contamination": max((hit.share for hit in hits), default=0.0),
            **{f"pii_{kind}": sum(finding.kind == kind for finding in pii) for kind in PII_KINDS},
        }
        return Scored(row, pii, hits)
