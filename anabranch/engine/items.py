"""A generator's items, each to whoever called the task or flow: its code runs between two of them."""

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
    """An attempt that is told once an item of it was taken, which cannot be taken back, and that its reader left."""

    given: bool
    left: bool


def given(
    attempt: Taken,
    items: Any,
    limit: float | None,
    ready: Callable[[Any], Any] | None = None,
    given_up: Callable[[bool], BaseException | None] | None = None,
) -> Generator[Step, Any, Any]:
    """Give a generator's items; what the generator returns, None where its reader stops early.

    Args:
        limit: seconds for its own code, not counting what its caller does between two items.
        ready: makes of an item that may hold others what its reader gets; what it raises is raised in the generator, at
            its `yield`. Blocks.
        given_up: the error of a run that was cancelled meanwhile, which is raised there as well.
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
        except Left:  # a reader who stops early has what they wanted
            attempt.left = True
            yield Call(drive.awaited, (close,)) if awaits else Call(close)
            return None
        except BaseException as error:
            move, args = throw, (error,)


def listed(items: Any, limit: float | None) -> Call:
    """The call that gives all items of a generator, within a time."""
    call = drive.listed if type(items) is AsyncGeneratorType else list
    return Call(call, (items,), timeout=limit)
