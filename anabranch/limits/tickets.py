"""Waiting for slots of limits, and holding them around a block of code, in a thread or in a coroutine."""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from anabranch.core import forks
from anabranch.core.waiter import heeding_signals
from anabranch.core.waiting import wake_loop

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence
    from typing import Self

    QueueUp = Callable[[Callable[[], None] | None], "Ticket | None"]


class Ticket:
    """Slots for one block of code, waited for or held, and the starts under a rate that the block counts as.

    Args:
        needs: slots by limit.
        starts: starts by limit.
        nudge: wakes the thread that hands slots out.
        on_ready: called by that thread once the slots are there; it must not block.
    """

    def __init__(
        self, needs: dict[str, int], starts: dict[str, int], nudge: Callable[[], None],
        on_ready: Callable[[], None] | None = None,
    ) -> None:  # fmt: skip
        self.needs = needs
        self.starts = starts
        self.held = False  # it has its slots; its starts may still be missing
        self.given_back = False
        self._on_ready = on_ready
        self._ready = threading.Event()
        self._nudge = nudge
        self._copied = forks.mark()

    @property
    def names(self) -> list[str]:
        return [*self.needs, *(name for name in self.starts if name not in self.needs)]

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the slots are there; False after `timeout`. An interrupt ends the wait for good."""
        try:
            return heeding_signals(self._ready.wait, timeout)
        except BaseException:
            self.give_back()
            raise

    def give_back(self) -> None:
        """Give the slots back, held or waited for; in a forked copy do nothing: they belong to the other process."""
        if self._copied:
            return
        self.given_back = True
        self._nudge()

    def grant(self) -> None:
        """Grant the slots; called by the thread that hands them out."""
        self._ready.set()
        if self._on_ready is not None:
            self._on_ready()


class Slots:
    """A limit within this process: first come, first served."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._free = limit
        self._lock = threading.Lock()
        self._waiting: deque[Ticket] = deque()
        self._inside: set[Ticket] = set()

    def ticket(self, name: str, count: int = 1, on_ready: Callable[[], None] | None = None) -> Ticket:
        ticket = Ticket({name: count}, {}, self._serve, on_ready)
        self._waiting.append(ticket)
        self._serve()
        return ticket

    def _serve(self) -> None:
        with self._lock:
            for ticket in [t for t in self._inside if t.given_back]:
                self._inside.discard(ticket)
                self._free += sum(ticket.needs.values())
            while self._waiting:
                first = self._waiting[0]
                count = sum(first.needs.values())
                if not first.given_back and count > self._free:
                    return
                self._waiting.popleft()
                if not first.given_back:
                    self._free -= count
                    self._inside.add(first)
                    first.held = True
                    first.grant()


class SlotGuard(contextlib.ContextDecorator):
    """Holds slots of several limits, taken one after another, around a block: `with`, `async with`, or a decorator.

    Args:
        queues: for each limit a function that makes a ticket, given the function to call when it is ready, or returns
                None where the limit does not hold.
        timeout: seconds to wait for all of them.
        on_wait: called with the limits that have to be waited for.

    Raises:
        TimeoutError: from entering, when the time is over.
    """

    def __init__(
        self, queues: Sequence[QueueUp], *, timeout: float | None = None,
        on_wait: Callable[[list[str]], None] | None = None,
    ) -> None:  # fmt: skip
        self._queues = queues
        self._timeout = timeout
        self._on_wait = on_wait
        self._tickets: list[Ticket] = []
        self._abandoned = False

    def _recreate_cm(self) -> Self:
        return type(self)(self._queues, timeout=self._timeout, on_wait=self._on_wait)

    def __enter__(self) -> None:
        deadline = self._deadline()
        try:
            for queue_up in self._queues:
                ticket = self._take(queue_up(None))
                if ticket is not None and not ticket.wait(self._left(deadline)):
                    raise self._late(ticket)
        except BaseException:
            self._leave()
            raise

    async def __aenter__(self) -> None:
        import asyncio

        deadline, loop = self._deadline(), asyncio.get_running_loop()
        try:
            for queue_up in self._queues:
                ready: asyncio.Future[None] = loop.create_future()
                ticket = self._take(queue_up(functools.partial(wake_loop, loop, ready)))
                if ticket is None:
                    continue
                try:
                    await asyncio.wait_for(ready, self._left(deadline))
                except TimeoutError:
                    raise self._late(ticket) from None
        except BaseException:
            self._leave()
            raise

    def __exit__(self, *_: object) -> None:
        self._leave()

    async def __aexit__(self, *_: object) -> None:
        self._leave()

    def abandon(self) -> None:
        """Stop waiting: the block is entered without the missing slots."""
        self._abandoned = True
        for ticket in list(self._tickets):
            ticket.grant()

    def _take(self, ticket: Ticket | None) -> Ticket | None:
        """Queue a ticket; returns it if it has to be waited for."""
        if ticket is None or self._abandoned:
            return None
        self._tickets.append(ticket)
        if ticket.wait(0):
            return None
        if self._on_wait is not None:
            self._on_wait(ticket.names)
        return ticket

    def _leave(self) -> None:
        tickets, self._tickets = self._tickets, []
        for ticket in tickets:
            ticket.give_back()

    def _deadline(self) -> float | None:
        return None if self._timeout is None else time.monotonic() + self._timeout

    def _left(self, deadline: float | None) -> float | None:
        return None if deadline is None else max(0.0, deadline - time.monotonic())

    def _late(self, ticket: Ticket) -> TimeoutError:
        names = ", ".join(repr(name) for name in ticket.names)
        return TimeoutError(f"no place under the concurrency limit {names} came free in {self._timeout} s")
