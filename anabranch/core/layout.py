"""A map's arguments, sorted into source columns, item-wise feeds and constants."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from anabranch.core.asking import is_a
from anabranch.core.chunks import Binding
from anabranch.core.columns import Source
from anabranch.core.containers import LEAVES
from anabranch.core.future_lists import is_future
from anabranch.core.map_plan import Constant, LateMapped, Mapped
from anabranch.core.walk import listed, without_marks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anabranch.core.map_plan import Argument, Key, MapPlan


class Layout:
    """A map's source columns, feeds and constants, and the binding that joins them to calls."""

    def __init__(self, plan: MapPlan) -> None:
        self.constants: list[Any] = []
        self.feeds: list[tuple[Any, bool]] = []
        order: list[int] = []
        width = 0
        sources = 0

        def place(argument: Any) -> tuple[str, int]:
            nonlocal width, sources
            if isinstance(argument, Constant):
                self.constants.append(argument.value)
                return ("const", len(self.constants) - 1)
            if argument.futures:
                self.feeds.append((argument.iterable, argument.wrap == "allow_failure"))
                order.append(-len(self.feeds))
            else:
                order.append(sources)
                sources += 1
            width += 1
            return ("item", width - 1)

        args = tuple(place(a) for a in plan.args)
        kwargs = tuple((name, place(a)) for name, a in plan.kwargs.items())
        self.binding = Binding(args, kwargs, width)
        self.order = tuple(order) if self.feeds else None
        self.source_plan = plan.without_future_lists() if self.feeds and sources else (None if self.feeds else plan)


    @property
    def own_columns(self) -> tuple[int, ...] | None:
        """Return the columns of an item that come from the source; (): the whole item; None: none."""
        if self.order is None:
            return ()
        return tuple(n for n, k in enumerate(self.order) if k >= 0) or None


def resolved_late(
    plan: MapPlan, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Wait for single futures among a map's arguments: their values are needed to know the elements."""

    def had(argument: Any, given: Any) -> Any:
        if not isinstance(argument, LateMapped):
            return given
        return argument.with_value(argument.future.result(raise_on_failure=argument.wrap != "allow_failure"))

    new = tuple(had(p, a) for p, a in zip(plan.args, args, strict=True))
    return new, {name: had(plan.kwargs[name], value) for name, value in kwargs.items()}


def settled(plan: MapPlan) -> tuple[MapPlan, bool]:
    """Return the plan without annotations round its elements, and whether futures are among these, at any depth.

    A constant with an iterator over futures gets a list in its place, because all items read it.

    The elements of an iterator, and those beside it, are searched when they are pulled: see `core.pulled`. A future
    list beside an iterator becomes an iterator over its futures.
    """
    plan = _with_lists(plan)
    bare: dict[Key, Mapped] = {}
    own = [(key, argument) for key, argument in plan.mapped if not argument.futures]
    if any(is_a(argument.iterable, Iterator) for _, argument in own):
        bare = {key: Mapped(iter(a.iterable), a.wrap) for key, a in plan.mapped if a.futures}
        return _with(plan, bare), False
    for key, argument in own:
        cells = argument.iterable
        if type(cells) is tuple and argument.wrap != "quote" and not LEAVES.issuperset(map(type, cells)):
            cells, holds = without_marks(cells, is_future)
            if holds:
                return plan, True
        if cells is not argument.iterable or argument.wrap is not None:
            bare[key] = Mapped(cells)
    return _with(plan, bare), False


def _with_lists(plan: MapPlan) -> MapPlan:
    """Return the plan with lists in place of iterators over futures in its constants."""
    given: list[tuple[Key, Any]] = [*enumerate(plan.args), *plan.kwargs.items()]
    constants = [(key, a.value) for key, a in given if isinstance(a, Constant)]
    lists = listed([value for _, value in constants], is_future)  # together: two of them may have the same iterator
    pairs = zip(constants, lists, strict=True)
    return _with(plan, {key: Constant(new) for (key, value), new in pairs if new is not value})


def _with(plan: MapPlan, new: Mapping[Key, Argument]) -> MapPlan:
    """Return the plan with these arguments in place of its own."""
    if not new:
        return plan
    args = tuple(new.get(n, a) for n, a in enumerate(plan.args))
    return replace(plan, args=args, kwargs={name: new.get(name, a) for name, a in plan.kwargs.items()})


def calls_of(plan: MapPlan) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
    """Return the calls of a plan, one an item."""
    source = Source(plan)
    keys = [key for key, _ in plan.mapped]
    found = []
    for index in range(plan.length or 0):
        item = source.at(index)
        cells = dict(zip(keys, (item,) if len(keys) == 1 else item, strict=True))
        args = tuple(a.value if isinstance(a, Constant) else cells[n] for n, a in enumerate(plan.args))
        kwargs = {name: a.value if isinstance(a, Constant) else cells[name] for name, a in plan.kwargs.items()}
        found.append((args, kwargs))
    return found
