"""A feeder: the thread that takes elements off one map's iterator.

    Dispatcher --Pull--> Feeder.wants --> source.take --> Dispatcher.pulled

An iterator may be slow: neither the pump's lock nor another map may wait for it.
"""

from __future__ import annotations

import threading
import time
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from anabranch.core.asking import shown
from anabranch.core.containers import FIXED
from anabranch.core.frozen import as_given, taken
from anabranch.core.pulled import lifted, now

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.core.maps import MapRun

TAKE_SECONDS = 0.02  # after so long the elements so far are sent on, though more are wanted


class Feeder(threading.Thread):
    """Takes elements off the iterator of one map.

    Args:
        apart: whether the map's runner is outside this process, so that elements are copied as they are now.
        pulled: takes the map, elements, whether they were the last, the error that ended them, and their upstreams.
        over: called at the end, once the iterator is closed.
        warn: takes an error in the closing of the iterator.

    Attributes:
        wants: takes the number of wanted elements; 0 ends the thread.
    """

    def __init__(
        self, map: MapRun, *, apart: bool, pulled: Callable[..., None], over: Callable[[], object],
        warn: Callable[[str], None],
    ) -> None:  # fmt: skip
        super().__init__(name=f"anabranch-feed-{map.spec.name}", daemon=True)
        self.map = map
        self.wants: SimpleQueue[int] = SimpleQueue()
        self._apart, self._loose = apart, False
        self._pulled = pulled
        self._over = over
        self._warn = warn

    def run(self) -> None:
        source: Any = self.map.inputs.source
        ended = False
        while not ended:
            count = self.wants.get()
            if count == 0 or self.map.closed:
                break
            ended = self._feed(source, count)
        try:
            source.close()
        except Exception as error:  # the user's generator raised at its end
            self._warn(f"the iterator of map {self.map.spec.name!r} failed as it was closed: {shown(error)}")
        # Only now: a Pull that lets go of this iterator must not meet the generator while it closes.
        self._over()

    def _feed(self, source: Any, count: int) -> bool:
        """Send up to `count` elements on; returns whether there are no more."""
        # Kept until their items are sent on: of a future that died before that, nobody knows that its value is read.
        elements, error = self._take(source, count)
        ended = source.exhausted or error is not None
        if self.map.resume.previous is not None:
            self.map.resume.previous.verify(len(self.map.codes), (as_given(item) for item in elements))
        items, waited, refused, _kept = lifted(self.map, elements)
        if waited and self._apart:
            items = list(map(taken, items))
        error = refused or error
        ended = ended or error is not None
        self._pulled(self.map, items, ended, error, waited)
        return ended

    def _take(self, source: Any, count: int) -> tuple[list[Any], BaseException | None]:
        """Take up to `count` elements, fewer when the iterator is slow."""
        items: list[Any] = []
        step, deadline = 1, time.monotonic() + TAKE_SECONDS
        try:
            while len(items) < count and not source.exhausted and time.monotonic() < deadline:
                found = source.take(min(step, count - len(items)))
                step *= 2
                if self._apart and not (self._loose or FIXED.issuperset([type(item) for item in found])):
                    found, self._loose = list(map(now, found)), True
                    source.take_now(now)
                items += found
        except BaseException as error:
            return items, error
        return items, None
