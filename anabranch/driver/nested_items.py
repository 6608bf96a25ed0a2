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

    from anabranch.core.contracts import WorkerRequest
    from anabranch.core.maps import MapRun


class FarItems:
    """What the map is given to iterate over in the iterator's place."""

    def __init__(self) -> None:
        self.map: MapRun | None = None
        self._lock = threading.Lock()
        self._found: SimpleQueue[tuple[list[Any], bool, BaseException | None]] = SimpleQueue()
        self._asking: WorkerRequest | None = None  # its answer says that more is wanted
        self._ended = False
        self._calls: list[Callable[[], None]] = []  # of who waits for the end

    def take(self, request: WorkerRequest, items: list[Any], ended: bool, error: BaseException | None) -> bool:
        """Elements from the worker; False: nothing is wanted any more, the request is to be answered with 0."""
        with self._lock:
            if self._ended:
                return False
            self._asking = None if ended else request
        self._found.put((items, ended, error))
        return not ended

    def fail(self, why: str) -> None:
        """Nothing more will come: the worker's task run is over."""
        self._found.put(([], True, RunnerError(why)))

    def when_ended(self, call: Callable[[], None]) -> bool:
        """Call it once nothing more will be pulled; False: that is so already."""
        with self._lock:
            if not self._ended:
                self._calls.append(call)
            return not self._ended

    def iterator(self) -> Generator[Any, None, None]:
        """The elements; closing it tells the worker to pull no more."""
        found = self._elements()
        next(found)  # started: only then does closing it run its end
        return found

    def _elements(self) -> Generator[Any, None, None]:
        wanted, ended, error = 1, False, None
        try:
            yield None
            while not ended:
                items, ended, error = self._found.get()
                if not items and not ended:  # it has only said that it is there
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
