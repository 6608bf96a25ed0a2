"""Reads values of completed items back: from this process, a runner, or the result store."""

from __future__ import annotations

import time
from itertools import repeat, starmap
from operator import is_
from typing import TYPE_CHECKING, Any

from anabranch.core import states
from anabranch.core.errors import ResultReleased, ValueLost
from anabranch.core.failures import exception_of
from anabranch.core.reports import Inline, Packed
from anabranch.core.value_index import RELEASED, picked

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.core.maps import MapRun
    from anabranch.core.stores import ResultStore
    from anabranch.driver.pump import Pump

LOST_SECONDS = 10.0  # longest wait for the report of a loss, after a block could not be fetched


class ValueReader:
    """Reads values of maps.

    Args:
        store: makes the result store.
        wait: waits for an item that runs once more.
    """

    def __init__(
        self, pump: Pump, store: Callable[[], ResultStore], wait: Callable[[MapRun, int | None, float | None], bool]
    ) -> None:
        self._pump = pump
        self._store = store
        self._wait = wait

    def value(self, map: MapRun, index: int) -> Any:
        block = map.values.moved.get(index)
        content = None if block is None else block.content
        # A single run in this process: one read, without the lock, finds the value or not.
        if block is not None and type(content) is Inline:
            value = content.values[block.slot(index)]
            if value is not RELEASED:
                return value
        return self.values(map, index, index + 1)[0]

    def values(self, map: MapRun, lo: int, hi: int) -> list[Any]:
        """Return values of completed items, fetched from their places."""
        found: list[Any] = []
        start = lo
        while lo < hi:
            block, content, stop = self._pump.inspect(_completed_run, map, lo, hi)
            if stop == lo:  # lost since it was located
                self._wait_again(map, lo)
                continue
            if content is None:
                found += self._persisted(map, lo, hi)
                lo = start + len(found)
                continue
            slots = block.slots(lo, stop)
            if isinstance(content, Inline):
                values = picked(content.values, slots)
                if map.values.gaps and any(starmap(is_, zip(values, repeat(RELEASED), strict=False))):
                    values = [
                        self._persisted(map, lo + n, lo + n + 1)[0] if v is RELEASED else v
                        for n, v in enumerate(values)
                    ]
            elif isinstance(content, Packed):
                values = block.unpack(slots)
            else:
                try:
                    values = self._fetch(map, block, list(slots))
                except ResultReleased:
                    if self._pump.inspect(map.values.located, lo, hi)[0] is block:
                        raise
                    continue  # it was moved after it was located
                except ValueLost:
                    if not self._made_again(map, lo, block):
                        raise
                    continue
            found += values
            lo = stop
        return found

    def _made_again(self, map: MapRun, index: int, block: Any) -> bool:
        """Wait for the report that a block is lost, and until its item has run again; False when no report comes."""
        deadline = time.monotonic() + LOST_SECONDS
        while self._pump.inspect(map.values.located, index, index + 1)[0] is block:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        self._wait_again(map, index)
        return True

    def _wait_again(self, map: MapRun, index: int) -> None:
        """Wait for an item that has to run once more."""
        self._wait(map, index, None)
        if not states.is_success(map.codes[index]):
            raise exception_of(map, index)

    def _persisted(self, map: MapRun, lo: int, hi: int) -> list[Any]:
        """Return values from `lo` on that lie in one block of the result store alone, as far as they continue there."""
        name, slots = self._pump.inspect(_stored_run, map, lo, hi)
        blocks = self._store().blocks if slots else None
        stored = [None] if blocks is None else blocks.read(name, slots)
        values = []
        for n, one in enumerate(stored):
            if one is None:
                raise map.released_error(lo + n)
            values.append(one.value)
        return values

    def _fetch(self, map: MapRun, block: Any, slots: list[int]) -> list[Any]:
        runner = self._pump.runners[map.sending.lane]
        if runner is None:
            raise ResultReleased(
                f"the value of {map.spec.name!r} was held by a runner that is closed; return it from the flow, or "
                "call .result() inside"
            )
        return runner.fetch(block.handle, slots)


def _completed_run(map: MapRun, lo: int, hi: int) -> tuple[Any, Any, int]:
    """As `ValueIndex.located`, up to the first item that has no value; what was lost may have failed since."""
    block, content, stop = map.values.located(lo, hi)
    codes = map.codes[lo:stop]
    if codes.count(states.COMPLETED) + codes.count(states.CACHED) < stop - lo:
        stop = next(i for i in range(lo, stop) if not states.is_success(map.codes[i]))
    return block, content, stop


def _stored_run(map: MapRun, lo: int, hi: int) -> tuple[str, list[int]]:
    """Return the stored block with the value of item `lo`, and the slots of this item and those after it."""
    name = ""
    slots: list[int] = []
    for index in range(lo, hi):
        place = map.values.stored.find(index)
        if place is None or (slots and (place[0] != name or map.values.block_of(index) is not None)):
            break
        name = place[0]
        slots.append(place[1])
    return name, slots
