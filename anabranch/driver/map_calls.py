"""Calls taken apart: of a map into its items, their shared arguments and their upstreams; of one run likewise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from anabranch.core import secrets
from anabranch.core.columns import Source
from anabranch.core.frozen import taken_list
from anabranch.core.future_lists import is_future, is_future_list
from anabranch.core.layout import Layout, resolved_late, settled
from anabranch.core.map_plan import plan_map
from anabranch.core.pulled import now_list
from anabranch.core.search import Hole
from anabranch.core.walk import lift, waited_for
from anabranch.engine.fusing import PIPE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anabranch.core.map_plan import MapPlan
    from anabranch.core.maps import Upstream
    from anabranch.core.runnable import Runnable


def planned(task: Runnable, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[MapPlan, bool]:
    """Return the plan of a map, and whether each item waits for futures of its own."""
    plan = plan_map(task.binder, args, kwargs, is_future_list, is_future)
    if plan.late:
        args, kwargs = resolved_late(plan, args, kwargs)
        plan = plan_map(task.binder, args, kwargs, is_future_list, is_future)
    return settled(plan)


class ItemCall(NamedTuple):
    """The call of one run.

    Attributes:
        item: its arguments with holes in place of futures.
        futures: those futures, kept until the dispatcher knows that their values are read: a value without a reader
            goes, and of those that came out of an iterator nobody else has one.
    """

    item: Any
    upstreams: tuple[Upstream, ...]
    futures: Sequence[Any]


def item_call(
    call: tuple[Any, Any], waited: Sequence[tuple[Any, bool]], upstream: Callable[[Any, bool], Upstream]
) -> ItemCall:
    """Take the call of one run apart.

    Args:
        call: its arguments, positional and by name.
        waited: futures to wait for beside them, each with whether its failure is allowed.
        upstream: returns the upstream of a future, with whether its failure is allowed.
    """
    item, found = lift(call, is_future)
    ups = [upstream(f, allow) for f, allow in found]
    pipe = len(ups) == 1 and ups[0].item is not None and not ups[0].allow_failure and not waited
    (args, kwargs) = item
    if pipe and not kwargs and len(args) == 1 and type(args[0]) is Hole:
        item = PIPE
    if waited:
        ups += [upstream(f, allow)._replace(value=False) for f, allow in waited]
    return ItemCall(item, tuple(ups), found)


@dataclass(slots=True)
class MapCall:
    """A map over lists, iterators and maps.

    Attributes:
        feeds: the maps that are mapped over item by item.
        source: the lists and iterators that are mapped over.
        constants: the arguments that all items share, with holes in place of futures.
        values: the runs that give the values of these holes.
        gates: runs that have to end before any item begins, `values` among them.
        length: None: not known yet.
        futures: those of `values`, kept as `ItemCall.futures` are.
    """

    layout: Layout
    feeds: tuple[Upstream, ...]
    source: Source | None
    constants: Any
    values: tuple[Upstream, ...]
    gates: tuple[Upstream, ...]
    length: int | None
    futures: Sequence[Any]


def map_call(plan: MapPlan, wait_for: Any, upstream: Callable[[Any, bool], Upstream], *, apart: bool) -> MapCall:
    """Take a map's call apart.

    Args:
        upstream: returns the upstream of a future, with whether its failure is allowed.
        apart: whether workers are outside this process, so that arguments are frozen now.
    """
    if apart:
        plan = plan.as_now(taken_list if plan.length is not None else now_list)
    layout = Layout(plan)
    feeds = tuple(upstream(future, allow) for future, allow in layout.feeds)
    secrets.remember(layout.constants)
    constants: Any = tuple(layout.constants) or None
    constants, found = lift(constants, is_future) if constants is not None else (None, [])
    values = tuple(upstream(future, allow) for future, allow in found)
    gates = (*values, *(upstream(f, allow)._replace(value=False) for f, allow in waited_for(wait_for, is_future)))
    source = Source(layout.source_plan) if layout.source_plan is not None else None
    length = plan.length if not feeds or source is not None else None
    if source is not None and not source.random_access:
        length = None
    return MapCall(layout, feeds, source, constants, values, gates, length, found)
