"""One run of a flow as hooks, signals and the flow around it see it: its names and times, its scope, its cancel."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from anabranch.core.counts import Counts
from anabranch.core.observing import RunSeen
from anabranch.core.showing import Facts, Shown
from anabranch.core.states import Pending, State
from anabranch.core.task_graphs import graph_of
from anabranch.runs.cancellation import Cancellation

if TYPE_CHECKING:
    from anabranch.core.context import FlowContext
    from anabranch.core.maps import MapRun
    from anabranch.core.runs import FlowRunRow
    from anabranch.core.task_graphs import TaskNode
    from anabranch.driver.scope import Scope
    from anabranch.runs.definition import FlowDefinition
    from anabranch.runs.signals import Kind
    from anabranch.session import Session


@dataclass(eq=False, repr=False)
class FlowRun(Shown):
    """One run of a flow, as hooks see it.

    Attributes:
        parent: the flow run around it, None for an outermost one.
        here: the context of the code that belongs to it.
        attempt: the number of its last attempt, which continues those of an earlier driver; 0 before the first one.
        ended_by: the signal that ended it.
        over: set once it has ended, and its end is recorded.
        ordered: other programs may wait for its value.
    """

    flow: FlowDefinition
    session: Session
    id: str
    name: str
    parameters: dict[str, Any]
    tags: tuple[str, ...]
    parent: FlowContext | None
    scope: Scope
    row: FlowRunRow
    here: FlowContext
    attempt: int = 0
    state: State = field(default_factory=Pending)
    ended_by: Kind | None = None
    over: threading.Event = field(default_factory=threading.Event)
    ordered: bool = False

    def __post_init__(self) -> None:
        self.cancellation = Cancellation(self.name)
        self._graph: tuple[TaskNode, ...] = ()

    def __repr__(self) -> str:
        return f"<FlowRun {self.name!r} of {self.flow.name!r}: {self.state.name}>"

    def facts(self) -> Facts:
        """Return what a notebook shows of it, with the tasks that it has run: as of now, or as of its end."""
        row = self.row
        took = None if row.started is None else (row.ended or self.session.clock.time()) - row.started
        attempt = self.attempt if self.attempt > 1 else None
        rows = (
            ("flow", self.flow.name, ""), ("took", took, "s"), ("attempt", attempt, ""), ("runner", row.runner, ""),
            ("said", self.state.message, ""),
        )  # fmt: skip
        if not self.over.is_set():
            self._graph = graph_of([_Ran.of(map) for map in tuple(self.scope.endings.maps)])
        return Facts("flow run", self.name, self.state.name, rows, graph=self._graph)

    @property
    def seen(self) -> RunSeen:
        """The run as observers see it."""
        fn, parent = self.flow.plain_fn, self.parent
        function = f"{getattr(fn, '__module__', '')}.{getattr(fn, '__qualname__', self.flow.name)}"
        return RunSeen(self.id, self.name, self.flow.name, self.row.runner, parent.id if parent else "", function)

    @property
    def isasync(self) -> bool:
        return self.flow.isasync

    @property
    def flow_name(self) -> str:
        return self.flow.name

    @property
    def flow_run_id(self) -> str:
        """Its own id, under the name that a task run has for it, so that one hook may serve both."""
        return self.id

    @property
    def flow_run_name(self) -> str:
        return self.name

    @property
    def run_count(self) -> int:
        return self.attempt

    @property
    def start_time(self) -> float:
        """Unix seconds of its start, 0.0 before."""
        return self.row.started or 0.0

    @property
    def end_time(self) -> float:
        return self.row.ended or 0.0

    def cancel(self, by: str = "request") -> bool:
        """Cancel the run from elsewhere: no item begins any more, and its function is told at its next step.

        Returns whether it ends as cancelled, whatever its function does; False: its end was decided before.
        """
        if not self.cancellation.ask():
            return False
        self.scope.given_up = self.scope.given_up or by
        self.cancellation.tell()
        self.scope.endings.cancel_all(by=by)
        return True


class _Ran(NamedTuple):
    """A map or a series of a flow run, for its graph. See `core.task_graphs.MapLike`."""

    id: str
    task: str
    kind: str
    counts: dict[str, int]
    upstreams: tuple[str, ...]

    @classmethod
    def of(cls, map: MapRun) -> _Ran:
        return cls(map.id, map.spec.name, map.kind, Counts(map.codes).as_dict(), tuple(map.header.upstreams))
