"""The drivers of policies: one blocks, one awaits. The only file that knows the difference."""

from __future__ import annotations

import contextvars
import inspect
import threading
import time
from types import CoroutineType
from typing import TYPE_CHECKING, Any, TypeVar

from anabranch.core import forks, tracebacks
from anabranch.core.waiter import Waiter
from anabranch.engine import loops
from anabranch.engine.steps import Call, Give, Left, PastTime

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Generator, Sequence
    from contextlib import AbstractContextManager

    from anabranch.engine.steps import Step

T = TypeVar("T")
LAST_SECONDS = 1.0  # for cancelled code to clean up, once its time is over


def run(policy: Generator[Step, Any, T], *, sleep: Callable[[float], object] = time.sleep) -> T:
    """Drive a policy to its end in this thread; coroutines run on a loop beside its calls, see `loops`.

    Raises `forks.Copied` in a forked copy of this process, in which a function of the user's has returned too.
    """
    return _advance(policy, None, None, sleep, forks.mark())[1]


async def run_async(
    policy: Generator[Step, Any, T], *, sleep: Callable[[float], Awaitable[object]] | None = None
) -> T:
    """Drive a policy to its end on the running loop; raises as `run`."""
    try:
        return (await _advance_async(policy, None, None, sleep or pause, forks.mark()))[1]
    except BaseException as error:
        tracebacks.hide(error)  # the caller of a task or flow may be what awaits this
        raise


def stream(
    policy: Generator[Step, Any, T],
    inside: Callable[[], AbstractContextManager[object]],
    sleep: Callable[[float], object] = time.sleep,
) -> Generator[Any, Any, T]:
    """Drive a policy that gives items: a generator of the items, which returns the policy's result.

    Args:
        inside: the context around the policy and its calls, and not around the code that takes the items.
    """
    answer: Any = None
    error: BaseException | None = None
    while True:
        try:
            with inside():  # once an item, because it is not free
                given, value = _advance(policy, answer, error, sleep, ())
        except BaseException as raised:
            tracebacks.hide(raised)  # the reader of the items asks here
            raise
        finally:
            answer = error = None  # the error's frames lead here: this one must not hold it
        if given is None:
            return value
        try:
            answer = yield given.item
        except GeneratorExit:
            error = Left()
        except BaseException as raised:
            error = raised


async def stream_async(
    policy: Generator[Step, Any, Any],
    inside: Callable[[], AbstractContextManager[object]],
    sleep: Callable[[float], Awaitable[object]] | None = None,
) -> AsyncGenerator[Any, Any]:
    """Do as `stream`, on the running loop."""
    answer: Any = None
    error: BaseException | None = None
    while True:
        try:
            with inside():
                given, _ = await _advance_async(policy, answer, error, sleep or pause, ())
        except BaseException as raised:
            tracebacks.hide(raised)
            raise
        finally:
            answer = error = None
        if given is None:
            return
        try:
            answer = yield given.item
        except GeneratorExit:
            error = Left()
        except BaseException as raised:
            error = raised


def _advance(
    policy: Generator[Step, Any, T], answer: Any, error: BaseException | None, sleep: Callable[[float], object],
    copied: Sequence[int],
) -> tuple[Give, Any] | tuple[None, T]:  # fmt: skip
    """Carry out the steps of a policy until it gives an item (returned first), or to its end (its value second).

    Args:
        answer: the answer to its last step.
        error: raised into it in place of an answer.
        copied: not empty in a forked copy of this process.
    """
    while True:
        try:
            step = policy.send(answer) if error is None else policy.throw(error)
        except StopIteration as stop:
            return None, stop.value
        finally:
            error = None  # its frames lead here: this one must not hold it
        answer = None
        try:
            if type(step) is Call:
                answer = _call(step)
            elif type(step) is Give:
                return step, None
            else:
                sleep(step.seconds)  # type: ignore[union-attr]
        except BaseException as raised:
            error = raised
        if copied:
            raise forks.Copied(answer, error)


async def _advance_async(
    policy: Generator[Step, Any, T], answer: Any, error: BaseException | None,
    sleep: Callable[[float], Awaitable[object]], copied: Sequence[int],
) -> tuple[Give, Any] | tuple[None, T]:  # fmt: skip
    """Do as `_advance`, on the running loop."""
    while True:
        try:
            step = policy.send(answer) if error is None else policy.throw(error)
        except StopIteration as stop:
            return None, stop.value
        finally:
            error = None
        answer = None
        try:
            if type(step) is Call:
                answer = await _call_async(step)
            elif type(step) is Give:
                return step, None
            else:
                await sleep(step.seconds)  # type: ignore[union-attr]
        except BaseException as raised:
            error = raised
        if copied:
            raise forks.Copied(answer, error)


async def listed(items: AsyncIterator[Any]) -> list[Any]:
    """Return all items of an async generator as a list."""
    return [item async for item in items]


async def awaited(move: Callable[..., Any], *args: Any) -> Any:
    """Await the return value of `move`, which need not be a coroutine function itself."""
    return await move(*args)


def run_within(work: Coroutine[Any, Any, Any], left: float, allowed: float) -> Any:
    """Run a coroutine for at most `left` of the allowed seconds; raises PastTime past them."""
    return loops.run(_limited(work, left, allowed))


def cancelled(error: BaseException) -> bool:
    """Return whether this is asyncio's CancelledError, without loading asyncio."""
    return type(error).__module__ == "asyncio.exceptions" and not isinstance(error, Exception)


async def pause(seconds: float) -> None:
    """Sleep on the running loop."""
    import asyncio

    await asyncio.sleep(seconds)


def _call(step: Call) -> Any:
    if step.timeout is not None:
        return _call_limited(step)
    value = step.fn(*step.args, **step.kwargs)
    if type(value) is CoroutineType:
        return loops.run(value)
    return value


async def _call_async(step: Call) -> Any:
    if step.blocking:
        import asyncio

        return await asyncio.to_thread(step.fn, *step.args, **step.kwargs)
    value = step.fn(*step.args, **step.kwargs)
    if type(value) is not CoroutineType:
        return value
    if step.timeout is None:
        return await value
    return await _limited(value, step.timeout, step.timeout)


async def _limited(work: Coroutine[Any, Any, Any], left: float, allowed: float) -> Any:
    """Await `work` for at most `left` of the allowed seconds.

    A cancel reaches `work`, and the caller ends as `work` does, as with a plain await. Past its time `work` is
    cancelled and has one second to clean up; its result is ignored.
    """
    import asyncio

    task = asyncio.ensure_future(work)
    deadline: float | None = time.monotonic() + left
    while not task.done():
        try:
            seconds = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not (await asyncio.wait({task}, timeout=seconds))[0]:
                break
        except asyncio.CancelledError:
            task.cancel()
            deadline = None
    if task.done():
        return task.result()
    task.cancel()
    await asyncio.wait({task}, timeout=LAST_SECONDS)
    if task.done() and not task.cancelled():
        task.exception()  # else asyncio would warn that it was never retrieved
    raise PastTime(f"exceeded timeout of {allowed} second(s)")


def _call_limited(step: Call) -> Any:
    """Call with a time limit in the caller's thread; past it an async call is cancelled, a sync one abandoned.

    A running sync function cannot be stopped. It goes on in a helper thread, and its result is thrown away.
    """
    if inspect.iscoroutinefunction(step.fn):
        return loops.run(_call_async(step))
    allowed = step.timeout or 0.0
    deadline = time.monotonic() + allowed
    box: list[tuple[bool, Any]] = []
    done = Waiter()
    where = contextvars.copy_context()
    copied = forks.mark()

    def work() -> None:
        try:
            box.append((True, where.run(step.fn, *step.args, **step.kwargs)))
        except BaseException as raised:
            box.append((False, raised))
        if copied:  # a forked copy has no thread of the caller
            forks.leave(None if box[0][0] else box[0][1])
        done.set()

    threading.Thread(target=work, name="anabranch-limited", daemon=True).start()
    if not done.wait(step.timeout or None):
        raise PastTime(f"exceeded timeout of {step.timeout} second(s)")
    good, value = box.pop()
    if good and type(value) is CoroutineType:
        return run_within(value, deadline - time.monotonic(), allowed)
    if good:
        return value
    try:
        raise value
    finally:
        del value


