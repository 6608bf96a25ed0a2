"""The Task that hooks are given: in the driver's process the very object, elsewhere an equal one."""

from __future__ import annotations

import importlib
import operator
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.core.task_spec import TaskSpec


class Owner:
    """What a spec knows of its Task: a reference that keeps nobody alive, and how to make an equal one.

    Args:
        make: a function of a module. It travels by its name, and is imported when a hook asks for the Task: with its
            module come the driver's own rooms, which take longer to import than ten thousand small items to run.
    """

    __slots__ = ("_made", "_make", "_task")

    def __init__(self, task: Any, make: Callable[[TaskSpec], Any]) -> None:
        self._task = None if task is None else weakref.ref(task)
        self._make = make
        self._made: Any = None

    def task(self, spec: TaskSpec) -> Any:
        found = None if self._task is None else self._task()
        if found is None:
            found = self._made = self._made or self._make(spec)
        return found

    def __reduce__(self) -> Any:
        make = self._make
        named = make if type(make) is partial else partial(_import_and_make, make.__module__, make.__qualname__)
        return Owner, (None, named)


def _import_and_make(module: str, name: str, spec: TaskSpec) -> Any:
    return operator.attrgetter(name)(importlib.import_module(module))(spec)


def task_of(spec: TaskSpec) -> Any:
    """The Task of a spec; the spec itself where there is none."""
    return spec if spec.owner is None else spec.owner.task(spec)
