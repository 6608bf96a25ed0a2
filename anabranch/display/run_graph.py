"""The nodes of a run as a graph (SVG): a box each, an arrow from what is read to what reads it."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from anabranch.display import graphs, markup, strips, units

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anabranch.display.graphs import Node

MOST = 120  # boxes
_TIP = (
    '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path class="tip" d="M0 0L8 4L0 8Z"/></marker></defs>'
)
WIDE, TALL, GAP_X, GAP_Y, EDGE = 170, 46, 56, 14, 10


def graph_svg(nodes: Sequence[Node]) -> str:
    """Return the graph of the first `MOST` nodes.

    Arrows lie below the boxes. One that passes over a column is an arc of its own, between the lower edges.
    """
    shown = {node.id: node for node in nodes[:MOST]}
    known = {id: tuple(up for up in node.upstreams if up in shown) for id, node in shown.items()}
    columns = graphs.layers(known)
    deepest = max((len(column) for column in columns), default=0)
    height: float = 2 * EDGE + deepest * (TALL + GAP_Y) - GAP_Y
    place: dict[str, tuple[float, float]] = {}
    for number, column in enumerate(columns):
        top = (height - len(column) * (TALL + GAP_Y) + GAP_Y) / 2
        for row, id in enumerate(column):
            place[id] = (EDGE + number * (WIDE + GAP_X), top + row * (TALL + GAP_Y))
    width = 2 * EDGE + len(columns) * (WIDE + GAP_X) - GAP_X
    level = {id: number for number, ids in enumerate(columns) for id in ids}
    ends = [(up, id, level[id] - level[up]) for id, ups in known.items() for up in ups if up != id]
    arrows = [_arc(place[up], place[id], far) if far > 1 else _arrow(place[up], place[id]) for up, id, far in ends]
    height += 0.75 * _sag(max((far for _, _, far in ends), default=0))
    boxes = [_box(shown[id], *at) for id, at in place.items()]
    label = "What reads what: " + " > ".join(", ".join(shown[id].name for id in column) for column in columns)
    return (
        f'<svg class="graph" role="img" aria-label="{escape(label[:1000])}" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" style="min-width:{width * 0.6:g}px">{_TIP}'
        f"{''.join(arrows)}{''.join(boxes)}</svg>"
    )


def _arrow(start: tuple[float, float], end: tuple[float, float]) -> str:
    x, y, to_x, to_y = start[0] + WIDE, start[1] + TALL / 2, end[0] - 1, end[1] + TALL / 2
    bend = max(20.0, min(GAP_X, abs(to_x - x)) / 2)
    return (
        f'<path class="arrow" marker-end="url(#head)" d="M{x:g} {y:g}C{x + bend:g} {y:g} {to_x - bend:g} {to_y:g} '
        f'{to_x:g} {to_y:g}"/>'
    )


def _sag(far: int) -> float:
    """Return how far below the boxes the control points of an arc over so many columns lie."""
    return 16.0 + 6 * min(far, 12) if far > 1 else 0.0


def _arc(start: tuple[float, float], end: tuple[float, float], far: int) -> str:
    x, y, to_x, to_y = start[0] + WIDE - 10, start[1] + TALL, end[0] + 10, end[1] + TALL + 1
    low = max(y, to_y) + _sag(far)
    return (
        f'<path class="arrow" marker-end="url(#head)" d="M{x:g} {y:g}C{x + 30:g} {low:g} {to_x - 30:g} {low:g} '
        f'{to_x:g} {to_y:g}"/>'
    )


def _box(node: Node, x: float, y: float) -> str:
    counts, total = node.counts, max(1, sum(node.counts))
    name = markup.cut(node.name, 22)
    at, bars = x + 8, []
    for kind, count in enumerate(counts):
        if count:
            wide = max(2.0, (WIDE - 16) * count / total)
            bars.append(f'<rect class="k{kind}" x="{at:.1f}" y="{y + TALL - 10}" width="{wide:.1f}" height="5"/>')
            at = min(at + wide, x + WIDE - 10)
    bad = sum(counts[strips.BAD + 1 :])
    place = f'x="{x + WIDE - 8:g}" y="{y + 17:g}" text-anchor="end"'
    mark = f'<text class="bad" {place}>✗ {units.count(bad)}</text>' if bad else ""
    title = f"<title>{escape(f'{node.name}: {node.what}: {strips.told(counts)}')}</title>"
    return (
        f'<g>{title}<rect class="box" x="{x:g}" y="{y:g}" width="{WIDE}" height="{TALL}" rx="4"/><text x="{x + 8:g}" '
        f'y="{y + 17:g}"><tspan class="b">{escape(name)}</tspan></text><text class="t" x="{x + 8:g}" y="{y + 31:g}">'
        f"{escape(node.what)}</text>{mark}{''.join(bars)}</g>"
    )
