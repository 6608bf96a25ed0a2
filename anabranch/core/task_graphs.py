"""Which tasks of a flow run read which others: a node a task, however many maps and runs it had."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class MapLike(Protocol):
    """A map or a series of single runs: a row of the record."""

    @property
    def id(self) -> str: ...
    @property
    def task(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def counts(self) -> Mapping[str, int]: ...
    @property
    def upstreams(self) -> tuple[str, ...]: ...


@dataclass(slots=True)
class TaskNode:
    """All runs of one task in a flow run.

    Attributes:
        kind: "map", "submit", "call", or "flow" for submitted subflows; of the first of them.
        maps: how many maps and series of single runs.
        counts: runs by the name of their state.
        upstreams: names of the tasks that they read or wait for; its own, where a chain of runs was made of it.
    """

    task: str
    kind: str
    maps: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    upstreams: tuple[str, ...] = ()


def graph_of(maps: Iterable[MapLike]) -> tuple[TaskNode, ...]:
    """Return the tasks of these maps, in the order of their first ones."""
    nodes: dict[str, TaskNode] = {}
    tasks: dict[str, str] = {}
    rows = list(maps)
    for row in rows:
        tasks[row.id] = row.task
        node = nodes.setdefault(row.task, TaskNode(row.task, row.kind))
        node.maps += 1
        for name, n in row.counts.items():
            node.counts[name] = node.counts.get(name, 0) + n
    for row in rows:
        node = nodes[row.task]
        read = (tasks[up] for up in row.upstreams if up in tasks)  # those of another flow run are not in this one
        node.upstreams = tuple(dict.fromkeys((*node.upstreams, *read)))
    return tuple(nodes.values())
