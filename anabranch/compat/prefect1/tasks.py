"""What Prefect 1's tasks have besides those of Prefect 3: `run`, which subclasses define, and their edges."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anabranch.compat.prefect1 import running
from anabranch.compat.prefect1.nodes import Edges, call_of, flow_here

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.compat.prefect1.nodes import Graph, Node


def nothing() -> None:
    """What a Task without a function runs: `Task(state_handlers=[...])`."""


nothing.__name__ = nothing.__qualname__ = "Task"
UNSET: Any = object()


class OlderTask(Edges):
    """The methods of Prefect 1's Task."""

    fn: Any

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function itself; a subclass has its work here."""
        return self.fn(*args, **kwargs)

    @property
    def logger(self) -> Any:
        """The logger of the run around this code."""
        return running.logger()

    def bind(self, *args: Any, flow: Graph | None = None, **kwargs: Any) -> Node:
        """Note a call of it in a flow."""
        return call_of(flow or flow_here(), self, args, kwargs)

    def _own_function(self) -> Callable[..., Any]:
        """Return what a task runs that was made without a function."""
        return nothing if type(self).run is OlderTask.run else self.run


def rebuilt(kind: type[Any], given: Any, own: dict[str, Any]) -> Any:
    """Return a task of a subclass with `run`, as it was pickled."""
    made: Any = object.__new__(kind)
    made.__dict__.update(own)
    made._take(made.run, given)
    return made
