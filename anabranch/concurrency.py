"""`concurrency("name", limit)`: at most so many blocks of code at once, within this program."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

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
    place = _place(name, limit)
    if not place.acquire(timeout=timeout_seconds):
        raise TimeoutError(f"no place under the concurrency limit {name!r} came free in {timeout_seconds} s")
    try:
        yield
    finally:
        place.release()


def _place(name: str, limit: int | None) -> threading.BoundedSemaphore:
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
