"""The graph of the run as inline SVG: a column for each kind of stage, a box for each stage."""

from collections.abc import Mapping, Sequence
from html import escape

from infra.artifact import Manifest

BOX_WIDTH, BOX_HEIGHT = 128, 46
COLUMN_WIDTH, ROW_HEIGHT = 158, 62
HEADER = 30
LABEL_CHARACTERS = 17


def draw(manifests: Sequence[Manifest]) -> str:
    """An `<svg>` of all stages with key and seconds, and the edges that no other path implies."""
    positions = layout(manifests)
    width = COLUMN_WIDTH * (1 + max(x for x, _ in positions.values())) - COLUMN_WIDTH + BOX_WIDTH
    height = HEADER + ROW_HEIGHT * (1 + max(y for _, y in positions.values()))
    titles = {manifest.name: positions[manifest.key][0] for manifest in manifests}
    parts = [
        *(_title(name, column) for name, column in titles.items()),
        *(_edge(positions[start], positions[end]) for start, end in essential_edges(manifests)),
        *(_box(manifest, positions[manifest.key]) for manifest in manifests),
    ]
    return (
        f'<svg class="dag" role="img" aria-label="graph of the stages" viewBox="0 0 {width:g} {height:g}">'
        + "".join(parts)
        + "</svg>"
    )


def layout(manifests: Sequence[Manifest]) -> dict[str, tuple[float, float]]:
    """(column, row) of each stage by key; columns by kind, in the order in which work flows, rows centred."""
    depths = _depths(manifests)
    kinds: dict[str, list[Manifest]] = {}
    for manifest in manifests:
        kinds.setdefault(manifest.name, []).append(manifest)
    tallest = max(len(members) for members in kinds.values())
    ordered = sorted(kinds, key=lambda name: (min(depths[member.key] for member in kinds[name]), name))
    return {
        member.key: (float(column), row + (tallest - len(kinds[name])) / 2)
        for column, name in enumerate(ordered)
        for row, member in enumerate(sorted(kinds[name], key=lambda member: _natural(member.subject)))
    }


def essential_edges(manifests: Sequence[Manifest]) -> list[tuple[str, str]]:
    """(from, to) keys of the transitive reduction, in the order of the manifests and of their inputs."""
    inputs = _inputs(manifests)
    ancestors: dict[str, set[str]] = {}
    for key in sorted(inputs, key=_depths(manifests).__getitem__):
        ancestors[key] = set(inputs[key]).union(*(ancestors[upstream] for upstream in inputs[key]))
    return [
        (upstream, key)
        for key, upstreams in inputs.items()
        for upstream in upstreams
        if not any(upstream in ancestors[other] for other in upstreams)
    ]


def _inputs(manifests: Sequence[Manifest]) -> dict[str, list[str]]:
    keys = {manifest.key for manifest in manifests}
    return {
        manifest.key: [key for key in dict.fromkeys(manifest.inputs.values()) if key in keys] for manifest in manifests
    }


def _depths(manifests: Sequence[Manifest]) -> Mapping[str, int]:
    """Longest path from a stage without inputs."""
    inputs = _inputs(manifests)
    depths: dict[str, int] = {}

    def depth(key: str) -> int:
        if key not in depths:
            depths[key] = 1 + max((depth(upstream) for upstream in inputs[key]), default=-1)
        return depths[key]

    for key in inputs:
        depth(key)
    return depths


def _natural(subject: str) -> tuple[int, str]:
    return (int(subject), "") if subject.isdigit() else (0, subject)


def _corner(position: tuple[float, float]) -> tuple[float, float]:
    return position[0] * COLUMN_WIDTH, HEADER + position[1] * ROW_HEIGHT


def _title(name: str, column: float) -> str:
    return f'<text class="kind" x="{column * COLUMN_WIDTH:g}" y="14">{escape(name)}</text>'


def _box(manifest: Manifest, position: tuple[float, float]) -> str:
    x, y = _corner(position)
    label = f"phase {manifest.subject}" if manifest.subject.isdigit() else manifest.subject or manifest.name
    short = label if len(label) <= LABEL_CHARACTERS else f"{label[: LABEL_CHARACTERS - 1]}…"
    return (
        f"<g><title>{escape(manifest.id)}</title>"
        f'<rect x="{x:g}" y="{y:g}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="6"/>'
        f'<text class="subject" x="{x + 10:g}" y="{y + 19:g}">{escape(short)}</text>'
        f'<text class="key" x="{x + 10:g}" y="{y + 36:g}">{escape(manifest.key[:7])}</text>'
        f'<text class="seconds" x="{x + BOX_WIDTH - 10:g}" y="{y + 36:g}">{manifest.seconds:.1f} s</text></g>'
    )


def _edge(start: tuple[float, float], end: tuple[float, float]) -> str:
    (left, top), (right, bottom) = _corner(start), _corner(end)
    if start[0] == end[0]:
        middle = left + BOX_WIDTH / 2
        return f'<path d="M{middle:g} {top + BOX_HEIGHT:g}V{bottom:g}"/>'
    left, top, bottom = left + BOX_WIDTH, top + BOX_HEIGHT / 2, bottom + BOX_HEIGHT / 2
    bend = (right - left) / 2
    return f'<path d="M{left:g} {top:g}C{left + bend:g} {top:g} {right - bend:g} {bottom:g} {right:g} {bottom:g}"/>'
