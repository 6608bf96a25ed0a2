"""Prefect 1's `apply_map`: a function that calls several tasks, each of which is mapped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anabranch.compat.prefect1 import nodes
from anabranch.core.annotations import unmapped

if TYPE_CHECKING:
    from collections.abc import Callable


def _same(value: Any) -> Any:
    return value


def apply_map(func: Callable[..., Any], *args: Any, flow: Any = None, **kwargs: Any) -> Any:
    """Call a function with tasks in a flow; what it calls on them runs once for each element.

    Args:
        args, kwargs: tasks and lists, which are mapped over; `unmapped(...)` goes to all calls as it is.

    Raises NotImplementedError for a `case` in the function.
    """
    here = flow or nodes.flow_here()
    over: set[nodes.Step] = set()

    def node(value: Any) -> Any:
        if isinstance(value, unmapped):
            return value.value
        if isinstance(value, nodes.flatten):
            found: nodes.Step = nodes.note(nodes._flattened, value.value)
        elif isinstance(value, nodes.Step) or hasattr(value, "plain_fn"):
            found = here.step(value)
        else:
            found = nodes.note(_same, value, name="Constant")
        over.add(found)
        return found

    flow_before = nodes.current.set(here)
    try:
        places, names = [node(one) for one in args], {name: node(one) for name, one in kwargs.items()}
        token = nodes.mapped_over.set(over)
        try:
            return func(*places, **names)
        finally:
            nodes.mapped_over.reset(token)
    finally:
        nodes.current.reset(flow_before)


__all__ = ["apply_map"]
