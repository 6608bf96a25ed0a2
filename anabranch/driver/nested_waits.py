"""Requests of workers that are answered later: when something has ended, when slots are there, or when time is over.

    until_ended --waiter--> dispatcher --its call--> queue of the requests' thread --> answer --> worker
"""

from __future__ import annotations

import heapq
import itertools
import time
from typing import TYPE_CHECKING, Any

from anabranch.driver.chunk_clients import Wait
from anabranch.driver.nested_news import has_ended

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.core.events import WorkerRequest
    from anabranch.core.maps import MapRun
    from anabranch.driver.chunk_clients import ChunkClient
    from anabranch.driver.pump import Pump
    from anabranch.limits.tickets import Ticket

LATER: Any = object()  # in the place of an answer: it comes later


class NestedWaits:
    """Used by the one thread that serves requests.

    Args:
        put: has a piece of work done by that thread; from any thread.
    """

    def __init__(self, pump: Pump, put: Callable[[Callable[[], None]], None]) -> None:
        self._pump = pump
        self._put = put
        self._due: list[tuple[float, int, ChunkClient, Wait]] = []
        self._order = itertools.count()

    def finish_due(self, now: float) -> None:
        """Answer the requests whose time is over."""
        while self._due and (self._due[0][0] <= now or self._due[0][3].done):
            _, _, client, wait = heapq.heappop(self._due)
            self._finish(client, wait)

    def next_due(self) -> float | None:
        """When the next request's time is over."""
        return self._due[0][0] if self._due else None

    def until_ended(
        self, client: ChunkClient, request: WorkerRequest, keys: list[tuple[MapRun, int | None]],
        answer: Callable[[], Any], *, timeout: float | None = None, watches: bool = False,
    ) -> Any:  # fmt: skip
        """Answer when one of the keys has ended; meanwhile the task's slot is somebody else's."""
        if any(has_ended(map, index) for map, index in keys):
            return answer()
        wait = Wait(request, keys, answer, lambda: self._put(lambda: self._finish(client, wait)), watches)
        client.waits.append(wait)
        self.lend(client, request, True)
        for map, index in keys:
            self._pump.dispatch(self._pump.dispatcher.readers.wait_for, map, index, wait.call)
        if timeout is not None:
            heapq.heappush(self._due, (time.monotonic() + timeout, next(self._order), client, wait))
        return LATER

    def _finish(self, client: ChunkClient, wait: Wait) -> None:
        if wait.done:
            return
        wait.done = True
        client.waits.remove(wait)
        self._forget(wait)
        if wait.ticket is None:
            self.lend(client, wait.request, False)
        try:
            answer = wait.answer()
        except Exception as error:
            wait.request.reply(False, error)
        else:
            wait.request.reply(True, answer)

    def _forget(self, wait: Wait) -> None:
        for map, index in wait.keys:
            if not has_ended(map, index):
                self._pump.dispatch(self._pump.dispatcher.readers.forget_waiter, map, index, wait.call)

    def lend(self, client: ChunkClient, request: WorkerRequest, waits: bool) -> None:
        """Lend the slot of a task out that waits, or give it back."""
        runner = self._pump.runners[client.lane]
        if runner is not None and waits:
            runner.blocked(request.chunk, True)
        self._pump.dispatch(self._pump.dispatcher.reports.chunk_waits, request.chunk, request.position, waits)
        if runner is not None and not waits:
            runner.blocked(request.chunk, False)

    def until_admitted(
        self, client: ChunkClient, request: WorkerRequest, ticket: Ticket, timeout: float | None
    ) -> Any:
        """Answer once a ticket has its slots."""
        if ticket.wait(0):
            return True
        wait = Wait(request, [], lambda: ticket.wait(0), lambda: None, False, ticket=ticket)
        client.waits.append(wait)
        if timeout is not None:
            heapq.heappush(self._due, (time.monotonic() + timeout, next(self._order), client, wait))
        return LATER

    def admitted(self, client: ChunkClient, number: int) -> None:
        """A ticket has its slots, or has given them back."""
        for wait in [w for w in client.waits if w.ticket is not None and w.ticket is client.tickets.get(number)]:
            self._finish(client, wait)

    def again(self, client: ChunkClient) -> None:
        """Answer requests that watch with what there is; their askers ask again."""
        for wait in [w for w in client.waits if w.watches]:
            self._finish(client, wait)

    def drop(self, client: ChunkClient) -> None:
        """The chunk has ended: no answer is wanted any more."""
        for wait in client.waits:
            wait.done = True
            self._forget(wait)
