"""The drivers of policies: one blocks, one awaits. The only file that knows the difference."""

from __future__ import annotations

import contextvars
import inspect
import sys
import threading
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

from anabranch.core.errors import TaskTimeoutError
from anabranch.core.waiter import Waiter
from anabranch.engine.steps import Call, Give, Left, Sleep

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Generator
    from contextlib import AbstractContextManager

    from anabranch.engine.steps import Step

T = TypeVar("T")


def run(policy: Generator[Step, Any, T], *, sleep: Callable[[float], object] = time.sleep) -> T:
    """Drive a policy to its end in this thread; async functions run on a loop of their own."""
    answer: Any = None
    error: BaseException | None = None
    while True:
        try:
            step = policy.send(answer) if error is None else policy.throw(error)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
        answer = error = None
        try:
            if type(step) is Call:
                answer = _call(step)
            else:
                sleep(step.seconds)  # type: ignore[union-attr]
        except BaseException as raised:
            error = raised


async def run_async(
    policy: Generator[Step, Any, T], *, sleep: Callable[[float], Awaitable[object]] | None = None
) -> T:
    """Drive a policy to its end on the running loop."""
    import asyncio

    answer: Any = None
    error: BaseException | None = None
    while True:
        try:
            step = policy.send(answer) if error is None else policy.throw(error)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
        answer = error = None
        try:
            if isinstance(step, Sleep):
                await (sleep or asyncio.sleep)(step.seconds)
            elif isinstance(step, Call):
                answer = await _call_async(step)
        except BaseException as raised:
            error = raised


def stream(
    policy: Generator[Step, Any, T],
    inside: Callable[[], AbstractContextManager[object]],
    sleep: Callable[[float], object] = time.sleep,
) -> Generator[Any, Any, T]:
    """Drive a policy that gives items: a generator of them, which returns what the policy does.

    Args:
        inside: what is put around the policy and its calls, and not around whoever takes the items.
    """
    answer: Any = None
    error: BaseException | None = None
    while True:
        with inside():
            try:
                step = policy.send(answer) if error is None else policy.throw(error)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]
            answer = error = None
            try:
                if type(step) is Call:
                    answer = _call(step)
                elif type(step) is Sleep:
                    sleep(step.seconds)
            except BaseException as raised:
                error = raised
        if type(step) is Give:
            try:
                answer = yield step.item
            except GeneratorExit:
                error = Left()
            except BaseException as raised:
                error = raised


async def stream_async(
    policy: Generator[Step, Any, Any],
    inside: Callable[[], AbstractContextManager[object]],
    sleep: Callable[[float], Awaitable[object]] | None = None,
) -> AsyncGenerator[Any, Any]:
    """As `stream`, on the running loop."""
    import asyncio

    answer: Any = None
    error: BaseException | None = None
    while True:
        with inside():
            try:
                step = policy.send(answer) if error is None else policy.throw(error)
            except StopIteration:
                return
            answer = error = None
            try:
                if type(step) is Call:
                    answer = await _call_async(step)
                elif type(step) is Sleep:
                    await (sleep or asyncio.sleep)(step.seconds)
            except BaseException as raised:
                error = raised
        if type(step) is Give:
            try:
                answer = yield step.item
            except GeneratorExit:
                error = Left()
            except BaseException as raised:
                error = raised


async def listed(items: AsyncIterator[Any]) -> list[Any]:
    """All that an async generator has to give."""
    return [item async for item in items]


async def awaited(move: Callable[..., Any], *args: Any) -> Any:
    """What awaiting the answer of `move` gives: it need not be a coroutine function itself."""
    return await move(*args)


async def pause(seconds: float) -> None:
    """Sleep on the running loop."""
    import asyncio

    await asyncio.sleep(seconds)


def _call(step: Call) -> Any:
    if step.timeout is not None:
        return _call_limited(step)
    value = step.fn(*step.args, **step.kwargs)
    if inspect.iscoroutine(value):
        return run_here(value)
    return value


async def _call_async(step: Call) -> Any:
    import asyncio

    if step.blocking:
        return await asyncio.to_thread(step.fn, *step.args, **step.kwargs)
    value = step.fn(*step.args, **step.kwargs)
    if not inspect.iscoroutine(value):
        return value
    if step.timeout is None:
        return await value
    task = asyncio.ensure_future(value)
    done, _ = await asyncio.wait({task}, timeout=step.timeout)
    if done:
        return task.result()
    task.cancel()
    await asyncio.wait({task}, timeout=1.0)
    raise TaskTimeoutError(f"exceeded timeout of {step.timeout} second(s)")


class _Owned:
    """A loop that goes with its thread."""

    def __init__(self, runner: Any) -> None:
        self.runner = runner

    def __del__(self) -> None:
        if not sys.is_finalizing():  # the process is going, and half of asyncio has gone
            self.runner.close()


class _Loops(threading.local):
    owned: _Owned | None = None


_loops = _Loops()


def run_here(work: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine on this thread's own event loop, which is kept for the next one."""
    import asyncio

    if _loops.owned is None:
        _loops.owned = _Owned(asyncio.Runner())
    # A runner left to itself runs all of them in the context of its first.
    return _loops.owned.runner.run(work, context=contextvars.copy_context())


def run_on_loop(start: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a coroutine to its end on this thread's own loop; beside it, where a loop is running here already."""
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        run_here(start())
        return
    here = contextvars.copy_context()
    ended: Future[None] = Future()

    def beside() -> None:
        try:
            ended.set_result(here.run(lambda: asyncio.run(start())))
        except BaseException as error:
            ended.set_exception(error)

    threading.Thread(target=beside, name="anabranch-loop", daemon=True).start()
    over = Waiter()
    ended.add_done_callback(lambda _: over.set())
    over.wait(None)
    ended.result()


def _call_limited(step: Call) -> Any:
    """A call with a time limit in the caller's thread: async ones are cancelled, sync ones left to themselves.

    Nothing can stop a running sync function of this process; it goes on in a helper thread and
    what it returns is thrown away.
    """
    if inspect.iscoroutinefunction(step.fn):
        return run_here(_call_async(step))
    box: list[tuple[bool, Any]] = []
    done = Waiter()
    where = contextvars.copy_context()
    plain = Call(step.fn, step.args, step.kwargs)

    def work() -> None:
        try:
            box.append((True, where.run(_call, plain)))
        except BaseException as raised:
            box.append((False, raised))
        finally:
            done.set()

    threading.Thread(target=work, name="anabranch-limited", daemon=True).start()
    if not done.wait(step.timeout or None):
        raise TaskTimeoutError(f"exceeded timeout of {step.timeout} second(s)")
    good, value = box.pop()
    if good:
        return value
    try:
        raise value
    finally:
        del value


