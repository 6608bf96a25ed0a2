"""Prefect 1's branches: `case`, `switch`, `ifelse` skip the branches that are not taken, `merge` joins them."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, Self

from anabranch.compat.prefect1.nodes import Node, Parameter, Step, call_of, flow_here, mapped_over, note
from anabranch.compat.prefect1.signals import SKIP
from anabranch.tasks import Task

_around: ContextVar[tuple[case, ...]] = ContextVar("anabranch_prefect1_case", default=())


class case:
    """Tasks that are called in this block run only where a value is that one; else they are skipped.

    Args:
        task: its value is compared.
    """

    def __init__(self, task: Any, value: Any) -> None:
        if isinstance(value, Step):
            raise TypeError("`value` cannot be a task")
        self.task, self.value = task, value
        self._inside: list[Step] = []
        self._outer: list[Any] = []

    def __enter__(self) -> Self:
        flow_here()
        if mapped_over.get() is not None:
            raise NotImplementedError("anabranch has no case in apply_map: branch inside of a task that it calls")
        self._outer.append(_around.set((*_around.get(), self)))
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        _around.reset(self._outer.pop())
        if kind is not None or not self._inside:
            return
        chosen = _comparison(self.task, self.value)
        inside = set(self._inside)
        for step in self._inside:
            if not inside.intersection(step.inputs()):
                step.upstream.append(chosen)

    def add(self, step: Step) -> None:
        """Take a task that was called in the block."""
        if not isinstance(step, Parameter):
            self._inside.append(step)


def constrain(step: Step) -> None:
    """Let a new node be skipped with the innermost `case` block around."""
    around = _around.get()
    if around and isinstance(step, Node):
        around[-1].add(step)


def switch(condition: Any, cases: dict[Any, Any], mapped: bool = False) -> None:
    """Run the task under the condition's value; the others are skipped.

    Raises NotImplementedError for `mapped=True`.
    """
    if mapped:
        raise NotImplementedError("anabranch has no switch(mapped=True): branch inside of the task that is mapped")
    flow = flow_here()
    for value, task in cases.items():
        flow.add_edge(_comparison(condition, value), task)


def ifelse(condition: Any, true_task: Any, false_task: Any, mapped: bool = False) -> None:
    """Run one task where a condition is true, another one where it is not; None: nothing."""
    whether = note(bool, flow_here().step(condition), name="as_bool")
    switch(whether, {value: task for value, task in ((True, true_task), (False, false_task)) if task is not None})


def merge(*tasks: Any, flow: Any = None, mapped: bool = False, checkpoint: bool | None = None) -> Node:
    """Return the value of the first task that was not skipped; skipped if all were."""
    flow = flow or flow_here()
    token = _around.set(())  # it joins branches, so it is in none
    try:
        joined = tuple(flow.step(one) for one in tasks)
        return call_of(flow, Task(_first, {"name": "Merge"}), joined, {"mapped": mapped}, skipped_by="all")
    finally:
        _around.reset(token)


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _comparison(task: Any, value: Any) -> Node:
    return note(_compared, flow_here().step(task), value, name=f'CompareValue: "{value}"')


def _compared(found: Any, value: Any) -> None:
    if found != value:
        raise SKIP(f'Provided value "{found}" did not match "{value}"')


__all__ = ["case", "ifelse", "merge", "switch"]
