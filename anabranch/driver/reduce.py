"""Reduce: combines all values of a map on the workers, as a tree of single runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from anabranch.core.errors import MapError
from anabranch.core.futures import Future
from anabranch.core.maps import MapRun, Upstream
from anabranch.core.options import TaskOptions
from anabranch.core.runnable import Combine, Runnable
from anabranch.core.search import Hole

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anabranch.driver.pump import Pump
    from anabranch.resume.keys import Resume


class Submitting(Protocol):
    """The scope that a reduce belongs to."""

    pump: Pump
    resume: Resume | None
    given_up: str

    @property
    def wait(self) -> Callable[[MapRun, int | None, float | None], bool]: ...
    def series(self, task: Runnable, kind: str, /) -> MapRun: ...
    def cancel(self, map: MapRun, indices: Sequence[int] | None, /) -> None: ...


def reduce_tree(scope: Submitting, map: MapRun, fn: Callable[[Any, Any], Any], fan_in: int) -> Future:
    """Return a future of the combined value of a map, `fan_in` values at a step; waits for the map's length."""
    if fan_in < 2:
        raise MapError(f"fan_in must be 2 or more, got {fan_in}")
    combine = Combine(getattr(fn, "fn", fn))
    step = Runnable(combine, combine.__name__, TaskOptions())
    step.quiet = True
    if not map.closed:
        scope.wait(map, None, None)
    series, length = scope.series(step, "submit"), len(map.codes)
    if not length:
        raise ValueError(f"reduce of an empty map of {map.spec.name!r} has no value")
    below = map
    while True:
        places = [next(series.inputs.append_index) for _ in range(0, length, fan_in)]
        first = 0 if below is map else places[0] - length
        for at, place in enumerate(places):
            lo = at * fan_in
            read = range(first + lo, first + min(lo + fan_in, length))
            _leave_combine(scope, series, place, below, read)
        length, below = len(places), series
        scope.pump.step()
        if length == 1:
            return Future(series, places[0])


def _leave_combine(scope: Submitting, series: MapRun, place: int, below: MapRun, read: range) -> None:
    """Submit one combining step; its readers, not futures, keep the values of the level below."""
    item: Any = (tuple(Hole(n) for n in range(len(read))), {})
    upstreams = tuple(Upstream(below, index) for index in read)
    if scope.resume is not None:
        scope.resume.single(series, place, item, upstreams)
    scope.pump.enqueue(scope.pump.dispatcher.intake.append_item, series, place, item, upstreams)
    if scope.given_up:
        scope.cancel(series, (place,))
    if below is series:  # there is no future of a step in between
        for index in read:
            scope.pump.enqueue(scope.pump.dispatcher.readers.handle_gone, series, index)
