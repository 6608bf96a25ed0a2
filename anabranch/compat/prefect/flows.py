"""Prefect's `@flow` and Flow: ours, with Prefect's arguments, rules of the end, states and messages."""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, Any, ClassVar, ParamSpec, TypeVar

from anabranch import flows as ours
from anabranch.compat.prefect.binding import bound
from anabranch.compat.prefect.flow_arguments import FlowArguments, engine_options, runner_of
from anabranch.compat.prefect.flow_rules import RULES
from anabranch.compat.prefect.futures import TaskRunFuture
from anabranch.compat.prefect.hooks import Hook
from anabranch.compat.prefect.run_states import State
from anabranch.compat.prefect.utilities.parameter_schemas import ParameterSchema, parameter_schema
from anabranch.compat.prefect.validation import validated
from anabranch.compat.prefect1 import flows as graphs
from anabranch.core.descriptors import Bound, owner_of

if TYPE_CHECKING:
    from anabranch.runs.rules import FlowRules

P = ParamSpec("P")
R = TypeVar("R")

__all__ = ["Flow", "flow"]


class Flow(ours.Flow[P, R]):
    """A function that runs tasks; its arguments are those of Prefect's `@flow`."""

    rules: ClassVar[FlowRules] = RULES

    def __new__(cls, fn: Any = None, *args: Any, **given: Any) -> Any:
        """Return a flow; for a name in the place of a function, one of Prefect 1, which a `with` block fills."""
        if cls is Flow and (isinstance(fn, str) or (fn is None and isinstance(given.get("name"), str))):
            return graphs.Flow(*(() if fn is None else (fn,)), *args, **given)
        return super().__new__(cls)

    def __init__(self, fn: Any, name: str | None = None, *args: Any, **given: Any) -> None:
        names = [f.name for f in dataclasses.fields(FlowArguments)][1:]
        self._take(fn, FlowArguments(name, **dict(zip(names, args, strict=False)), **given))

    def _take(self, fn: Any, given: FlowArguments) -> None:
        plain = fn.__func__ if isinstance(fn, (classmethod, staticmethod)) else fn
        if not callable(plain):
            raise TypeError("'fn' must be callable")
        name = given.name_of(plain)
        self.given = given
        self.attributes = given.attributes(plain)
        super().__init__(fn, {"name": name, **engine_options(self.attributes, given)})

    def __getattr__(self, name: str) -> Any:
        found = self.__dict__.get("attributes")
        if found is None or name not in found:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return found[name]

    @property
    def task_runner(self) -> Any:
        """Where its tasks run."""
        return self.attributes["task_runner"]

    @task_runner.setter
    def task_runner(self, runner: Any) -> None:
        self._take(self.plain_fn, dataclasses.replace(self.given, task_runner=runner_of(runner)))

    @functools.cached_property
    def parameters(self) -> ParameterSchema:
        """The schema of its parameters."""
        return parameter_schema(self.plain_fn)

    @property
    def isclassmethod(self) -> bool:
        return self._binds == "class"

    @property
    def isstaticmethod(self) -> bool:
        return self._binds == "nothing"

    def __call__(self, /, *args: Any, return_state: bool = False, wait_for: Any = None, **kwargs: Any) -> Any:  # type: ignore[override]
        """Run the flow and return its value; `return_state=True` returns the State."""
        args, kwargs = bound(self, args, kwargs)
        call: Any = super().__call__
        found = call(*args, return_state=return_state, wait_for=wait_for, **kwargs)
        if not return_state:
            return found
        return _later(found) if self.isasync else State.of(found)

    def submit(  # type: ignore[override]
        self, /, *args: Any, return_state: bool = False, wait_for: Any = None, **kwargs: Any
    ) -> Any:
        """Run the flow in a thread of its own and return a future at once."""
        args, kwargs = bound(self, args, kwargs)
        future = TaskRunFuture.of(super().submit(*args, wait_for=wait_for, **kwargs))
        return future.wait() if return_state else future

    def with_options(self, **given: Any) -> Flow[P, R]:
        """Return the flow with some options changed; this one stays as it is."""
        made: Flow[P, R] = Flow.__new__(Flow)
        made._take(self.plain_fn, self.given.with_changes(given))
        made._binds, made._reference = self._binds, self._reference
        return made

    def validate_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Return parameters by name, as the annotations make them; raises ParameterTypeError."""
        return validated(self.plain_fn, parameters)

    def _hook(self, name: str, hook: Any) -> Any:
        if not callable(hook):
            raise TypeError(f"Expected a function for '{name}'; got {type(hook).__name__} instead.")
        self.attributes[f"{name}_hooks"].append(hook)
        super()._hook(name, Hook(hook))
        return hook

    def __get__(self, instance: Any, kind: type | None = None) -> Any:
        owner = owner_of(self._binds, instance, kind)
        return self if owner is None else BoundFlow(self, owner)

    def __reduce__(self) -> Any:
        return (_rebuild, (self.fn, self.given, self._binds))


class BoundFlow(Bound, Flow[P, R]):
    """A flow read from an instance, or from a class where it is a classmethod."""


def _rebuild(fn: Any, given: FlowArguments, binds: Any) -> Flow[..., Any]:
    made: Flow[..., Any] = Flow.__new__(Flow)
    made._take(fn, given)
    made._binds = binds
    return made


async def _later(state: Any) -> State:
    return State.of(await state)


_ELSEWHERE = {
    "avisualize": "`futures` and `flow` show themselves in a notebook; `anabranch run show` shows a run",
    "adeploy": "start the flow elsewhere with `anabranch submit`",
    "afrom_source": "start the flow elsewhere with `anabranch submit`",
    "aserve": "start the flow elsewhere with `anabranch submit`, at times of your own with cron",
    "ato_deployment": "start the flow elsewhere with `anabranch submit`",
    "deploy": "start the flow elsewhere with `anabranch submit`",
    "from_source": "start the flow elsewhere with `anabranch submit`",
    "serve": "start the flow elsewhere with `anabranch submit`, at times of your own with cron",
    "to_deployment": "start the flow elsewhere with `anabranch submit`",
    "visualize": "`futures` and `flow` show themselves in a notebook; `anabranch run show` shows a run",
}


def _absent(name: str) -> Any:
    def absent(*args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"anabranch has no Flow.{name}: {_ELSEWHERE[name]}")

    absent.__name__ = name
    return absent


for _name in _ELSEWHERE:
    setattr(Flow, _name, _absent(_name))


def flow(__fn: Any = None, **given: Any) -> Any:
    """Make a function a flow; with or without parentheses, with the arguments of Prefect's `@flow`."""
    if __fn is None:
        return functools.partial(flow, **given)
    return Flow(__fn, **given)


flow.from_source = _absent("from_source")  # type: ignore[attr-defined]
