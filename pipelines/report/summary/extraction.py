"""How much of the visible text of its pages a corpus has: by type of page, engine and domain."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

LOW_SHARE = 0.05
"""Share of the visible text of a domain's pages below which the domain is listed."""
_KEPT_SHARE = r'"kept_share": (?P<share>[0-9.]+)'
_PAGE_TYPE = r'"page_type": "(?P<type>\w+)"'


@dataclass
class Share:
    """Pages, and the sum of the shares of their visible text that were kept."""

    pages: int = 0
    total: float = 0.0

    @property
    def mean(self) -> float:
        return self.total / self.pages


@dataclass
class ExtractionSummary:
    """Shares of the visible text of pages that were extracted, by (page type, engine) and by domain."""

    by_kind: dict[tuple[str, str], Share] = field(default_factory=lambda: defaultdict(Share))
    by_domain: dict[str, Share] = field(default_factory=lambda: defaultdict(Share))

    def add(self, attributes: pa.ChunkedArray, engines: pa.ChunkedArray, domains: pa.ChunkedArray) -> None:
        """Count the documents of a shard, row by row."""
        shares = pc.struct_field(pc.extract_regex(attributes, _KEPT_SHARE), "share")
        pages = pa.table(
            {
                "share": pc.cast(shares, pa.float64()),
                "type": pc.fill_null(pc.struct_field(pc.extract_regex(attributes, _PAGE_TYPE), "type"), ""),
                "engine": engines,
                "domain": domains,
            }
        ).filter(pc.is_valid(shares))
        for row in _sums(pages, ["type", "engine"]):
            _add(self.by_kind[row["type"], row["engine"]], row)
        for row in _sums(pages.filter(pc.is_valid(pages["domain"])), ["domain"]):
            _add(self.by_domain[row["domain"]], row)

    @property
    def low_domains(self) -> list[tuple[str, Share]]:
        """Domains of whose pages less than LOW_SHARE is left, those with most pages first."""
        low = ((domain, share) for domain, share in self.by_domain.items() if share.mean < LOW_SHARE)
        return sorted(low, key=lambda each: (-each[1].pages, each[0]))


def _sums(pages: pa.Table, keys: list[str]) -> list[dict[str, Any]]:
    sums = pages.group_by(keys).aggregate([("share", "sum"), ("share", "count")])
    rows: list[dict[str, Any]] = sums.to_pylist()
    return rows


def _add(share: Share, row: Mapping[str, Any]) -> None:
    share.pages += int(row["share_count"])
    share.total += float(row["share_sum"])
