"""Prefect 1's `resource_manager`: a resource that is set up before the tasks of a block and cleaned up after them.

    with manager(...) as resource:      three nodes: init --> setup --> the block's tasks --> cleanup
        task(resource)

The cleanup runs however the block's tasks end, unless there is no resource.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from anabranch.compat.prefect1.nodes import Node, Parameter, Step, call_of, flow_here
from anabranch.compat.prefect1.signals import FAIL, SKIP
from anabranch.compat.prefect1.states import Skip
from anabranch.engine.triggers import all_finished
from anabranch.tasks import Task

if TYPE_CHECKING:
    from collections.abc import Callable

CLEANUP = "resource_cleanup"  # marks a cleanup among the reference tasks
_around: ContextVar[tuple[ResourceBlock, ...]] = ContextVar("anabranch_prefect1_resource", default=())


class ResourceManager:
    """What `resource_manager` makes of a class with `setup` and `cleanup(resource)`.

    Args:
        name: of its tasks; by default that of the class.
        init_task_kwargs, setup_task_kwargs, cleanup_task_kwargs: options of its tasks; of these the name is used.
    """

    def __init__(
        self, kind: Callable[..., Any], name: str | None = None, init_task_kwargs: dict[str, Any] | None = None,
        setup_task_kwargs: dict[str, Any] | None = None, cleanup_task_kwargs: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        self.resource_class = kind
        self.name = name or getattr(kind, "__name__", "resource")
        given = (init_task_kwargs, setup_task_kwargs, cleanup_task_kwargs)
        self._names = tuple(
            (one or {}).get("name") or f"{self.name}{suffix}"
            for one, suffix in zip(given, ("", ".setup", ".cleanup"), strict=True)
        )

    def __call__(self, *args: Any, flow: Any = None, **kwargs: Any) -> ResourceBlock:
        """Note that the class is called in a flow."""
        init, setup, _ = self._names
        made = call_of(flow or flow_here(), Task(self.resource_class, {"name": init}), args, kwargs)
        resource = call_of(flow or flow_here(), Task(_set_up, {"name": setup}), (made,), {})
        return ResourceBlock(flow, self._names[2], made, resource)


class ResourceBlock:
    """The block of a resource: a node for its cleanup comes at its end."""

    def __init__(self, flow: Any, name: str, made: Node, resource: Node) -> None:
        self._flow, self._name = flow, name
        self._made, self._resource = made, resource
        self._inside: list[Step] = []
        self._outer: list[Any] = []

    def __enter__(self) -> Node:
        self._outer.append(_around.set((*_around.get(), self)))
        return self._resource

    def __exit__(self, kind: object, *_: object) -> None:
        _around.reset(self._outer.pop())
        if kind is not None:
            return
        inside = set(self._inside)
        before = [one for one in self._inside if not any(one in other.inputs() for other in inside)]
        for one in self._inside:
            if not inside.intersection(one.inputs()) and self._resource not in one.inputs():
                one.upstream.append(self._resource)
        task: Any = Task(_cleaned_up, {"name": self._name, "trigger": all_finished})
        given = {"upstream_tasks": before}
        node = call_of(self._flow or flow_here(), task, (self._made, self._resource), given, skipped_by="none")
        node.role = CLEANUP

    def add(self, step: Step) -> None:
        """Take a task that was called in the block."""
        if not isinstance(step, Parameter):
            self._inside.append(step)


def hold(step: Step) -> None:
    """Let a new node belong to the blocks around."""
    for block in _around.get():
        block.add(step)


def counted(steps: set[Step]) -> set[Step]:
    """Return the tasks that decide how a flow ends, in the place of cleanups: what was behind the resource."""
    found: set[Step] = set()
    for step in steps:
        if getattr(step, "role", "") != CLEANUP:
            found.add(step)
            continue
        before = [one for one in step.inputs() if one is not step.args[0]]  # type: ignore[attr-defined]
        work = [one for one in before if one is not step.args[1]]  # type: ignore[attr-defined]
        found |= counted(set(work or before))
    return found


def _set_up(manager: Any) -> Any:
    return manager.setup()


def _cleaned_up(manager: Any, resource: Any) -> None:
    """Clean up; the resource is the exception of its setup where that failed."""
    if manager is None or isinstance(manager, Skip):
        raise SKIP("there is no resource")
    if isinstance(resource, BaseException) or isinstance(manager, BaseException):
        raise FAIL("the resource was not set up")
    manager.cleanup(resource)


def resource_manager(kind: Any = None, **given: Any) -> Any:
    """Make a class with `setup` and `cleanup(resource)` a manager; with or without parentheses."""
    if kind is None:
        return lambda later: ResourceManager(later, **given)
    return ResourceManager(kind, **given)


__all__ = ["ResourceManager", "resource_manager"]
