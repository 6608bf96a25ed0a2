"""Iterators of nested maps: pulled on the worker where they are, only as far as the driver's map asks.

    worker: Feed thread --"feed": elements--> WorkerRequests --> FarItems --next--> the map's feeder thread
               ^                                                   |
               +---- answer, held back: how many are wanted <------+

The answer to a request is the demand for the next one: an endless iterator gives what a window asks
for and waits. A task that leaves one behind ends when it has been pulled to its end, or its map was
given up ("fed").
"""

from __future__ import annotations

import contextvars
import threading
import time
from collections import deque
from itertools import count
from queue import SimpleQueue
from types import GeneratorType
from typing import TYPE_CHECKING, Any, NamedTuple

from anabranch.core.asking import text, told
from anabranch.core.errors import RunnerError
from anabranch.core.pulled import now

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from anabranch.core.contracts import WorkerRequest
    from anabranch.core.maps import MapRun

MOST = 1024  # elements of one request
GATHER_SECONDS = 0.02  # a slow iterator's elements are not held back longer
_numbers = count()


class FarIterator(NamedTuple):
    """Stands for an iterator of the worker in the arguments that travel to the driver."""

    number: int


class Feed:
    """The worker's half: pulls one iterator, in a thread of its own, while the driver wants elements.

    Args:
        iterator: the user's; a generator is closed when nobody wants more of it.
        ask: brings a request to the driver and returns its answer.
        ended: told when nothing more will be pulled.
    """

    def __init__(self, iterator: Iterator[Any], ask: Callable[..., Any], ended: Callable[[Feed], None]) -> None:
        self.mark = FarIterator(next(_numbers))
        self._iterator = iterator
        self._ask = ask
        self._ended = ended

    def start(self) -> None:
        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(self._run,), name="anabranch-feed", daemon=True).start()

    def _run(self) -> None:
        try:
            self._serve()
        except RunnerError:  # the driver is gone, or has written this task run off: nobody to tell
            pass
        finally:
            self._ended(self)
            if isinstance(self._iterator, GeneratorType):  # nothing else: a cursor is still the user's
                self._iterator.close()

    def _serve(self) -> None:
        wanted = self._give([], False, None)
        while wanted:
            items, ended, error = self._take(wanted)
            try:
                wanted = self._give(items, ended, error)
            except RunnerError:
                raise
            except BaseException:  # something of it does not pickle: what came before it is not lost
                wanted = self._one_by_one(items, ended, error)

    def _give(self, items: list[Any], ended: bool, error: BaseException | None) -> int:
        wanted: int = self._ask("feed", self.mark.number, items, ended, error)
        return wanted

    def _one_by_one(self, items: list[Any], ended: bool, error: BaseException | None) -> int:
        for item in items:
            try:
                self._ask("feed", self.mark.number, [item], False, None)
            except RunnerError:
                raise
            except BaseException as refused:
                return self._give([], True, RunnerError(f"an element of the iterator does not pickle: {text(refused)}"))
        try:
            return self._give([], ended, error)
        except RunnerError:
            raise
        except BaseException:
            said = "nothing" if error is None else told(error)
            return self._give([], True, RunnerError(f"the iterator raised {said}"))

    def _take(self, wanted: int) -> tuple[list[Any], bool, BaseException | None]:
        items: list[Any] = []
        deadline = time.monotonic() + GATHER_SECONDS
        try:
            for item in self._iterator:
                items.append(now(item))
                if len(items) >= wanted or time.monotonic() > deadline:
                    return items, False, None
        except BaseException as error:
            return items, True, error
        return items, True, None


class FarItems:
    """The driver's half: what the map is given to iterate over in the iterator's place."""

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
