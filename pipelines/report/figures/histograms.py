"""A small histogram of a score with the limit that the filter puts on it, as SVG in the colours of the page."""

from html import escape

import numpy as np

from pipelines.report.summary.histograms import Histogram

WIDTH, HEIGHT, FLOOR = 260, 96, 78
"""Of the drawing, and the height of the base line of the bars, in units of the SVG."""


def draw(histogram: Histogram) -> str:
    """Heights are logarithmic, so that a few documents can be seen next to thousands. Bars of documents that the limit
    drops have their own colour, and one through which it goes is of both."""
    first, last = _shown(histogram)
    counts, edges = histogram.counts[first:last], histogram.edges[first : last + 1]
    heights = np.log1p(counts) / max(np.log1p(counts.max(initial=0)), 1e-9) * (FLOOR - 16)
    positions = np.linspace(0, WIDTH, last - first + 1)
    line = float(np.interp(histogram.threshold, edges, positions))
    parts = [
        part
        for left, right, height, count in zip(positions[:-1], positions[1:], heights, counts, strict=True)
        if count
        for part in _bars(left + 0.5, right - 0.5, height, line, is_minimum=histogram.limit.is_minimum)
    ]
    is_right = line > WIDTH / 2
    anchor, shift = ("end", -4) if is_right else ("start", 4)
    label = f"{histogram.limit.score.replace('_', ' ')}, {int(counts.sum()):,} documents, limit {histogram.threshold:g}"
    return (
        f'<svg class="histogram" role="img" aria-label="{escape(label)}" viewBox="0 0 {WIDTH} {HEIGHT}">'
        + "".join(parts)
        + f'<line class="axis" x1="0" x2="{WIDTH}" y1="{FLOOR}" y2="{FLOOR}"/>'
        + f'<line x1="{line:.1f}" x2="{line:.1f}" y1="2" y2="{FLOOR + 4}"/>'
        + f'<text class="limit" x="{line + shift:.1f}" y="11" text-anchor="{anchor}">{histogram.threshold:g}</text>'
        + f'<text x="0" y="{HEIGHT - 3}">{_number(edges[0])}</text>'
        + f'<text x="{WIDTH}" y="{HEIGHT - 3}" text-anchor="end">{_number(edges[-1])}</text></svg>'
    )


def _shown(histogram: Histogram) -> tuple[int, int]:
    """First and last bin that hold documents or the limit, with one empty one on either side."""
    full = np.flatnonzero(histogram.counts)
    limit = int(np.searchsorted(histogram.edges, histogram.threshold, side="right")) - 1
    bins = [*full[[0, -1]], limit] if len(full) else [limit]
    return max(0, int(min(bins)) - 1), min(len(histogram.counts), int(max(bins)) + 2)


def _bars(left: float, right: float, height: float, line: float, *, is_minimum: bool) -> list[str]:
    before, after = ("out", "kept") if is_minimum else ("kept", "out")
    spans = [(left, min(right, line), before), (max(left, line), right, after)]
    return [
        f'<rect class="{css}" x="{start:.1f}" y="{FLOOR - height:.1f}" width="{end - start:.1f}" '
        f'height="{height:.1f}"/>'
        for start, end, css in spans
        if end > start
    ]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.2g}"
