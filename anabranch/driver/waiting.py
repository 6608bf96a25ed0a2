"""Waits for runs, in a thread or a coroutine; the slot of a waiting task is lent out meanwhile."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING

from anabranch.core import context, strays
from anabranch.core.errors import RunnerError
from anabranch.core.waiter import Waiter
from anabranch.core.waiting import wake_loop
from anabranch.driver.loop_pulse import pulse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from anabranch.core.maps import MapRun
    from anabranch.driver.pump import Pump


class Waiting:
    """Waits for runs of one pump."""

    def __init__(self, pump: Pump) -> None:
        self.pump = pump

    def wait(self, map: MapRun, index: int | None, timeout: float | None) -> bool:
        """Wait for an item or a whole map; False after `timeout`."""
        waiter = Waiter()
        dispatcher = self.pump.dispatcher
        if index is None or map.inputs.source is not None:  # something may have to be pulled first
            self.pump.dispatch(dispatcher.readers.wait_for, map, index, waiter.set)
        else:
            self.pump.enqueue(dispatcher.readers.wait_for, map, index, waiter.set)
            if map.is_terminal(index):  # the thread that ended it may have looked for waiters before
                return True
        ended = self.hold_on(waiter, timeout)
        if not ended:
            self.pump.dispatch(dispatcher.readers.forget_waiter, map, index, waiter.set)
        return ended

    def hold_on(self, waiter: Waiter, timeout: float | None) -> bool:
        """Wait to be woken; False after `timeout`."""
        if self.pump.elsewhere:
            raise RunnerError(self.pump.elsewhere)
        flow = context.current_flow.get()
        own = flow is not None and flow.caller is None and context.current_task.get() is None  # the flow's own code
        if own or (context.task_around() is None and strays.here() is None):
            return waiter.wait(timeout)
        if waiter.wait(0):
            return True
        with self.lent_slot():
            return waiter.wait(timeout)

    async def pause(self, map: MapRun, index: int | None, stopped: Callable[[], None]) -> None:
        """Wait for an item or a whole map without holding the event loop.

        Args:
            stopped: called when a stop (Ctrl-C, a notebook's stop button) cancels the coroutine.
        """
        import asyncio

        if self.pump.elsewhere:
            raise RunnerError(self.pump.elsewhere)
        loop = asyncio.get_running_loop()
        ended = loop.create_future()
        wake = functools.partial(wake_loop, loop, ended)
        self.pump.dispatch(self.pump.dispatcher.readers.wait_for, map, index, wake)
        try:
            with self.lent_slot(), pulse(loop) as heart:
                try:
                    await ended
                except asyncio.CancelledError:
                    if heart is not None and heart.stopped:
                        stopped()
                    raise
        finally:
            self.pump.dispatch(self.pump.dispatcher.readers.forget_waiter, map, index, wake)

    @contextlib.contextmanager
    def lent_slot(self) -> Iterator[None]:
        """Lend the slot of the task around to others for the block, where there is one."""
        current = context.task_around()
        if current is None and (origin := strays.here()) is not None:
            current = origin.task
        # A flow that the task has called may have another runner.
        sent = None if current is None or current.port is None else self.pump.dispatcher.tables.sent.get(current.chunk)
        runner = None if sent is None else self.pump.runners[sent.lane.index]
        if runner is None or current is None:
            yield
            return
        waits = self.pump.dispatcher.reports.chunk_waits
        runner.blocked(current.chunk, True)
        self.pump.dispatch(waits, current.chunk, current.position, True)
        try:
            yield
        finally:
            self.pump.flush()  # the items behind it in its chunk are taken back before the chunk goes on
            self.pump.dispatch(waits, current.chunk, current.position, False)
            runner.blocked(current.chunk, False)
