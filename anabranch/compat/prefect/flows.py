"""Prefect's `@flow` and Flow: ours, with Prefect's arguments, rules of the end, states and messages."""

from __future__ import annotations

import dataclasses
import functools
import importlib
from typing import TYPE_CHECKING, Any, ClassVar, ParamSpec, TypeVar

from anabranch import flows as ours
from anabranch.compat.prefect import deploying
from anabranch.compat.prefect.absent import absent
from anabranch.compat.prefect.answers import Decorated, function_of, in_flow, state_of
from anabranch.compat.prefect.binding import bound
from anabranch.compat.prefect.changes import signed
from anabranch.compat.prefect.flow_arguments import FlowArguments, engine_options, runner_of
from anabranch.compat.prefect.flow_rules import RULES
from anabranch.compat.prefect.hooks import Hook
from anabranch.compat.prefect.utilities.asyncutils import awaited, either
from anabranch.compat.prefect.utilities.parameter_schemas import ParameterSchema, parameter_schema
from anabranch.compat.prefect.validation import validated
from anabranch.core.descriptors import Bound, owner_of
from anabranch.core.options import FlowOptions
from anabranch.core.reachable import plain

if TYPE_CHECKING:
    from anabranch.runs.rules import FlowRules

P = ParamSpec("P")
R = TypeVar("R")

__all__ = ["Flow", "flow"]
_OURS = {one.name for one in dataclasses.fields(FlowOptions)} - {one.name for one in dataclasses.fields(FlowArguments)}


class Flow(Decorated, ours.Flow[P, R]):  # type: ignore[misc]
    """A function that runs tasks; its arguments are those of Prefect's `@flow`."""

    rules: ClassVar[FlowRules] = RULES
    written_for: ClassVar[str] = "prefect"  # so that a driver of its deployments lets `import prefect` find ours

    def __new__(cls, fn: Any = None, *args: Any, **given: Any) -> Any:
        """Return a flow; for a name in the place of a function, one of Prefect 1, which a `with` block fills."""
        if cls is Flow and (isinstance(fn, str) or (fn is None and isinstance(given.get("name"), str))):
            graphs = importlib.import_module("anabranch.compat.prefect1.flows")  # other programs do not load it
            return graphs.Flow(*(() if fn is None else (fn,)), *args, **given)
        return super().__new__(cls)

    def __init__(self, fn: Any, name: str | None = None, *args: Any, **given: Any) -> None:
        names = [f.name for f in dataclasses.fields(FlowArguments)][1:]
        self._take(fn, FlowArguments(name, **dict(zip(names, args, strict=False)), **given), {})

    def _take(self, fn: Any, given: FlowArguments, over: dict[str, Any]) -> None:
        plain = function_of(fn)
        name = given.name_of(plain)
        self.given, self._over = given, over
        self.attributes = given.attributes(plain)
        super().__init__(fn, {"name": name, **engine_options(self.attributes, given), **over})

    @property
    def task_runner(self) -> Any:
        """Where its tasks run."""
        return self.attributes["task_runner"]

    @task_runner.setter
    def task_runner(self, runner: Any) -> None:
        self._take(self.plain_fn, dataclasses.replace(self.given, task_runner=runner_of(runner)), self._over)

    @functools.cached_property
    def parameters(self) -> ParameterSchema:
        """The schema of its parameters."""
        return parameter_schema(self.plain_fn)

    def __call__(self, /, *args: Any, return_state: bool = False, wait_for: Any = None, **kwargs: Any) -> Any:  # type: ignore[override]
        """Run the flow and return its value; `return_state=True` returns the State."""
        here = in_flow(self)
        if here is not self:
            return here(*args, return_state=return_state, wait_for=wait_for, **kwargs)
        args, kwargs = bound(self, args, kwargs)
        call: Any = super().__call__
        found = call(*args, return_state=return_state, wait_for=wait_for, **kwargs)
        return state_of(found, self.isasync) if return_state else found

    def with_options(self, **given: Any) -> Flow[P, R]:
        """Return the flow with some options changed; this one stays as it is.

        Options that Prefect's flows do not have, such as `resumable` and `runner`, count as well: commands give them.
        """
        made: Flow[P, R] = Flow.__new__(Flow)
        over = {name: given.pop(name) for name in _OURS.intersection(given)}
        made._take(self.plain_fn, self.given.with_changes(given), {**self._over, **over})
        made._binds, made._reference = self._binds, self._reference
        return made

    def validate_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Return parameters by name, as the annotations make them; raises ParameterTypeError."""
        return validated(self.plain_fn, parameters)

    deploy, adeploy = either(deploying.deploy), awaited(deploying.deploy)
    to_deployment, ato_deployment = either(deploying.to_deployment), awaited(deploying.to_deployment)
    serve, aserve = deploying.serve, awaited(deploying.serve)
    from_source = staticmethod(either(deploying.from_source))
    afrom_source = staticmethod(awaited(deploying.from_source))

    def _hook(self, name: str, hook: Any) -> Any:
        self._keep_hook(name, hook)
        super()._hook(name, Hook(hook))
        return hook

    def __get__(self, instance: Any, kind: type | None = None) -> Any:
        owner = owner_of(self._binds, instance, kind)
        return self if owner is None else BoundFlow(self, owner)

    def __reduce__(self) -> Any:
        return (_rebuild, (self.fn, self.given, self._binds))


class BoundFlow(Bound, Flow[P, R]):  # type: ignore[misc]
    """A flow read from an instance, or from a class where it is a classmethod."""


def _rebuild(fn: Any, given: FlowArguments, binds: Any) -> Flow[..., Any]:
    made: Flow[..., Any] = Flow.__new__(Flow)
    made._take(plain(fn), given, {})
    made._binds = binds
    return made


_SHOWN = "`futures` and `flow` show themselves in a notebook; `anabranch run show` shows a run"
ELSEWHERE = {"avisualize": _SHOWN, "visualize": _SHOWN}

for _name, _advice in ELSEWHERE.items():
    setattr(Flow, _name, absent(f"Flow.{_name}", _advice))


def flow(__fn: Any = None, **given: Any) -> Any:
    """Make a function a flow; with or without parentheses, with the arguments of Prefect's `@flow`."""
    if __fn is None:
        return functools.partial(flow, **given)
    return Flow(__fn, **given)


flow.__signature__ = signed("__fn", FlowArguments)  # type: ignore[attr-defined]
Flow.with_options.__signature__ = signed("self", FlowArguments, without={"version"})  # type: ignore[attr-defined]
flow.from_source = Flow.from_source  # type: ignore[attr-defined]

_LOADING = (
    "is_entrypoint_async", "load_flow_arguments_from_entrypoint", "load_flow_from_entrypoint",
    "load_function_and_convert_to_flow", "safe_load_flow_from_entrypoint",
)  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _LOADING:
        return getattr(importlib.import_module("anabranch.compat.prefect.entrypoints"), name)
    if name in ("serve", "aserve"):
        return getattr(importlib.import_module("anabranch.compat.prefect.served"), name)
    if name == "import_object":
        return importlib.import_module("anabranch.compat.prefect.utilities.importtools").import_object
    raise AttributeError(f"module 'prefect.flows' has no attribute {name!r}")
