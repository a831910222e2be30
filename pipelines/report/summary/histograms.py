"""Distributions of the scores of a corpus' documents, with the limits of its filter."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.artifacts.scores import LIMITS, Limit

NUM_BINS = 40
_FRACTION = np.linspace(0.0, 1.0, NUM_BINS + 1)
_EDGES = {
    "words": np.concatenate([[0.0], np.geomspace(1.0, 1e6, NUM_BINS)]),
    "mean_word_length": np.linspace(0.0, 20.0, NUM_BINS + 1),
    "stop_words": np.arange(NUM_BINS + 1.0),
    "c4_sentences": np.concatenate([[0.0], np.geomspace(1.0, 1e4, NUM_BINS)]),
    "newlines_per_word": np.linspace(0.0, 2.0, NUM_BINS + 1),
    "listed_words": np.arange(NUM_BINS + 1.0),
}
"""Edges are fixed before a document is seen, so that shards are counted one after another."""
INACTIVE = {0.0, 1.0}
"""Limits of a fraction that drop nothing."""


@dataclass
class Histogram:
    """Documents by the score of one rule. `counts[i]`: scores of `edges[i]` or more and less than `edges[i + 1]`; the
    last bin holds larger ones too; `unmeasured`: documents that cannot have the score; `dropped`: by this rule."""

    rule: str
    limit: Limit
    threshold: float
    edges: np.ndarray
    counts: np.ndarray
    unmeasured: int = 0
    dropped: int = 0

    def add(self, scores: np.ndarray) -> None:
        """Count float64 [documents], NaN for one that cannot have the score."""
        measured = scores[~np.isnan(scores)]
        bins = np.searchsorted(self.edges, measured, side="right") - 1
        self.counts += np.bincount(np.clip(bins, 0, len(self.counts) - 1), minlength=len(self.counts))
        self.unmeasured += len(scores) - len(measured)


@dataclass
class Histograms:
    """Those of one corpus, by rule, in the order of the rules: only of limits that can drop a document."""

    by_rule: dict[str, Histogram] = field(default_factory=dict)

    @classmethod
    def of_limits(cls, limits: Mapping[str, Any]) -> "Histograms":
        """Empty ones for the parameters of a filter."""
        return cls(
            {
                rule: Histogram(rule, limit, float(limits[limit.field]), edges, np.zeros(len(edges) - 1, np.int64))
                for rule, limit in LIMITS.items()
                if limits.get(limit.field) is not None
                for edges in [_EDGES.get(limit.score, _FRACTION)]
                if not (limit.score not in _EDGES and float(limits[limit.field]) in INACTIVE)
            }
        )

    @property
    def columns(self) -> list[str]:
        """Columns of SCORES that are counted."""
        return list(dict.fromkeys(histogram.limit.score for histogram in self.by_rule.values()))

    def add(self, scores: pa.Table, reasons: np.ndarray) -> None:
        """Count the documents of one shard: its SCORES, and for each document the rule that dropped it or ""."""
        values = {name: scores[name].to_numpy().astype(np.float64) for name in self.columns}
        for rule, histogram in self.by_rule.items():
            histogram.add(values[histogram.limit.score])
            histogram.dropped += int((reasons == rule).sum())

    def most_dropping(self, count: int) -> Sequence[Histogram]:
        """The rules that dropped most documents; rules that dropped none are left out, but not all of them."""
        ranked = sorted(self.by_rule.values(), key=lambda histogram: -histogram.dropped)
        return [histogram for histogram in ranked[:count] if histogram.dropped] or ranked[:1]
