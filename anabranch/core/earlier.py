"""What an earlier driver of the same run has left of a map's items, and which of it still holds.

    RECORDED --inputs are the same--> SAME --asked to run--> KEPT     its stored value stands, it does not run
        |                              |
        | they are not                 | nothing of its value is stored
        v                              v
    UNKNOWN: runs                    runs again, but what was made of it may stand

An item that is KEPT, or SAME, has the same inputs as then; so what reads it may be kept as well.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from anabranch.core.frozen import as_given
from anabranch.core.keys import DIGEST_BYTES, NO_DIGEST, digest_of
from anabranch.core.places import Places

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any

    from anabranch.core.maps import Upstream
    from anabranch.core.runs import StoredRow

UNKNOWN, RECORDED, SAME, KEPT, BARE = range(5)  # BARE: the same, with no value stored
_HOLDS = frozenset((SAME, KEPT, BARE))
_RUN = re.compile(re.escape(bytes([SAME])) + b"+")


class Earlier:
    """The items of one map; see the module's head. Filled by the driver's threads, read under the pump's lock.

    Args:
        rows: what is recorded of stored items, in the order it was written.
        lost: whether a block is not in the store any more.
        bare: whether items need no value, as nobody is going to read one.
    """

    __slots__ = ("_digests", "_empty", "attempts", "changed", "gates", "marks", "numbered", "places", "wraps")

    def __init__(
        self, rows: Iterable[StoredRow] = (), lost: Callable[[str], bool] = lambda name: False, *, bare: bool = False
    ) -> None:
        self.marks = bytearray()
        self.places = Places()
        self.attempts: dict[int, int] = {}  # the last one of completed items that had more than one, or run again
        self.numbered = False  # items are recorded under the same names as then: their attempts count on
        self.gates: tuple[Upstream, ...] = ()  # what all items read or waited for
        self.wraps = False  # the digests are of tuples of an item's own columns
        self.changed = 0  # recorded items that have other inputs now
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
        """Items from `first` on have these inputs now."""
        marks = self.marks
        for item, value in enumerate(values, first):
            if item >= len(marks):
                return
            if marks[item] == RECORDED:
                value = as_given(value)
                self.verify_digest(item, digest_of((value,) if self.wraps and type(value) is not tuple else value))

    def verify_digest(self, item: int, digest: bytes) -> None:
        """The inputs of an item have this digest now."""
        if item < len(self.marks) and self.marks[item] == RECORDED:
            at = item * DIGEST_BYTES
            same = digest != NO_DIGEST and digest == self._digests[at : at + DIGEST_BYTES]
            self.marks[item] = SAME if same else UNKNOWN
            if not same:
                self.changed += 1
                self._anew(item)

    def offer(self, item: int, place: tuple[str, int] | None) -> None:
        """This item was recorded under the same key: its value lies there, or (None) nowhere."""
        missing = item + 1 - len(self.marks)
        if missing > 0:
            self.marks.extend(bytes(missing))
        self.marks[item] = SAME
        if place is None:
            self._empty.add(item)
        else:
            self.places.add(place[0], (item,), (place[1],))

    def holds(self, item: int) -> bool:
        """Whether the item's inputs are what they were when it completed."""
        return item < len(self.marks) and self.marks[item] in _HOLDS

    def all_hold(self, lo: int, hi: int) -> bool:
        marks = self.marks[lo:hi]
        return len(marks) == hi - lo and not marks.translate(None, bytes(_HOLDS))

    def split(
        self, lo: int, hi: int, unchanged: Callable[[int], bool], all_unchanged: Callable[[int, int], bool]
    ) -> Iterator[tuple[int, int, bool]]:
        """Runs of items of [lo, hi) that are kept (True), or have to run; each item is kept once.

        Args:
            unchanged: whether what the item reads is what it was.
            all_unchanged: the same of a range of items, quickly; False also where it cannot tell.
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
        """How many recorded items nobody asked for, or whose inputs are others now."""
        return self.changed + sum(self.marks.count(mark) for mark in (RECORDED, SAME))

    def _anew(self, item: int) -> None:
        """It had completed, at its first attempt if no other is known, and runs again."""
        if self.numbered:
            self.attempts.setdefault(item, 1)

    def tried(self, lo: int, hi: int) -> list[tuple[int, int]]:
        """Items of [lo, hi) that had completed and run again, each with its last attempt; each is told once."""
        if not self.attempts:
            return []
        found: Iterable[int] = range(lo, hi)
        if len(self.attempts) < hi - lo:  # a copy: a feeder's thread may add others meanwhile
            found = [item for item in list(self.attempts) if lo <= item < hi]
        return [(item, self.attempts.pop(item)) for item in found if item in self.attempts]


def hold(upstreams: Sequence[Upstream], at: int | None = None) -> bool:
    """Whether all that is read is what it was; `at`: this item of each map."""
    for up in upstreams:
        earlier = up.map.earlier
        if earlier is None:
            return False
        item = up.item if at is None else at
        if item is None:
            if not earlier.all_hold(0, len(up.map.codes)):
                return False
        elif not earlier.holds(item):
            return False
    return True
