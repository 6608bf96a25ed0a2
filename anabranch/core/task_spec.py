"""A task as workers need it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.core.computation import Computation, Fixed
    from anabranch.core.options import TaskOptions
    from anabranch.core.stores import ResultStore, StoreProbe


class TaskOwner(Protocol):
    """A reference to the Task of a spec, see `core.owners`."""

    def task(self, spec: TaskSpec, /) -> Any: ...


class ModuleContent(Protocol):
    """What modules held when a task was sent, see `core.module_state`."""

    def settle(self) -> None: ...


@dataclass(slots=True)
class TaskSpec:
    """A task as workers need it: put once per worker, shared by all its maps."""

    name: str
    fn: Callable[..., Any]
    options: TaskOptions
    source: str | None = None  # the function's source text, for the TASK_SOURCE cache policy
    store: ResultStore | None = None  # where its values persist, when they do
    probe: StoreProbe | None = None  # lets workers outside the driver's process check the store
    isasync: bool | None = None  # set at first use: finding out costs as much as a tiny task
    owner: TaskOwner | None = None  # gives hooks their Task; None where there are no hooks
    computed: Computation | Fixed | None = None  # the function's identity, for keys of caches and of resumed runs
    warned: bool = False  # the warning that it is not cached was given
    modules: ModuleContent | None = None  # the content of modules that it reads, where a worker has its own

    def __reduce__(self) -> Any:
        rest = [getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "modules"]
        return _spec, (self.modules, rest)  # the modules first, see `ModuleState`


def _spec(modules: ModuleContent | None, rest: list[Any]) -> TaskSpec:
    found = TaskSpec(*rest)
    found.modules = modules
    return found
