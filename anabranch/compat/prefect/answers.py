"""How Prefect's flows and tasks answer, and what else is the same in both.

    flow(...)  task(...)    the value; with return_state the State, where the function is async a coroutine of it
    .submit(...)            a future; with return_state the State of the end
"""

from __future__ import annotations

import dataclasses
import weakref
from typing import Any

from anabranch.compat.prefect.binding import bound
from anabranch.compat.prefect.futures import TaskRunFuture
from anabranch.compat.prefect.run_states import State
from anabranch.core.context import current_flow


def state_of(found: Any, isasync: bool) -> Any:
    """Return the State for one of the engine's; where the function is async, a coroutine of it."""
    return _later(found) if isasync else State.of(found)


async def _later(state: Any) -> State:
    return State.of(await state)


class Decorated:
    """What Prefect's Flow and Task share; stands before ours among the bases."""

    _binds: Any
    plain_fn: Any
    binder: Any
    attributes: dict[str, Any]
    given: Any

    def __getattr__(self, name: str) -> Any:
        found = self.__dict__.get("attributes")
        if found is None or name not in found:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return found[name]

    @property
    def isclassmethod(self) -> bool:
        return bool(self._binds == "class")

    @property
    def isstaticmethod(self) -> bool:
        return bool(self._binds == "nothing")

    def submit(self, /, *args: Any, return_state: bool = False, wait_for: Any = None, **kwargs: Any) -> Any:
        """Run it beside this code and return a future at once; `return_state=True` waits for the State.

        A task runs on the flow's runner, a flow in a thread of its own.
        """
        here = in_flow(self)
        if here is not self:
            return here.submit(*args, return_state=return_state, wait_for=wait_for, **kwargs)
        args, kwargs = bound(self, args, kwargs)
        ours: Any = super()
        future = TaskRunFuture.of(ours.submit(*args, wait_for=wait_for, **kwargs))
        return future.wait() if return_state else future

    def _keep_hook(self, name: str, hook: Any) -> None:
        """Note a hook; raises TypeError for anything but a function."""
        if not callable(hook):
            raise TypeError(f"Expected a function for '{name}'; got {type(hook).__name__} instead.")
        self.attributes[f"{name}_hooks"].append(hook)
        self.given = dataclasses.replace(self.given, **{name: list(self.attributes[f"{name}_hooks"])})


_RESULTS = ("persist_result", "result_storage", "result_serializer")
_variants: weakref.WeakKeyDictionary[Any, dict[Any, Any]] = weakref.WeakKeyDictionary()


def in_flow(this: Any) -> Any:
    """Return a task or flow as it runs here: where it says nothing of its results, as the flow around says.

    A task that submits from another process does not know the flow, and inherits nothing.
    """
    here = current_flow.get()
    around = None if here is None else here.flow
    if not isinstance(around, Decorated):
        return this
    said = {
        name: value for name in _RESULTS
        if (value := around.attributes[name]) is not None and this.attributes[name] is None
    }  # fmt: skip
    if not said or this.attributes["persist_result"] is False:
        return this
    made = _variants.setdefault(this, {})
    key = tuple((name, value if name == "persist_result" else id(value)) for name, value in said.items())
    if key not in made:  # the values are kept with it, so that their ids stay theirs
        made[key] = this.with_options(**said), said
    return made[key][0]


def function_of(fn: Any) -> Any:
    """Return the function that a decorator was given, also under a classmethod; raises TypeError for anything else."""
    plain = fn.__func__ if isinstance(fn, (classmethod, staticmethod)) else fn
    if not callable(plain):
        raise TypeError("'fn' must be callable")
    return plain
