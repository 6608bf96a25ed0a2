"""Iterators of nested maps: pulled on the worker where they are, only as far as the driver's map asks.

    worker: IteratorFeed thread --GiveElements--> driver/nested_requests --> RemoteItems --next--> the map's feeder
               ^                                                                |
               +----------- answer, held back: how many are wanted <------------+

The answer to a request is the demand for the next one, so an endless iterator gives one window and waits. A task that
leaves an iterator behind ends once the iterator is pulled to its end or its map is cancelled (`AwaitFed`).
"""

from __future__ import annotations

import contextvars
import threading
import time
from itertools import count
from types import GeneratorType
from typing import TYPE_CHECKING, Any

from anabranch.core.asking import text, told
from anabranch.core.errors import RunnerError
from anabranch.core.nested import GiveElements, RemoteIterator
from anabranch.core.pulled import now

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GATHER_SECONDS = 0.02  # the longest that a slow iterator's elements are held back
_numbers = count()


class IteratorFeed:
    """The worker's half: pulls one iterator, in a thread of its own, while the driver wants elements.

    Args:
        iterator: the user's; a generator is closed when no more of it is wanted.
        ask: sends a request to the driver and returns the answer.
        ended: called when nothing more will be pulled.
    """

    def __init__(self, iterator: Iterator[Any], ask: Callable[..., Any], ended: Callable[[IteratorFeed], None]) -> None:
        self.mark = RemoteIterator(next(_numbers))
        self._iterator = iterator
        self._ask = ask
        self._ended = ended

    def start(self) -> None:
        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(self._run,), name="anabranch-feed", daemon=True).start()

    def _run(self) -> None:
        try:
            self._serve()
        except RunnerError:  # the driver is gone, or has written this task run off
            pass
        finally:
            self._ended(self)
            if isinstance(self._iterator, GeneratorType):  # other iterators, such as a cursor, stay the user's
                self._iterator.close()

    def _serve(self) -> None:
        wanted = self._give([], False, None)
        while wanted:
            items, ended, error = self._take(wanted)
            try:
                wanted = self._give(items, ended, error)
            except RunnerError:
                raise
            except BaseException:  # an element does not pickle: those before it are sent one by one
                wanted = self._one_by_one(items, ended, error)

    def _give(self, items: list[Any], ended: bool, error: BaseException | None) -> int:
        wanted: int = self._ask(GiveElements(self.mark.number, items, ended, error))
        return wanted

    def _one_by_one(self, items: list[Any], ended: bool, error: BaseException | None) -> int:
        for item in items:
            try:
                self._give([item], False, None)
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
