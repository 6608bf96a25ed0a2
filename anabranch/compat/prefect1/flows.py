"""Prefect 1's Flow: a graph that a `with` block builds, and that `run` carries out."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from anabranch.compat import prefect1
from anabranch.compat.prefect1 import execution, order, resources
from anabranch.compat.prefect1.control_flow import constrain
from anabranch.compat.prefect1.nodes import Node, Parameter, Step, current, nodes_in

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anabranch.compat.prefect1.states import State

ADVICE = {
    "run_agent": "start the program elsewhere with `anabranch submit`",
    "visualize": "a flow that ran shows its graph in a notebook; `anabranch run show` shows a run",
}
OPTIONS = frozenset(
    {"name", "executor", "run_config", "storage", "tasks", "edges", "reference_tasks", "state_handlers", "on_failure",
     "validate", "result", "terminal_state_handler", "schedule"}
)  # fmt: skip


class Edge(NamedTuple):
    """A dependency; `key` names the argument that takes the upstream's value."""

    upstream_task: Step
    downstream_task: Step
    key: str | None = None
    mapped: bool = False


class Flow:
    """Tasks and the order between them.

    Args:
        executor: where its tasks run, from `prefect.executors`; by default one after the other.
        reference_tasks: those that decide the final state; by default the ones that nothing depends on.
        on_failure: called as `(flow, state)` when it has failed.
        terminal_state_handler: called as `(flow, state, reference_states)`; a State from it is the final one.
        schedule, run_config, storage: count when it is registered.
        result: where tasks with a target keep their values, unless they say it themselves.
        validate: is taken, and changes nothing.
    """

    def __init__(
        self, name: str, schedule: Any = None, executor: Any = None, run_config: Any = None, storage: Any = None,
        tasks: Iterable[Any] | None = None, edges: Iterable[Any] | None = None,
        reference_tasks: Iterable[Any] | None = None, state_handlers: Iterable[Any] | None = None,
        on_failure: Any = None, validate: bool | None = None, result: Any = None, terminal_state_handler: Any = None,
    ) -> None:  # fmt: skip
        if not name:
            raise ValueError("A name must be provided for the flow.")
        self.name, self.schedule = name, schedule
        self.executor, self.run_config, self.storage, self.result = executor, run_config, storage, result
        self.state_handlers = list(state_handlers or ())
        self.on_failure = on_failure
        self.terminal_state_handler = terminal_state_handler
        self._steps: dict[Step, None] = {}
        self._of_tasks: dict[int, Node] = {}
        self._reference: list[Step] | None = None
        self._outer: list[Any] = []
        for one in tasks or ():
            self.add_task(one)
        for edge in edges or ():
            self.add_edge(edge.upstream_task, edge.downstream_task, edge.key, edge.mapped)
        if reference_tasks:
            self.set_reference_tasks(reference_tasks)

    def __enter__(self) -> Self:
        self._outer.append(current.set(self))
        return self

    def __exit__(self, *_: object) -> None:
        current.reset(self._outer.pop())

    # -- building --------------------------------------------------------------------------------

    def step(self, task: Any) -> Step:
        """Return the node of a task that was not called; a node stands for itself."""
        if isinstance(task, Step):
            return task
        if id(task) not in self._of_tasks:
            self._of_tasks[id(task)] = Node(task, (), {})
        return self._of_tasks[id(task)]

    def add_task(self, task: Any) -> Any:
        """Add a node, or a task without arguments, and all that it depends on."""
        step = self.step(task)
        for one in [*step.inputs(), step]:
            if one in self._steps:
                continue
            if isinstance(one, Parameter) and any(p.name == one.name for p in self.parameters()):
                raise ValueError(f'Flow {self.name!r} already has a parameter named "{one.name}"')
            if one is not step:
                self.add_task(one)
            self._steps[one] = None
            constrain(one)
            resources.hold(one)
        return task

    def add_edge(
        self, upstream_task: Any, downstream_task: Any, key: str | None = None, mapped: bool = False,
        validate: bool | None = None,
    ) -> Edge:  # fmt: skip
        """Let one run after another; with a key, with the other's value as that argument."""
        before, after = self.step(upstream_task), self.step(downstream_task)
        if key is None or not isinstance(after, Node):
            after.upstream.append(before)
        else:
            after.kwargs[key] = before
            if mapped:
                after.mapped = (after.mapped or frozenset()) | {key}
        self.add_task(before)
        self.add_task(after)
        return Edge(before, after, key, mapped)

    def chain(self, *tasks: Any) -> list[Edge]:
        """Let each run after the one before."""
        return [self.add_edge(one, other) for one, other in itertools.pairwise(tasks)]

    def set_dependencies(
        self, task: Any, upstream_tasks: Iterable[Any] | None = None, downstream_tasks: Iterable[Any] | None = None,
        keyword_tasks: dict[str, Any] | None = None, mapped: bool = False, validate: bool | None = None,
    ) -> None:  # fmt: skip
        """Set several dependencies of a task; values of `keyword_tasks` that are no tasks are constants."""
        step = self.step(task)
        self.add_task(step)
        for one in upstream_tasks or ():
            self.add_edge(one, step)
        for one in downstream_tasks or ():
            self.add_edge(step, one)
        for name, value in (keyword_tasks or {}).items():
            if isinstance(value, Step) or hasattr(value, "plain_fn"):
                self.add_edge(value, step, key=name, mapped=mapped)
            elif isinstance(step, Node):
                step.kwargs[name] = value
                if mapped:
                    step.mapped = (step.mapped or frozenset()) | {name}

    def set_reference_tasks(self, tasks: Iterable[Any]) -> None:
        """Let these decide the final state; none: the ones that nothing depends on. Raises ValueError for others."""
        chosen = [self._known(one) for one in tasks]
        self._reference = chosen or None

    def _known(self, task: Any) -> Step:
        found = task if isinstance(task, Step) else next(iter(self.calls_of(task)), None)
        if found is None or found not in self._steps:
            raise ValueError(f"reference tasks must be part of the flow: {getattr(task, 'name', task)!r} is not")
        return found

    # -- reading ---------------------------------------------------------------------------------

    def calls_of(self, task: Any) -> list[Step]:
        """Return the nodes of a task."""
        return [one for one in self._steps if isinstance(one, Node) and one.task is task]

    @property
    def tasks(self) -> set[Step]:
        return set(self._steps)

    @property
    def edges(self) -> set[Edge]:
        found = set()
        for one in self._steps:
            if isinstance(one, Node):
                for key, value in one.given():
                    name = one.task.binder.label(key) if isinstance(key, int) else key
                    found |= {Edge(up, one, name, key in (one.mapped or ())) for up in nodes_in(value)}
            found |= {Edge(up, one) for up in one.upstream}
        return found

    def parameters(self, names_only: bool = False) -> Any:
        """Return its parameters, or their names."""
        found = [one for one in self._steps if isinstance(one, Parameter)]
        return {one.name for one in found} if names_only else set(found)

    def sorted_tasks(self) -> tuple[Step, ...]:
        """Return its tasks, each behind what it depends on; raises ValueError for a cycle."""
        return tuple(order.ordered(list(self._steps)))

    def root_tasks(self) -> set[Step]:
        return order.roots(self._steps)

    def terminal_tasks(self) -> set[Step]:
        return order.terminal(self._steps)

    def reference_tasks(self) -> set[Step]:
        if self._reference is None:
            return resources.counted(self.terminal_tasks())
        return set(self._reference)

    def get_tasks(self, name: str | None = None, tags: Iterable[str] | None = None, **_: Any) -> list[Step]:
        """Return its tasks of a name, with all of some tags."""
        wanted = set(tags or ())
        return [
            one for one in self._steps
            if name in (None, one.name) and wanted <= set(getattr(getattr(one, "task", one), "tags", ()))
        ]  # fmt: skip

    def upstream_tasks(self, task: Any) -> set[Step]:
        return set(self._known(task).inputs())

    def downstream_tasks(self, task: Any) -> set[Step]:
        known = self._known(task)
        return {one for one in self._steps if known in one.inputs()}

    # -- running ---------------------------------------------------------------------------------

    def run(
        self, parameters: dict[str, Any] | None = None, run_on_schedule: bool | None = None, runner_cls: Any = None,
        executor: Any = None, context: Any = None, **kwargs: Any,
    ) -> State:  # fmt: skip
        """Carry the graph out and return its state; `state.result[task]` is that of a task.

        Args:
            kwargs: parameters by name.

        Raises ValueError for parameters that are missing or not known, NotImplementedError where it has a schedule to
        run on: `run_on_schedule=False` runs it once.
        """
        if self.schedule is not None and run_on_schedule is not False:
            raise NotImplementedError(
                f"flow {self.name!r} has a schedule: run(run_on_schedule=False) runs it once, register() lets agents "
                "run it by that"
            )
        if current.get() is not None:
            raise ValueError("Cannot run a flow inside of a `with Flow(...)` block: call flow.run() after the block")
        given = {**(parameters or {}), **kwargs}
        return execution.run(self, execution.values_of(self.parameters(), given), executor or self.executor)

    def register(self, project_name: str | None = None, **given: Any) -> str:
        """Register it under a project: with each call a new revision, but for the same `idempotency_key`."""
        return str(prefect1.register(self, project_name, **given))

    def anabranch_flow(self) -> Any:
        """Return it as a flow of ours, which a driver runs."""
        return execution.as_ours(self, self.parameters(), self.executor)

    def __getattr__(self, name: str) -> Any:
        if name not in ADVICE:
            raise AttributeError(f"Flow object has no attribute {name!r}")
        raise NotImplementedError(f"anabranch has no Flow.{name}: {ADVICE[name]}")

    def __repr__(self) -> str:
        return f'<Flow: name="{self.name}">'
