"""The items of a map that an earlier driver of the same run has completed, and whether their values still hold.

    RECORDED --same inputs--> SAME --asked to run--> KEPT     its stored value holds, it does not run
        |                       |
        | other inputs          | its value is not stored
        v                       v
    UNKNOWN: runs             runs again, but values that were made from it may hold

    An item that is KEPT, or SAME, has the same inputs as before; so its readers may be kept as well.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from anabranch.core.keys import DIGEST_BYTES, NO_DIGEST, digest_of
from anabranch.core.places import Places

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any

    from anabranch.core.runs import StoredRow

UNKNOWN, RECORDED, SAME, KEPT, BARE = range(5)  # BARE: the same, with no value stored
_HOLDS = frozenset((SAME, KEPT, BARE))
_RUN = re.compile(re.escape(bytes([SAME])) + b"+")


class PreviousItems:
    """The items of one map; see the module's head. Filled by the driver's threads, read under the pump's lock.

    Args:
        rows: the recorded rows of stored items, in the order they were written.
        lost: returns whether a block is missing from the store.
        bare: whether items need no value, because none will be read.
    """

    __slots__ = ("_digests", "_empty", "attempts", "changed", "marks", "numbered", "places", "wraps")

    def __init__(
        self, rows: Iterable[StoredRow] = (), lost: Callable[[str], bool] = lambda name: False, *, bare: bool = False
    ) -> None:
        self.marks = bytearray()
        self.places = Places()
        self.attempts: dict[int, int] = {}  # last attempt of completed items that had several, or that run again
        self.numbered = False  # items have the names that they had before: their attempt numbers go on
        self.wraps = False  # digests are made of tuples of an item's own columns
        self.changed = 0  # recorded items with other inputs now
        self._digests = bytearray()
        self._empty: set[int] = set()
        for row in rows:
            self._take(row, bool(row.name) and lost(row.name), bare)

    def _take(self, row: StoredRow, lost: bool, bare: bool) -> None:
        if row.name and not lost:
            self.places.add(row.name, row.items, row.slots)
        missing = max(row.items) + 1 - len(self.marks)
        if missing > 0:
            self.marks.extend(bytes(missing))
            self._digests.extend(bytes(missing * DIGEST_BYTES))
        self._mark(row.items, RECORDED if row.digests else SAME, row.digests)
        if not bare and (lost or not row.name):
            self._empty.update(row.items)
        elif self._empty:
            self._empty.difference_update(row.items)

    def _mark(self, items: Sequence[int], mark: int, digests: bytes) -> None:
        size = DIGEST_BYTES
        if isinstance(items, range) and items.step == 1:
            self.marks[items[0] : items[-1] + 1] = bytes([mark]) * len(items)
            if digests:
                self._digests[items[0] * size : (items[-1] + 1) * size] = digests
            return
        for n, item in enumerate(items):
            self.marks[item] = mark
            if digests:
                self._digests[item * size : (item + 1) * size] = digests[n * size : (n + 1) * size]

    def verify(self, first: int, values: Iterable[Any]) -> None:
        """Compare the inputs of the items from `first` on, each as it was given, with the recorded ones."""
        marks = self.marks
        for item, value in enumerate(values, first):
            if item >= len(marks):
                return
            if marks[item] == RECORDED:
                self.verify_digest(item, digest_of((value,) if self.wraps and type(value) is not tuple else value))

    def verify_digest(self, item: int, digest: bytes) -> None:
        """Compare the digest of an item's inputs with the recorded one."""
        if item < len(self.marks) and self.marks[item] == RECORDED:
            at = item * DIGEST_BYTES
            same = digest != NO_DIGEST and digest == self._digests[at : at + DIGEST_BYTES]
            self.marks[item] = SAME if same else UNKNOWN
            if not same:
                self.changed += 1
                self._anew(item)

    def offer(self, item: int, place: tuple[str, int] | None) -> None:
        """Note that the item was recorded under the same key; `place` is that of its value, None if it has none."""
        missing = item + 1 - len(self.marks)
        if missing > 0:
            self.marks.extend(bytes(missing))
        self.marks[item] = SAME
        if place is None:
            self._empty.add(item)
        else:
            self.places.add(place[0], (item,), (place[1],))

    def holds(self, item: int) -> bool:
        """Return whether the item has the inputs with which it completed."""
        return item < len(self.marks) and self.marks[item] in _HOLDS

    def all_hold(self, lo: int, hi: int) -> bool:
        marks = self.marks[lo:hi]
        return len(marks) == hi - lo and not marks.translate(None, bytes(_HOLDS))

    def split(
        self, lo: int, hi: int, unchanged: Callable[[int], bool], all_unchanged: Callable[[int, int], bool]
    ) -> Iterator[tuple[int, int, bool]]:
        """Yield runs of items of [lo, hi) that are kept (True), or have to run; each item is kept once.

        Args:
            unchanged: returns whether the values that an item reads are unchanged.
            all_unchanged: the same for a range of items, quickly; False also where it cannot tell.
        """
        start = lo
        for found in _RUN.finditer(bytes(self.marks[lo:hi])):
            a, b = lo + found.start(), lo + found.end()
            whole = all_unchanged(a, b) and (not self._empty or self._empty.isdisjoint(range(a, b)))
            if whole:
                self.marks[a:b] = bytes([KEPT]) * (b - a)
            for first, last, keep in [(a, b, True)] if whole else self._each(a, b, unchanged):
                if keep:
                    if start < first:
                        yield start, first, False
                    yield first, last, True
                    start = last
        if start < hi:
            yield start, hi, False

    def _each(self, lo: int, hi: int, unchanged: Callable[[int], bool]) -> Iterator[tuple[int, int, bool]]:
        start, keep = lo, False
        for item in range(lo, hi):
            here = self._keep(item, unchanged)
            if here != keep:
                yield start, item, keep
                start, keep = item, here
        yield start, hi, keep

    def _keep(self, item: int, unchanged: Callable[[int], bool]) -> bool:
        if not unchanged(item):
            self.marks[item] = UNKNOWN
            self._anew(item)
            return False
        if item in self._empty:
            self.marks[item] = BARE
            self._anew(item)
            return False
        self.marks[item] = KEPT
        return True

    def unclaimed(self) -> int:
        """Return how many recorded items were not asked for, or have other inputs now."""
        return self.changed + sum(self.marks.count(mark) for mark in (RECORDED, SAME))

    def _anew(self, item: int) -> None:
        """Note that a completed item runs again; without a known attempt it had one."""
        if self.numbered:
            self.attempts.setdefault(item, 1)

    def tried(self, lo: int, hi: int) -> list[tuple[int, int]]:
        """Return items of [lo, hi) that had completed and run again, each with its last attempt; each item once."""
        if not self.attempts:
            return []
        found: Iterable[int] = range(lo, hi)
        if len(self.attempts) < hi - lo:  # copied, because a feeder's thread may add items meanwhile
            found = [item for item in list(self.attempts) if lo <= item < hi]
        return [(item, self.attempts.pop(item)) for item in found if item in self.attempts]
