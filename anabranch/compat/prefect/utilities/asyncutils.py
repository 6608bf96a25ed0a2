"""Functions that a coroutine awaits and other code calls, as many of Prefect's are."""

from __future__ import annotations

import functools
import inspect
import sys
from typing import TYPE_CHECKING, Any, TypeVar

from anabranch.core.context import current_flow, current_task
from anabranch.engine import loops

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

_T = TypeVar("_T")


def is_async_fn(func: Any) -> bool:
    """Return whether calling this gives a coroutine."""
    while hasattr(func, "__wrapped__"):
        func = func.__wrapped__
    return inspect.iscoroutinefunction(func)


def is_async_gen_fn(func: Any) -> bool:
    """Return whether calling this gives an async generator."""
    while hasattr(func, "__wrapped__"):
        func = func.__wrapped__
    return inspect.isasyncgenfunction(func)


def in_loop() -> bool:
    """Return whether an event loop runs in this thread; loads no asyncio."""
    loaded = sys.modules.get("asyncio")
    return loaded is not None and loaded._get_running_loop() is not None


def awaits() -> bool:
    """Return whether code here awaits: what its run says, and outside of runs, whether a loop runs."""
    task, flow = current_task.get(), current_flow.get()
    if task is not None and task.spec is not None:
        return bool(task.spec.isasync) and in_loop()
    if flow is not None and flow.flow is not None:
        return bool(flow.flow.isasync) and in_loop()
    return in_loop()


async def _later(fn: Callable[..., _T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> _T:
    return fn(*args, **kwargs)


def awaited(fn: Callable[..., _T]) -> Callable[..., Coroutine[Any, Any, _T]]:
    """Return the function as a coroutine function."""

    @functools.wraps(fn)
    async def call(*args: Any, **kwargs: Any) -> _T:
        return fn(*args, **kwargs)

    return call


def either(fn: Callable[..., _T]) -> Callable[..., Any]:
    """Make a function that gives a coroutine to code that awaits, and its value to other code."""

    @functools.wraps(fn)
    def call(*args: Any, _sync: bool | None = None, **kwargs: Any) -> Any:
        if _sync is False or (_sync is None and awaits()):
            return _later(fn, args, kwargs)
        return fn(*args, **kwargs)

    call.aio = awaited(fn)  # type: ignore[attr-defined]
    call.sync = fn  # type: ignore[attr-defined]
    return call


sync_compatible = either


def run_coro_as_sync(coroutine: Coroutine[Any, Any, _T], **_: Any) -> _T:
    """Run a coroutine to its end and return its value, whatever runs here."""
    found: _T = loops.run(coroutine)
    return found
