"""A generator's items, given one by one to the caller of a task or flow; the caller's code runs between them."""

from __future__ import annotations

import time
from types import AsyncGeneratorType
from typing import TYPE_CHECKING, Any, Protocol

from anabranch.core.containers import LEAVES
from anabranch.engine import drive
from anabranch.engine.steps import Call, Give, Left

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from anabranch.engine.steps import Step


class Taken(Protocol):
    """An attempt that notes that an item was taken, which cannot be taken back, and that the reader has left."""

    given: bool
    left: bool


def given(
    attempt: Taken,
    items: Any,
    limit: float | None,
    ready: Callable[[Any], Any] | None = None,
    given_up: Callable[[bool], BaseException | None] | None = None,
) -> Generator[Step, Any, Any]:
    """Give a generator's items; returns the generator's return value, None where the reader stops early.

    Args:
        limit: seconds for the generator's own code, without the caller's code between two items.
        ready: turns an item with futures into the item for the reader; its exception is raised in the generator, at
            the `yield`. Blocks.
        given_up: returns the error of a run that was cancelled meanwhile, which is raised there as well.
    """
    awaits = type(items) is AsyncGeneratorType
    send, throw, close = (
        (items.asend, items.athrow, items.aclose) if awaits else (items.send, items.throw, items.close)
    )
    move: Callable[..., Any] = send
    args: tuple[Any, ...] = (None,)
    left = limit
    while True:
        begun = time.perf_counter()
        try:
            item = yield Call(drive.awaited, (move, *args), timeout=left) if awaits else Call(move, args, timeout=left)
        except StopIteration as end:
            return end.value
        except StopAsyncIteration:
            return None
        if left is not None:
            left = max(1e-6, left - (time.perf_counter() - begun))
        try:
            stopped = None if given_up is None else given_up(False)
            if stopped is not None:
                raise stopped
            if ready is not None and type(item) not in LEAVES:
                item = yield Call(ready, (item,), blocking=True)
            attempt.given = True
            answer = yield Give(item)
            move, args = send, (answer,)
        except Left:  # a reader that stops early has what it wanted
            attempt.left = True
            yield Call(drive.awaited, (close,)) if awaits else Call(close)
            return None
        except BaseException as error:
            move, args = throw, (error,)


def listed(items: Any, limit: float | None) -> Call:
    """Return the call that gives all items of a generator, within a time."""
    call = drive.listed if type(items) is AsyncGeneratorType else list
    return Call(call, (items,), timeout=limit)
