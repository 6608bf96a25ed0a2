"""Limits that code names: `concurrency("name")`, `rate_limit("name")`, and limits on tags.

Limits in the record hold for all programs of that record; others count within this process.
"""

from __future__ import annotations

import functools
import threading
import time
from typing import TYPE_CHECKING

from anabranch import session as sessions
from anabranch.core import context, forks
from anabranch.core.errors import OptionError
from anabranch.limits.tickets import SlotGuard, Slots, Ticket

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.limits.tickets import QueueUp

    Unknown = Callable[["UnknownLimit"], None]

RECALL_SECONDS = 5.0  # between a worker's questions to its driver whether the record has a limit

_guard = threading.Lock()
_slots: dict[str, Slots] = {}
_not_in_record: dict[str, float] = {}


class UnknownLimit(OptionError):
    """Raised where a limit is named that was never set."""


def concurrency(
    name: str, limit: int | None = None, *, occupy: int = 1, timeout_seconds: float | None = None
) -> SlotGuard:
    """Hold slots of the limit `name` inside the block: `with concurrency(...)`, `async with`, or as a decorator.

    Args:
        name: the limit. One that the record has (`anabranch limits set NAME --slots 4`) holds for all programs
            of the record and on all their workers, and `limit` does not matter then.
        limit: slots within this process, for a limit that is not in the record; the first use sets it, later
            ones may leave it out.
        occupy: slots to hold.
        timeout_seconds: the longest wait.

    Raises:
        OptionError: no limit was ever given, or another than before, or `occupy` is larger than the limit.
        TimeoutError: not enough slots came free in time.
    """
    return slots_inside(name, limit, occupy, timeout_seconds)


def rate_limit(name: str, *, occupy: int = 1, timeout_seconds: float | None = None) -> None:
    """Wait for a start under the rate of the limit `name`, counted over all programs of the record.

    In a coroutine: ``async with concurrency(name)``, which counts as a start as well, where the limit has a rate.

    Args:
        name: a limit of the record: `anabranch limits set NAME --rate 10/s`.
        occupy: starts that it counts as.
        timeout_seconds: the longest wait.

    Raises:
        OptionError: the record has no such limit.
        TimeoutError: the start came too late.
    """
    with start_inside(name, occupy, timeout_seconds):
        return


def slots_inside(
    name: str, limit: int | None, occupy: int, timeout_seconds: float | None, unknown: Unknown | None = None
) -> SlotGuard:  # fmt: skip
    """Return the block of `concurrency`.

    Args:
        unknown: called in place of raising UnknownLimit, with it; the block is entered without slots then.
    """
    _check(name, occupy)
    return _inside(functools.partial(_queue_up, name, limit, occupy), timeout_seconds, unknown)


def start_inside(
    name: str, occupy: int, timeout_seconds: float | None, unknown: Unknown | None = None
) -> SlotGuard:  # fmt: skip
    """Return a block that begins with a start of `rate_limit`; `unknown` is that of `slots_inside`."""
    _check(name, occupy)
    return _inside(functools.partial(_queue_start, name, occupy), timeout_seconds, unknown)


def _inside(queue_up: QueueUp, timeout_seconds: float | None, unknown: Unknown | None) -> SlotGuard:
    def known(on_ready: Callable[[], None] | None) -> Ticket | None:
        try:
            return queue_up(on_ready)
        except UnknownLimit as error:
            if unknown is None:
                raise
            unknown(error)
            return None

    return SlotGuard([known], timeout=timeout_seconds)


def set_tag_limit(tag: str, limit: int | None) -> None:
    """Let at most `limit` chunks of task runs with this tag run at once, on all runners together.

    Args:
        tag: as in `@task(tags=...)` or ``with tags(...)``.
        limit: places, from 1; None lifts the limit.

    Holds in this program, for what is submitted from now on. Items of one chunk run one after another.
    For all programs of a record: `anabranch limits set tag:NAME --slots 4`.
    """
    if limit is not None and limit < 1:
        raise OptionError(f"set_tag_limit({tag!r}): limit must be greater than 0, got {limit}")
    pump = sessions.current().pump
    pump.dispatch(pump.dispatcher.set_limit, f"tag:{tag}", limit)


def slots_of(name: str, limit: int | None) -> Slots:
    """Return the slots of a limit within this process; see `concurrency`."""
    with _guard:
        known = _slots.get(name)
        if limit is not None and limit < 1:
            raise OptionError(f"concurrency({name!r}): limit must be greater than 0, got {limit}")
        if known is None and limit is None:
            raise UnknownLimit(
                f"concurrency({name!r}): no limit was set yet; give one: concurrency({name!r}, 4), or set it for all "
                f"programs: anabranch limits set {name} --slots 4"
            )
        if known is not None and limit is not None and known.limit != limit:
            raise OptionError(f"concurrency({name!r}): the limit is {known.limit} already, not {limit}")
        if known is None:
            known = _slots[name] = Slots(limit or 1)
        return known


def _count_anew() -> None:
    """Reset in a forked copy: the holders of these slots are in the other process."""
    global _guard
    _guard = threading.Lock()
    for name, slots in _slots.items():
        _slots[name] = Slots(slots.limit)


forks.in_copies(_count_anew)


def _check(name: str, occupy: int) -> None:
    if not isinstance(occupy, int) or occupy < 1:
        raise OptionError(f"concurrency({name!r}): occupy must be greater than 0, got {occupy!r}")


def _queue_up(name: str, limit: int | None, occupy: int, on_ready: Callable[[], None] | None) -> Ticket | None:
    known, ticket = _of_record(name, occupy, True, on_ready)
    if known:
        return ticket
    slots = slots_of(name, limit)
    if occupy > slots.limit:
        raise OptionError(f"concurrency({name!r}): occupy must be at most {slots.limit} (the limit), got {occupy}")
    return slots.ticket(name, occupy, on_ready)


def _queue_start(name: str, occupy: int, on_ready: Callable[[], None] | None) -> Ticket | None:
    known, ticket = _of_record(name, occupy, False, on_ready)
    if not known:
        raise UnknownLimit(
            f"rate_limit({name!r}): the record has no such limit; set it: anabranch limits set {name} --rate 10/s"
        )
    return ticket


def _of_record(
    name: str, occupy: int, hold: bool, on_ready: Callable[[], None] | None
) -> tuple[bool, Ticket | None]:
    """Return whether the record has the limit, and a ticket where it holds; a worker asks its driver for one."""
    task = context.current_task.get()
    if task is None or task.scope is None:
        limits = sessions.current().limits
        limits.keep_up()
        return limits.known(name), limits.ticket({name: occupy}, hold=hold, on_ready=on_ready)
    if time.monotonic() < _not_in_record.get(name, 0.0):
        return False, None
    known, ticket = task.scope.queue_up(name, occupy, hold, on_ready)
    if not known:
        _not_in_record[name] = time.monotonic() + RECALL_SECONDS
    return known, ticket
