"""`concurrency("name", limit)`: at most so many blocks of code at once, within this program."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from anabranch import session as sessions
from anabranch.core.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Iterator

_guard = threading.Lock()
_places: dict[str, threading.BoundedSemaphore] = {}
_limits: dict[str, int] = {}


@contextmanager
def concurrency(name: str, limit: int | None = None, *, timeout_seconds: float | None = None) -> Iterator[None]:
    """Hold one place of the limit `name` inside the block.

    Args:
        name: the limit; the first use with a `limit` sets it for the program.
        limit: places; may be left out once it was set.
        timeout_seconds: how long to wait for a place.

    Raises:
        OptionError: no limit was ever given, or another than before.
        TimeoutError: no place came free in time.

    Counts within one process: on process and Dask workers each worker counts for itself; limits on
    tasks (`concurrency_limit=`) hold on every runner.
    """
    place = place_of(name, limit)
    if not place.acquire(timeout=timeout_seconds):
        raise TimeoutError(f"no place under the concurrency limit {name!r} came free in {timeout_seconds} s")
    try:
        yield
    finally:
        place.release()


def set_tag_limit(tag: str, limit: int | None) -> None:
    """Let at most `limit` chunks of task runs with this tag run at once, whatever runner they are on.

    Args:
        tag: as in `@task(tags=...)` or ``with tags(...)``.
        limit: places, from 1; None lifts the limit.

    Holds in this program, for what is submitted from now on. Items of one chunk run one after another.
    """
    if limit is not None and limit < 1:
        raise OptionError(f"set_tag_limit({tag!r}): limit cannot be {limit}, it counts from 1")
    pump = sessions.current().pump
    pump.call(pump.dispatcher.set_limit, f"tag:{tag}", limit)


def place_of(name: str, limit: int | None) -> threading.BoundedSemaphore:
    """The places of a limit; see `concurrency`."""
    with _guard:
        known = _limits.get(name)
        if limit is not None and limit < 1:
            raise OptionError(f"concurrency({name!r}): limit cannot be {limit}, it counts from 1")
        if known is None and limit is None:
            raise OptionError(f"concurrency({name!r}): no limit was set yet; give one: concurrency({name!r}, 4)")
        if known is not None and limit is not None and known != limit:
            raise OptionError(f"concurrency({name!r}): the limit is {known} already, not {limit}")
        if known is None and limit is not None:
            _limits[name] = limit
            _places[name] = threading.BoundedSemaphore(limit)
        return _places[name]
