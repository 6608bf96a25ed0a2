"""The tasks of a flow run as a graph: from left to right, each behind what it reads.

    {"load": (), "clean": ("load",), "total": ("clean", "load")} --layers--> [["load"], ["clean"], ["total"]]

`layers` is for any drawing; `html` draws with boxes, which notebooks that are not trusted keep.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from anabranch.display import markup, strips, units

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anabranch.core.task_graphs import TaskNode

MOST = 40  # tasks that are drawn
_LAYER = "display:inline-block;vertical-align:middle;padding:0 4px 0 0"
_BOX = "border:1px solid rgba(128,128,128,0.6);border-radius:4px;padding:2px 8px;margin:4px 0;white-space:nowrap"
_KINDS = {"map": ("item", "items"), "call": ("call", "calls"), "flow": ("subflow", "subflows")}


def layers(upstreams: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """Return the nodes in layers: each node stands behind all that it reads, as far to the left as that allows.

    Args:
        upstreams: the nodes that each node reads. Unknown ones, and a node's own, do not count; of a ring of nodes the
            arrow that closes it, in their order, does not count either.

    Within a layer, nodes stand near what they read.
    """
    order = _without_rings(upstreams)
    depth: dict[str, int] = {}
    for node in order:
        depth[node] = 1 + max((depth[up] for up in upstreams[node] if up in depth and up != node), default=-1)
    found: list[list[str]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for node in upstreams:
        found[depth[node]].append(node)
    place: dict[str, float] = {}
    for layer in found:
        if place:
            layer.sort(key=lambda node: _mean([place[up] for up in upstreams[node] if up in place]))
        place.update((node, number - (len(layer) - 1) / 2) for number, node in enumerate(layer))
    return found


def _mean(places: list[float]) -> float:
    return sum(places) / len(places) if places else 0.0


def _without_rings(upstreams: Mapping[str, Sequence[str]]) -> list[str]:
    """Return all nodes, each behind what it reads, but for arrows that close a ring. No recursion: chains are long."""
    found: dict[str, None] = {}
    for first in upstreams:
        stack, entered = [first], {first}
        while stack:
            node = stack[-1]
            known = (up for up in upstreams[node] if up in upstreams)
            left = next((up for up in known if up not in found and up not in entered), None)
            if left is None:
                found[stack.pop()] = None
            else:
                entered.add(left)
                stack.append(left)
    return list(found)


def html(nodes: Sequence[TaskNode]) -> str:
    """Return the graph: a column a layer, a box a task with the counts of its runs."""
    drawn = nodes[:MOST]
    by_name = {node.task: node for node in drawn}
    columns = layers({node.task: node.upstreams for node in drawn})
    cells = []
    for number, layer in enumerate(columns):
        if number:
            cells.append(f'<div style="{_LAYER}">→</div>')
        before = columns[number - 1] if number else []
        boxes = "".join(_box(by_name[name], before) for name in layer)
        cells.append(f'<div style="{_LAYER}">{boxes}</div>')
    more = len(nodes) - len(drawn)
    boxes = f'<div style="overflow-x:auto;white-space:nowrap">{"".join(cells)}</div>' if cells else ""
    return boxes + markup.line(f"and {units.count(more)} more tasks" if more > 0 else "")


def text(nodes: Sequence[TaskNode]) -> str:
    """Return ``load > clean > total``, for readers without the picture; tasks of one layer stand side by side."""
    columns = layers({node.task: node.upstreams for node in nodes[:MOST]})
    return " > ".join(", ".join(layer) for layer in columns)


def _box(node: TaskNode, before: Sequence[str]) -> str:
    counts = strips.counted(node.counts)
    runs = sum(counts)
    one, several = _KINDS.get(node.kind, ("run", "runs"))
    what = f"{units.count(runs)} {one if runs == 1 else several}"
    if node.maps > 1 and node.kind == "map":
        what = f"{what} in {units.count(node.maps)} maps"
    read = [up for up in node.upstreams if up != node.task]
    lines = [f'<b>{escape(markup.cut(node.task, 40))}</b> <span style="{markup.FAINT}">{escape(what)}</span>']
    if read and list(before) != read:  # the arrow does not tell it
        lines.append(f'<span style="{markup.FAINT}">reads {escape(markup.cut(", ".join(read), 80))}</span>')
    if node.task in node.upstreams:
        lines.append(f'<span style="{markup.FAINT}">and its own runs</span>')
    return f'<div style="{_BOX}">{"<br>".join(lines)}{markup.legend(counts)}</div>'
