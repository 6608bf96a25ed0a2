"""A graph's nodes: calls of tasks that were noted and not made, and parameters. An edge is a node in another's inputs.

    with Flow("name") as flow:
        x = Parameter("x")     Parameter
        y = double(x)          Node(task=double, args=(x,))
        z = add.map(y, 1)      Node(task=add, args=(y, 1), mapped={0, 1})
"""

from __future__ import annotations

import operator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol, get_args, get_origin, get_type_hints

from anabranch.compat.prefect.utilities.annotations import BaseAnnotation
from anabranch.core.annotations import Annotation, unmapped, unwrap_all
from anabranch.tasks import Task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


class Graph(Protocol):
    """What nodes ask of the flow that they are in."""

    def step(self, task: Any) -> Step: ...
    def add_task(self, task: Any) -> Any: ...
    def add_edge(
        self, upstream_task: Any, downstream_task: Any, key: str | None = None, mapped: bool = False
    ) -> Any: ...
    def set_dependencies(
        self, task: Any, upstream_tasks: Iterable[Any] | None = None, downstream_tasks: Iterable[Any] | None = None,
        keyword_tasks: dict[str, Any] | None = None, mapped: bool = False,
    ) -> None: ...  # fmt: skip


current: ContextVar[Graph | None] = ContextVar("anabranch_prefect1_flow", default=None)
# The calls in an `apply_map` get the elements of these nodes, one by one; None outside of one.
mapped_over: ContextVar[set[Step] | None] = ContextVar("anabranch_prefect1_mapped_over", default=None)
_SINGLE = (str, bytes, bytearray)


class mapped(BaseAnnotation[Any]):
    """In a call: map over this argument."""

    __slots__ = ()


class flatten(BaseAnnotation[Any]):
    """In a map: the elements of the elements of this argument."""

    __slots__ = ()


class Edges:
    """The methods by which a node, or a task that stands for one, is put behind others."""

    def set_upstream(self, task: Any, flow: Graph | None = None, key: str | None = None, mapped: bool = False) -> None:
        """Let it run after another; with a key, with the other's value as that argument."""
        (flow or flow_here()).add_edge(task, self, key=key, mapped=mapped)

    def set_downstream(
        self, task: Any, flow: Graph | None = None, key: str | None = None, mapped: bool = False
    ) -> None:
        """Let another run after it."""
        (flow or flow_here()).add_edge(self, task, key=key, mapped=mapped)

    def set_dependencies(self, flow: Graph | None = None, **given: Any) -> None:
        """Set several dependencies, as `Flow.set_dependencies` does."""
        (flow or flow_here()).set_dependencies(self, **given)


class Step(Edges):
    """What nodes have: a name, their upstreams, and operators that note further calls."""

    name: str
    upstream: list[Step]

    def inputs(self) -> list[Step]:
        """Return all nodes that it depends on, each once."""
        return list(dict.fromkeys(self.upstream))

    @property
    def slug(self) -> str:
        return self.name

    def __getitem__(self, key: Any) -> Node:
        return note(operator.getitem, self, key)

    def __iter__(self) -> Iterator[Node]:
        task = getattr(self, "task", None)
        count = getattr(task, "nout", None) or _length(getattr(task, "plain_fn", None))
        if not count:
            raise TypeError(f"{self.name!r} runs later: give its task nout=, the number of its values, to unpack them")
        return iter([self[at] for at in range(count)])

    def __or__(self, other: Any) -> Any:
        """Let the other run after it."""
        self.set_downstream(other)
        return other

    def __bool__(self) -> bool:
        return True

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> Any:
        return self is other

    def __repr__(self) -> str:
        return f"<Task: {self.name}>"


class Node(Step):
    """A call of a task.

    Args:
        mapped: places and names of the arguments that it maps over; None: it is one run.
        upstream: further nodes that it waits for.
        skipped_by: "any" skipped upstream skips it, "all" of them, or "none"; by default as its task says.

    Attributes:
        role: what it is for, where that counts for the flow's end; see `resources`.
    """

    role = ""

    def __init__(
        self, task: Any, args: tuple[Any, ...], kwargs: dict[str, Any], mapped: frozenset[int | str] | None = None,
        upstream: Iterable[Step] = (), skipped_by: str = "",
    ) -> None:  # fmt: skip
        self.task = task
        self.args = list(args)
        self.kwargs = dict(kwargs)
        self.mapped = mapped
        self.upstream = list(upstream)
        self.name = task.name
        self.skipped_by = skipped_by or ("any" if getattr(task, "skip_on_upstream_skip", True) else "none")

    def given(self) -> list[tuple[int | str, Any]]:
        """Return its arguments by place and name."""
        return [*enumerate(self.args), *self.kwargs.items()]

    def inputs(self) -> list[Step]:
        found = [one for _, value in self.given() for one in nodes_in(value)]
        return list(dict.fromkeys([*found, *self.upstream]))

    def is_mapped(self) -> bool:
        return self.mapped is not None


class Parameter(Step):
    """A value that `flow.run(name=value)` gives.

    Args:
        default: what it is otherwise.
        required: whether a run must give it; by default one without a default.
        tags: are kept, and change nothing.
    """

    _UNSET: Any = object()

    def __init__(self, name: str, default: Any = _UNSET, required: bool | None = None, tags: Any = None) -> None:
        self.name = name
        self.required = default is self._UNSET if required is None else required
        self.default = None if default is self._UNSET else default
        self.tags = set(tags or ())
        self.upstream = []
        flow = current.get()
        if flow is not None:
            flow.add_task(self)

    def __call__(self, **_: Any) -> Parameter:
        """Add it to the flow around."""
        flow_here().add_task(self)
        return self

    def __repr__(self) -> str:
        return f"<Parameter: {self.name}>"


def _length(fn: Any) -> int:
    """Return how many values a function gives, as far as its annotation says so."""
    try:
        told = get_type_hints(fn).get("return")
    except (TypeError, NameError):
        return 0
    inside = get_args(told) if get_origin(told) is tuple else ()
    return 0 if Ellipsis in inside else len(inside)


def flow_here() -> Graph:
    """Return the flow of the block around; raises ValueError where there is none."""
    flow = current.get()
    if flow is None:
        raise ValueError("Could not infer an active Flow context: use `with Flow(...):`, or give flow=")
    return flow


def nodes_in(value: Any) -> Iterator[Step]:
    """Yield the nodes in an argument: itself, or inside of collections."""
    value = unwrap_all(value) if isinstance(value, Annotation) else value
    if isinstance(value, Step):
        yield value
    elif type(value) in (list, tuple, set, frozenset):
        for one in value:
            yield from nodes_in(one)
    elif type(value) is dict:
        for one in value.values():
            yield from nodes_in(one)


def replaced(value: Any, found: Callable[[Step], Any]) -> Any:
    """Return an argument with something else in the place of each node."""
    if isinstance(value, Step):
        return found(value)
    if type(value) in (list, tuple, set, frozenset) and any(True for _ in nodes_in(value)):
        return type(value)([replaced(one, found) for one in value])
    if type(value) is dict and any(True for _ in nodes_in(value)):
        return {name: replaced(one, found) for name, one in value.items()}
    return value


def call_of(
    flow: Graph, task: Any, args: tuple[Any, ...], kwargs: dict[str, Any], *, all_mapped: bool = False,
    skipped_by: str = "",
) -> Node:  # fmt: skip
    """Note a call of a task in a flow.

    Args:
        kwargs: its arguments, and Prefect 1's own: mapped=, task_args=, upstream_tasks=.
        all_mapped: every argument is mapped over that is not `unmapped(...)`.

    Raises ParameterBindError where the arguments do not fit.
    """
    all_mapped = bool(kwargs.pop("mapped", all_mapped))
    own = dict(kwargs.pop("task_args", None) or {})
    before = [flow.step(one) for one in kwargs.pop("upstream_tasks", None) or ()]
    if own:
        name = own.pop("name", None) or task.name
        task = task.with_options(name=name, **own)
    task.binder.bind(args, kwargs)
    given: list[tuple[int | str, Any]] = [*enumerate(args), *kwargs.items()]
    which = frozenset(key for key, value in given if _is_mapped(value, all_mapped))
    plain = [_noted(flow, value) for value in args]
    named = {name: _noted(flow, value) for name, value in kwargs.items()}
    over = mapped_over.get()
    if over is not None:
        noted: list[tuple[int | str, Any]] = [*enumerate(plain), *named.items()]
        which |= {key for key, value in noted if isinstance(value, Step) and value in over}
    if all_mapped and not which and not before:
        raise ValueError(f"{task.name}.map has nothing to map over")
    node = Node(task, tuple(plain), named, which if all_mapped or which else None, before, skipped_by)
    flow.add_task(node)
    if over is not None and node.mapped is not None:
        over.add(node)
    return node


def _is_mapped(value: Any, all_mapped: bool) -> bool:
    if isinstance(value, mapped):
        return True
    if isinstance(value, unmapped) or not all_mapped:
        return False
    inside = unwrap_all(value) if isinstance(value, Annotation) else value
    return isinstance(inside, Step) or _is_task(inside) or (hasattr(inside, "__iter__") and type(inside) not in _SINGLE)


def _is_task(value: Any) -> bool:
    return hasattr(value, "plain_fn") and hasattr(value, "binder")


def _noted(flow: Graph, value: Any) -> Any:
    """Return an argument as the graph keeps it: without marks, with nodes for tasks."""
    if isinstance(value, flatten):
        return note(_flattened, _noted(flow, value.value))
    if isinstance(value, (mapped, unmapped)):
        return _noted(flow, value.value)
    if _is_task(value):
        return flow.step(value)
    if type(value) in (list, tuple) and any(_is_task(one) for one in value):
        return type(value)([_noted(flow, one) for one in value])
    if type(value) is dict and any(_is_task(one) for one in value.values()):
        return {name: _noted(flow, one) for name, one in value.items()}
    return value


def _flattened(lists: Any) -> list[Any]:
    return [one for inner in lists for one in inner]


def note(fn: Callable[..., Any], *args: Any, name: str = "", skipped_by: str = "") -> Node:
    """Note a call of a function of ours, as `x[0]` and `a + b` do."""
    task: Any = Task(fn, {"name": name or _NAMES.get(fn) or fn.__name__})
    return call_of(flow_here(), task, args, {}, skipped_by=skipped_by)


_NAMES: dict[Any, str] = {operator.getitem: "GetItem", _flattened: "flatten"}


def _operator(fn: Callable[..., Any], name: str) -> None:
    _NAMES[fn] = name

    def forwards(self: Step, other: Any) -> Node:
        return note(fn, self, other)

    def backwards(self: Step, other: Any) -> Node:
        return note(fn, other, self)

    word = fn.__name__.strip("_")
    setattr(Step, f"__{word}__", forwards)
    if word not in ("gt", "ge", "lt", "le"):
        setattr(Step, f"__r{word}__", backwards)


for _fn, _name in (
    (operator.add, "Add"), (operator.sub, "Sub"), (operator.mul, "Mul"), (operator.truediv, "Div"),
    (operator.floordiv, "FloorDiv"), (operator.mod, "Mod"), (operator.pow, "Pow"), (operator.gt, "GreaterThan"),
    (operator.ge, "GreaterThanOrEqual"), (operator.lt, "LessThan"), (operator.le, "LessThanOrEqual"),
):  # fmt: skip
    _operator(_fn, _name)
