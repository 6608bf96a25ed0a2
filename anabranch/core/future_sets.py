"""Sets of futures that hold a map as a byte an item; `wait` returns them for future lists."""

from __future__ import annotations

from collections.abc import MutableSet
from typing import TYPE_CHECKING, Any

from anabranch.core.futures import Future
from anabranch.core.showing import Shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from anabranch.core.future_lists import FutureList
    from anabranch.core.maps import MapRun

IN = b"\x01"


class Part:
    """Some items of one map: a mark for each member, and the list that keeps their values."""

    __slots__ = ("futures", "marks")

    def __init__(self, futures: FutureList, marks: bytearray) -> None:
        self.futures: FutureList = futures
        self.marks: bytearray = marks  # a byte an item: 1 for members


def marked(marks: bytearray) -> Iterator[int]:
    """Return the items with a mark."""
    at = marks.find(IN)
    while at >= 0:
        yield at
        at = marks.find(IN, at + 1)


class FutureSet(Shown, MutableSet[Future]):
    """A set of futures; those of a map are made one at a time, as the set is iterated over.

    It equals a plain set of the same futures. Unions and the like with plain sets give plain sets. Holding it keeps the
    values, as holding the lists does.
    """

    __slots__ = ("_parts", "_singles")

    def __init__(self, parts: Iterable[Part] = (), singles: Iterable[Future] = ()) -> None:
        self._parts: dict[MapRun, Part] = {part.futures._map: part for part in parts}
        self._singles = {one for one in singles if not self._in_part(one)}

    @property
    def parts(self) -> Iterable[Part]:
        return self._parts.values()

    @property
    def singles(self) -> set[Future]:
        return self._singles

    def _in_part(self, future: Future) -> bool:
        part = self._parts.get(future._map)
        return part is not None and future._index < len(part.marks) and part.marks[future._index] == 1

    def __len__(self) -> int:
        return len(self._singles) + sum(part.marks.count(IN) for part in self._parts.values())

    def __contains__(self, future: object) -> bool:
        return isinstance(future, Future) and (self._in_part(future) or future in self._singles)

    def __iter__(self) -> Iterator[Future]:
        for part in self._parts.values():
            yield from part.futures._each(marked(part.marks))
        yield from self._singles

    def add(self, value: Future) -> None:
        if not self._in_part(value):
            self._singles.add(value)

    def discard(self, value: Future) -> None:
        if self._in_part(value):
            self._parts[value._map].marks[value._index] = 0
        else:
            self._singles.discard(value)

    def pop(self) -> Future:
        """Take any future out and return it; raises KeyError when there is none."""
        for part in self._parts.values():
            at = part.marks.rfind(IN)
            del part.marks[max(at, 0) :]  # so that emptying a set looks at each mark once
            if at >= 0:
                return part.futures[at]
        return self._singles.pop()

    @classmethod
    def _from_iterable(cls, it: Iterable[Any]) -> set[Any]:
        return set(it)

    def __repr__(self) -> str:
        told = [f"{part.marks.count(IN):,} of {part.futures!r}" for part in self._parts.values()]
        if self._singles:
            told.append(f"{len(self._singles):,} single ones" if self._parts else f"{len(self._singles):,}")
        return f"<FutureSet: {', '.join(told) or 'empty'}>"
