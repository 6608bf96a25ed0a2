"""In which order a graph's nodes may run: pure functions over nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from anabranch.compat.prefect1.nodes import Step


def ordered(nodes: Sequence[Step]) -> list[Step]:
    """Return nodes with all that each depends on before it, else in the order given; raises ValueError for a cycle."""
    found: dict[Step, None] = {}
    for root in nodes:
        open_: dict[Step, None] = {}  # on the way from the root
        stack = [(root, iter(root.inputs()))]
        open_[root] = None
        while stack:
            node, left = stack[-1]
            nearer = next((one for one in left if one not in found), None)
            if nearer is None:
                stack.pop()
                del open_[node]
                found[node] = None
            elif nearer in open_:
                raise ValueError(f"Cycle found; flows must be acyclic: {nearer.name} depends on itself")
            else:
                open_[nearer] = None
                stack.append((nearer, iter(nearer.inputs())))
    return list(found)


def terminal(nodes: Iterable[Step]) -> set[Step]:
    """Return the nodes that nothing depends on."""
    nodes = list(nodes)
    return set(nodes) - {upstream for node in nodes for upstream in node.inputs()}


def roots(nodes: Iterable[Step]) -> set[Step]:
    """Return the nodes that depend on nothing."""
    return {node for node in nodes if not node.inputs()}
