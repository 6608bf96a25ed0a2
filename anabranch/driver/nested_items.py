"""The driver's half of an iterator that stays on a worker, see `worker/nested_feed.py`."""

from __future__ import annotations

import threading
from collections import deque
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from anabranch.core.errors import RunnerError
from anabranch.core.nested import MOST

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from anabranch.core.events import WorkerRequest
    from anabranch.core.maps import MapRun


class RemoteItems:
    """The iterable that a map gets in place of the worker's iterator."""

    def __init__(self) -> None:
        self.map: MapRun | None = None
        self._lock = threading.Lock()
        self._found: SimpleQueue[tuple[list[Any], bool, BaseException | None]] = SimpleQueue()
        self._asking: WorkerRequest | None = None  # the open request; its answer orders more elements
        self._ended = False
        self._calls: list[Callable[[], None]] = []  # called at the end

    def take(self, request: WorkerRequest, items: list[Any], ended: bool, error: BaseException | None) -> bool:
        """Take elements from the worker; False: no more are wanted, and the request must be answered with 0."""
        with self._lock:
            if self._ended:
                return False
            self._asking = None if ended else request
        self._found.put((items, ended, error))
        return not ended

    def fail(self, why: str) -> None:
        """Fail the iteration: the worker's task run is over, and no more elements come."""
        self._found.put(([], True, RunnerError(why)))

    def when_ended(self, call: Callable[[], None]) -> bool:
        """Call `call` once nothing more will be pulled; False: that is so already."""
        with self._lock:
            if not self._ended:
                self._calls.append(call)
            return not self._ended

    def iterator(self) -> Generator[Any, None, None]:
        """Return a generator of the elements; closing it tells the worker to pull no more."""
        found = self._elements()
        next(found)  # a generator runs its end on closing only after it was started
        return found

    def _elements(self) -> Generator[Any, None, None]:
        wanted, ended, error = 1, False, None
        try:
            yield None
            while not ended:
                items, ended, error = self._found.get()
                if not items and not ended:  # the first message only registers the iterator
                    self._answer(wanted)
                    continue
                wanted = min(2 * wanted, MOST)
                left = deque(items)
                del items
                while left:
                    yield left.popleft()
                if not ended:
                    self._answer(wanted)
            if error is not None:
                raise error
        finally:
            self._end()

    def _answer(self, wanted: int) -> None:
        with self._lock:
            request, self._asking = self._asking, None
        if request is not None:
            request.reply(True, wanted)

    def _end(self) -> None:
        with self._lock:
            self._ended = True
            calls, self._calls = self._calls, []
        self._answer(0)
        for call in calls:
            call()
