"""Trigger rules: whether a run may start, by the ends of its upstreams.

A trigger is a function of the upstreams' states (`State` objects, without values) that returns True to run. Without
one the rule is `all_successful`, except that arguments in `allow_failure(...)` admit every terminal state.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from anabranch.core import states
from anabranch.core.asking import name_of, told
from anabranch.core.states import State

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anabranch.core.errors import ResultReleased
    from anabranch.core.maps import MapRun, Upstream

    Trigger = Callable[[Sequence[State]], bool]


def all_successful(upstream: Sequence[State]) -> bool:
    """Run if every upstream completed."""
    return all(s.is_completed() for s in upstream)


def all_failed(upstream: Sequence[State]) -> bool:
    """Run if no upstream completed (and there is one)."""
    return bool(upstream) and not any(s.is_completed() for s in upstream)


def any_successful(upstream: Sequence[State]) -> bool:
    """Run if an upstream completed, or there is none."""
    return not upstream or any(s.is_completed() for s in upstream)


def any_failed(upstream: Sequence[State]) -> bool:
    """Run if an upstream did not complete, or there is none."""
    return not upstream or any(not s.is_completed() for s in upstream)


def all_finished(upstream: Sequence[State]) -> bool:
    """Run whatever the ends of the upstreams are."""
    return True


always = all_finished
always_run = all_finished


def _share(limit: float | None, total: int, default: float) -> float:
    if limit is None:
        return default
    return limit * total if 0 < limit < 1 else limit


class _Some:
    """Bounds on how many upstreams ended in one way; picklable, unlike a closure."""

    def __init__(self, completed: bool, at_least: float | None, at_most: float | None) -> None:
        self.completed = completed
        self.at_least = at_least
        self.at_most = at_most
        self.__name__ = "some_successful" if completed else "some_failed"

    def __call__(self, upstream: Sequence[State]) -> bool:
        if not upstream:
            return True
        count = sum(s.is_completed() is self.completed for s in upstream)
        low = _share(self.at_least, len(upstream), 1)
        return low <= count <= _share(self.at_most, len(upstream), len(upstream))


def some_successful(at_least: float | None = None, at_most: float | None = None) -> Trigger:
    """Run if between `at_least` and `at_most` upstreams completed; values below 1 are fractions."""
    return _Some(True, at_least, at_most)


def some_failed(at_least: float | None = None, at_most: float | None = None) -> Trigger:
    """Run if between `at_least` and `at_most` upstreams did not complete; values below 1 are fractions."""
    return _Some(False, at_least, at_most)


def refusal(upstreams: Sequence[Upstream], trigger: Trigger | None, at: int | None = None) -> str | None:
    """Return why a run is not admitted, with the upstream's name; None when it may start.

    Args:
        upstreams: its upstreams, all of them terminal.
        at: for item-wise maps, the index of the item in each upstream.
    """
    if trigger is None:
        for up in upstreams:
            if up.allow_failure:
                continue
            bad = _first_bad(up, at)
            if bad is not None:
                return f"upstream {describe(up, bad)} ended {_name(up, bad)}"
        return None
    found = [state for up in upstreams for state in _states(up, at)]
    name = name_of(trigger)
    try:
        if trigger(found):
            return None
    except Exception as error:
        return f"its trigger {name} raised {told(error)}"
    names = [state.name for state in found]
    counts = ", ".join(names if len(names) <= 5 else [f"{n:,} {name}" for name, n in Counter(names).items()])
    return f"trigger {name} was not satisfied by its upstreams ({counts})"


def culprits(upstreams: Sequence[Upstream], at: int | None = None) -> tuple[tuple[MapRun, int], ...]:
    """Return the upstream items that did not complete."""
    found: list[tuple[MapRun, int]] = []
    for up in upstreams:
        index = at if at is not None else up.item
        which = up.map.failures() if index is None else ([] if states.is_success(up.map.codes[index]) else [index])
        found.extend((up.map, i) for i in which)
    return tuple(found)


def handled(up: Upstream, at: int | None = None) -> None:
    """Mark failures as handled, after a consumer that was admitted in spite of them has completed."""
    for map, index in culprits((up,), at):
        map.mark_handled(index)


def released(upstreams: Sequence[Upstream], at: int | None = None) -> ResultReleased | None:
    """Return the error for an input that was released before the run was submitted, if any."""
    for up in upstreams:
        map = up.map
        if not (up.value and map.values.gaps):
            continue
        index = at if at is not None else up.item
        which = range(len(map.codes)) if index is None else (index,)
        for i in which:
            if states.is_success(map.codes[i]) and not map.values.has_value(i):
                return map.released_error(i)
    return None


def describe(up: Upstream, index: int) -> str:
    return f"{up.map.spec.name}[{index}]" if up.map.kind == "map" else f"{up.map.spec.name!r} ({up.map.id}/{index})"


def _name(up: Upstream, index: int) -> str:
    message = up.map.messages.get(index, "")
    name = states.NAMES[up.map.codes[index]][0]
    return f"{name}: {message}" if message else name


def _first_bad(up: Upstream, at: int | None) -> int | None:
    codes = up.map.codes
    if up.item is None and at is None:
        if codes.count(states.COMPLETED) == len(codes):
            return None
        return next((i for i, code in enumerate(codes) if not states.is_success(code)), None)
    index = at if at is not None else up.item
    assert index is not None
    return None if states.is_success(codes[index]) else index


def _states(up: Upstream, at: int | None) -> list[State]:
    codes = up.map.codes
    index = at if at is not None else up.item
    which = range(len(codes)) if index is None else (index,)
    return [State(states.NAMES[codes[i]][1], states.NAMES[codes[i]][0], up.map.messages.get(i, "")) for i in which]
