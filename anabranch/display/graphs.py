"""The tasks of a flow run as a graph: from left to right, each behind what it reads.

    {"load": (), "clean": ("load",), "total": ("clean", "load")} --layers--> [["load"], ["clean"], ["total"]]

`layers` is for any drawing; `html` draws with boxes, which notebooks that are not trusted keep.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, TypeVar

from anabranch.display import markup, strips, units

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from anabranch.core.task_graphs import TaskNode

N = TypeVar("N", bound="Hashable")
MOST = 40  # tasks that are drawn
_LAYER = "display:inline-block;vertical-align:middle;padding:0 4px 0 0"
_BOX = "border:1px solid rgba(128,128,128,0.6);border-radius:4px;padding:2px 8px;margin:4px 0;white-space:nowrap"
_KINDS = {"map": ("item", "items"), "call": ("call", "calls"), "flow": ("subflow", "subflows")}


@dataclass(slots=True)
class Node:
    """One box.

    Attributes:
        name: a task, a map, or one run.
        what: "map of 100", "100 runs".
        counts: runs by their kinds, see `strips.KINDS`.
        upstreams: ids of the nodes that it reads or waits for, its own where its runs read each other.
    """

    id: str
    name: str
    what: str
    counts: tuple[int, ...]
    upstreams: tuple[str, ...]


def layers(upstreams: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """Return the nodes in layers: each node stands behind all that it reads, as far to the left as that allows.

    Args:
        upstreams: the nodes that each node reads. Unknown ones, and a node's own, do not count; of a ring of nodes the
            arrow that closes it, in their order, does not count either.

    Within a layer, nodes stand near what they read.
    """
    order = ordered(upstreams)
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


def ordered(upstreams: Mapping[N, Sequence[N]]) -> list[N]:
    """Return all nodes, each behind what it reads, but for arrows that close a ring. No recursion: chains are long."""
    found: dict[N, None] = {}
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
    """Return the graph of tasks: a column a layer, a box a task with the counts of its runs."""
    return boxes([_of_task(node) for node in nodes], "tasks")


def boxes(nodes: Sequence[Node], word: str) -> str:
    """Return the graph: a column a layer, a box a node; `word` says what nodes beyond the first `MOST` are."""
    drawn = nodes[:MOST]
    by_id = {node.id: node for node in drawn}
    columns = layers({node.id: node.upstreams for node in drawn})
    cells = []
    for number, layer in enumerate(columns):
        if number:
            cells.append(f'<div style="{_LAYER}">→</div>')
        before = columns[number - 1] if number else []
        inside = "".join(_box(by_id[id], before, by_id) for id in layer)
        cells.append(f'<div style="{_LAYER}">{inside}</div>')
    more = len(nodes) - len(drawn)
    picture = f'<div style="overflow-x:auto;white-space:nowrap">{"".join(cells)}</div>' if cells else ""
    return picture + markup.line(f"and {units.count(more)} more {word}" if more > 0 else "")


def text(nodes: Sequence[TaskNode]) -> str:
    """Return ``load > clean > total``, for readers without the picture; tasks of one layer stand side by side."""
    columns = layers({node.task: node.upstreams for node in nodes[:MOST]})
    return " > ".join(", ".join(layer) for layer in columns)


def _of_task(node: TaskNode) -> Node:
    counts = strips.counted(node.counts)
    runs = sum(counts)
    one, several = _KINDS.get(node.kind, ("run", "runs"))
    what = f"{units.count(runs)} {one if runs == 1 else several}"
    if node.maps > 1 and node.kind == "map":
        what = f"{what} in {units.count(node.maps)} maps"
    return Node(node.task, node.task, what, tuple(counts), node.upstreams)


def _box(node: Node, before: Sequence[str], known: Mapping[str, Node]) -> str:
    read = [up for up in node.upstreams if up != node.id]
    lines = [f'<b>{escape(markup.cut(node.name, 40))}</b> <span style="{markup.FAINT}">{escape(node.what)}</span>']
    if read and list(before) != read:  # the arrow does not tell it
        names = ", ".join(known[up].name if up in known else up for up in read)
        lines.append(f'<span style="{markup.FAINT}">reads {escape(markup.cut(names, 80))}</span>')
    if node.id in node.upstreams:
        lines.append(f'<span style="{markup.FAINT}">and its own runs</span>')
    return f'<div style="{_BOX}">{"<br>".join(lines)}{markup.legend(node.counts)}</div>'
