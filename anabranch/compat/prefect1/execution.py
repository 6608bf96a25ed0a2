"""One run of a graph: each node becomes a submit or a map of ours, inside a flow of ours.

    Execution    the flow's function: submits node after node, each behind what it depends on
      a node     task.submit(upstreams, futures ...)      the engine waits for the futures
      a map      task.map(upstreams, futures ...)         a map over a map goes on item by item
    states       of all nodes, read when all have ended; the reference tasks' decide

A map over one run's value can be submitted only when that run has ended: such nodes come last among those that could
be submitted, so that what does not depend on them is under way.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from anabranch import flows as ours
from anabranch.compat.prefect.flow_rules import RULES
from anabranch.compat.prefect.run_states import Held
from anabranch.compat.prefect.run_states import State as LaterState
from anabranch.compat.prefect1 import states, targets
from anabranch.compat.prefect1.carrying import Carrier
from anabranch.compat.prefect1.handlers import OnFailure, handlers
from anabranch.compat.prefect1.nodes import Node, Parameter, Step, nodes_in, replaced
from anabranch.compat.prefect1.running import About
from anabranch.core.annotations import unmapped
from anabranch.core.errors import MapError
from anabranch.core.future_lists import FutureList
from anabranch.core.futures import Future
from anabranch.tasks import Task

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anabranch.core.task_spec import TaskSpec
    from anabranch.runs.rules import FlowRules


class Plan(Protocol):
    """What a run asks of the flow of Prefect 1."""

    name: str
    state_handlers: list[Any]
    on_failure: Any
    result: Any
    terminal_state_handler: Any

    def sorted_tasks(self) -> tuple[Step, ...]: ...
    def reference_tasks(self) -> set[Step]: ...
    def calls_of(self, task: Any) -> list[Step]: ...


class Results(dict[Any, states.State]):
    """The states of a run by node; a task stands for its call where there is one."""

    def __init__(self, flow: Plan, found: dict[Step, states.State]) -> None:
        super().__init__(found)
        self._flow = flow

    def __missing__(self, key: Any) -> states.State:
        calls = self._flow.calls_of(key)
        if len(calls) == 1:
            return self[calls[0]]
        name = getattr(key, "name", key)
        raise KeyError(f"{name!r} has {len(calls)} calls in {self._flow.name!r}: give what the call returned")


def values_of(parameters: Iterable[Parameter], given: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters' values by name; raises ValueError for those that are missing or not known."""
    known = {one.name: one for one in parameters}
    unknown = sorted(given.keys() - known.keys())
    if unknown:
        raise ValueError(f"Flow.run received the following unexpected parameters: {', '.join(unknown)}")
    missing = sorted(name for name, one in known.items() if one.required and name not in given)
    if missing:
        raise ValueError(f"Flow.run did not receive the following required parameters: {', '.join(missing)}")
    return {name: given.get(name, one.default) for name, one in known.items()}


class _Running(ours.Flow[..., Any]):
    """A graph's run, as a flow of ours."""

    rules: ClassVar[FlowRules] = RULES


def run(flow: Plan, values: dict[str, Any], executor: Any) -> states.State:
    """Carry a graph out with these parameters."""
    graph = Execution(flow)
    ended = _Running(graph, _options(flow, executor))(values, return_state=True)
    if graph.final is None or ended.type is not states.to_ours(graph.final).type:
        graph.final = states.of_ours(ended)  # it was stopped, or a handler has changed its end
    graph.final.result = Results(flow, graph.found)
    return graph.final


def as_ours(flow: Plan, parameters: Iterable[Parameter], executor: Any) -> Any:
    """Return a graph as a flow of ours, with its parameters as arguments, for a driver that an agent starts."""
    known = list(parameters)

    def carry_out(**given: Any) -> Any:
        return Execution(flow)(values_of(known, given))

    keyword = inspect.Parameter.KEYWORD_ONLY
    carry_out.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(one.name, keyword, default=keyword_default(one))
            for one in sorted(known, key=lambda one: str(one.name))
        ]
    )
    return _Running(carry_out, _options(flow, executor))


def keyword_default(parameter: Parameter) -> Any:
    """Return the default of a parameter; that of a signature's without one where it has none."""
    return inspect.Parameter.empty if parameter.required else parameter.default


def _options(flow: Plan, executor: Any) -> dict[str, Any]:
    own = [*flow.state_handlers, *([OnFailure(flow.on_failure)] if flow.on_failure else [])]
    return {
        "name": flow.name.translate(str.maketrans("/%&><", "-----")),
        "state_handlers": handlers(own, flow),
        "runner": "inline" if executor is None else executor.runner().engine_runner(),
        "resumable": False,
    }


class _Carried(Task[..., Any]):
    """A node's task, as its state handlers get it."""

    @staticmethod
    def _of_spec(spec: TaskSpec) -> Task[..., Any]:
        made = _Carried(spec.fn, None, base=spec.options)
        made.name = spec.name
        return made

    def __repr__(self) -> str:
        return f"<Task: {self.name}>"


class Execution:
    """The function of a run.

    Attributes:
        found: the states of its nodes.
        final: the state of the run.
    """

    def __init__(self, flow: Plan) -> None:
        self.__name__ = flow.name
        self._flow = flow
        self._values: dict[str, Any] = {}
        self._at: dict[Step, Any] = {}  # futures, future lists; of parameters the values
        self.found: dict[Step, states.State] = {}
        self.final: states.State | None = None

    def __call__(self, parameters: dict[str, Any]) -> Any:
        self._values = parameters
        self._submit_all()
        self.found = {step: self._state(step) for step in self._flow.sorted_tasks()}
        self.final = self._verdict()
        made = states.to_ours(self.final)
        return LaterState(made.type, message=made.message, data=Held(None) if made.is_completed() else made.message)

    def _submit_all(self) -> None:
        left = list(self._flow.sorted_tasks())
        while left:
            later = [step for step in left if not self._submitted(step)]
            if len(later) == len(left):  # each waits for the value of a run, or for one that does
                step = next(one for one in left if all(up in self._at for up in one.inputs()))
                self._at[step] = self._begun(step)
                later.remove(step)
            left = later

    def _submitted(self, step: Step) -> bool:
        """Submit a node, unless that must wait."""
        if any(up not in self._at for up in step.inputs()) or self._blocks(step):
            return False
        self._at[step] = self._begun(step)
        return True

    def _blocks(self, step: Step) -> bool:
        """Return whether a node maps over the value of a run that has not ended."""
        return any(not future.done() for future in self._mapped_over(step))

    def _mapped_over(self, step: Step) -> list[Future[Any]]:
        if not isinstance(step, Node) or step.mapped is None:
            return []
        over = [value for key, value in step.given() if key in step.mapped and isinstance(value, Step)]
        return [self._at[one] for one in over if isinstance(self._at[one], Future)]

    def _begun(self, step: Step) -> Any:
        if isinstance(step, Parameter):
            return self._values[step.name]
        assert isinstance(step, Node)
        carried = Carrier(step.task.plain_fn, step.name, step.skipped_by, About(self._flow.name, self._values))
        own = targets.options_of(step.task, self._flow.result)
        task = _Carried(carried, {"name": step.name, **own}, base=step.task.options)
        args = {key: replaced(value, self._at.__getitem__) for key, value in step.given()}
        before = tuple(self._at[one] for one in step.upstream if not isinstance(one, Parameter))
        deep = frozenset(key for key, value in step.given() if self._is_deep(value))
        if step.mapped is not None and not any(self._did_not_give(one) for one in self._mapped_over(step)):
            given = {key: value if key in step.mapped else unmapped(value) for key, value in args.items()}
            places = [value for key, value in given.items() if isinstance(key, int)]
            names = {key: value for key, value in given.items() if isinstance(key, str)}
            return _mapped(task, unmapped(before), unmapped(deep), places, names)
        places = [value for key, value in args.items() if isinstance(key, int)]
        return task.submit(before, deep, *places, **{k: v for k, v in args.items() if isinstance(k, str)})

    def _is_deep(self, value: Any) -> bool:
        """Return whether an argument is a collection of upstreams' values."""
        if isinstance(value, Step):
            return isinstance(self._at[value], (FutureList, list)) and not isinstance(value, Parameter)
        return any(True for _ in nodes_in(value))

    def _did_not_give(self, future: Future[Any]) -> bool:
        """Return whether a run that is mapped over has no value; waits for it."""
        state = future.wait()
        return not state.is_completed() or isinstance(state.result(), states.Skip)

    # -- states ----------------------------------------------------------------------------------

    def _state(self, step: Step) -> states.State:
        found = self._at[step]
        if isinstance(found, Future) and isinstance(step, Node):
            return states.of_ours(found.wait())
        if isinstance(found, (FutureList, list)) and isinstance(step, Node):
            return _of_map([states.of_ours(one) for one in (found.wait() if isinstance(found, FutureList) else found)])
        return states.Success(result=found)

    def _verdict(self) -> states.State:
        reference = {self.found[step] for step in self._flow.reference_tasks()}
        children = [child for one in reference for child in one.children()]
        if any(one.is_failed() for one in children):
            final: states.State = states.Failed("Some reference tasks failed.")
        elif all(one.is_successful() for one in children):
            final = states.Success("All reference tasks succeeded.")
        else:
            final = states.Success("No reference tasks failed.")
        final.result = Results(self._flow, self.found)
        decide = self._flow.terminal_state_handler
        return final if decide is None else decide(self._flow, final, reference) or final


def _of_map(children: list[states.State]) -> states.State:
    return states.Mapped(f"{len(children):,} items have ended", children)


def _mapped(
    task: Task[..., Any], before: Any, deep: Any, places: list[Any], names: dict[str, Any]
) -> FutureList[Any] | Future[Any]:
    try:
        futures: FutureList[Any] = task.map(before, deep, *places, **names)
        return futures
    except MapError as error:
        return Task(_raising, {"name": task.name}).submit(str(error))


def _raising(message: str) -> None:
    raise MapError(message)
