"""A map's arguments as columns: slices of sized inputs, pulls from iterators."""

from __future__ import annotations

from collections.abc import Iterator
from contextvars import copy_context
from itertools import islice
from types import GeneratorType
from typing import TYPE_CHECKING, Any

from anabranch.core.asking import is_a
from anabranch.core.errors import MapError
from anabranch.core.map_plan import Listed, is_array, wrap_each

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anabranch.core.map_plan import Mapped, MapPlan


class _Sized:
    """A column that can be counted and indexed."""

    __slots__ = ("array", "cells", "error", "label", "length", "position", "wrap")

    def __init__(self, label: str, argument: Mapped) -> None:
        given = argument.iterable
        self.array = is_array(given)
        self.cells: Any = given if self.array or isinstance(given, (range, tuple, Listed)) else tuple(given)
        self.label = label
        self.length = len(self.cells)
        self.wrap = argument.wrap
        self.position = 0
        self.error: BaseException | None = None

    def at(self, index: int) -> Any:
        if not 0 <= index < self.length:
            raise IndexError(f"{self.label} has {self.length} elements, no element {index}")
        return wrap_each(self.wrap, self.cells[index])

    def slice(self, lo: int, hi: int) -> Sequence[Any]:
        part: Sequence[Any] = list(self.cells[lo:hi]) if self.array else self.cells[lo:hi]
        return part if self.wrap is None else [wrap_each(self.wrap, cell) for cell in part]

    def pull(self, count: int) -> Sequence[Any]:
        part = self.slice(self.position, min(self.position + count, self.length))
        self.position += len(part)
        return part

    @property
    def left(self) -> int:
        return self.length - self.position


class _Stream:
    """A column pulled from an iterator; elements before the iterator's error are kept."""

    __slots__ = ("cells", "error", "label", "now", "wrap")

    def __init__(self, label: str, argument: Mapped) -> None:
        self.cells: Iterator[Any] = iter(argument.iterable)
        self.now: Callable[[Any], Any] | None = None  # copies an element before the next one is pulled
        self.label = label
        self.wrap = argument.wrap
        self.error: BaseException | None = None

    def pull(self, count: int) -> Sequence[Any]:
        part: list[Any] = []
        try:
            cells = islice(self.cells, count)
            part.extend(cells if self.now is None else map(self.now, cells))  # keeps the elements before an exception
        except BaseException as error:
            self.error = error
        return part if self.wrap is None else [wrap_each(self.wrap, cell) for cell in part]


class Source:
    """The items of a map: bare elements of the one mapped argument, or tuples of several.

    With `random_access`, `at` and `slice` read any item at any time. Otherwise `take` pulls the next items, once.
    One thread at a time.
    """

    __slots__ = ("_columns", "_fault", "_here", "_name", "_streams", "_taken", "exhausted", "length", "random_access")

    def __init__(self, plan: MapPlan) -> None:
        self._name = plan.name
        self._columns: list[_Sized | _Stream] = [
            _column(plan.labels.get(key, str(key)), argument) for key, argument in plan.mapped
        ]
        if not self._columns:
            raise MapError(f"{plan.name}.map has nothing to map over")
        self._streams = [c for c in self._columns if isinstance(c, _Stream)]
        self._taken = 0
        self._fault: BaseException | None = None
        self._here = copy_context() if self._streams else None  # iterators run in the context that they were given in
        self.random_access = not self._streams
        self.length: int | None = None
        if self.random_access:
            self.length = min(c.length for c in self._columns if isinstance(c, _Sized))
        self.exhausted = self.length == 0

    def at(self, index: int) -> Any:
        """Return item `index`; random access only."""
        if len(self._columns) == 1:
            return self._sized()[0].at(index)
        return tuple(column.at(index) for column in self._sized())

    def slice(self, lo: int, hi: int) -> Sequence[Any]:
        """Return items [lo, hi); random access only. A range stays a range."""
        if len(self._columns) == 1:
            return self._sized()[0].slice(lo, hi)
        return list(zip(*(column.slice(lo, hi) for column in self._sized()), strict=True))

    def take(self, count: int) -> list[Any]:
        """Return up to `count` next items; fewer only at the end or before an error, which the next call raises.

        Raises the user's iterator's own exception, or MapError when one argument ends before another.
        """
        if self._fault is None and not self.exhausted and count > 0:
            items = self._pull(count) if self._here is None else self._here.run(self._pull, count)
            self._taken += len(items)
            if self.length is not None and self._taken >= self.length:
                self.exhausted = True
            if items:
                return items
        fault, self._fault = self._fault, None
        if fault is None:
            return []
        self.close()
        raise fault

    def take_now(self, now: Callable[[Any], Any]) -> None:
        """Pass each element through `now` before the next one is pulled, from here on."""
        for column in self._streams:
            column.now = now

    def close(self) -> None:
        """Pull no more, and close generators."""
        self.exhausted = True
        here, self._here = self._here or copy_context(), None
        for column in self._streams:
            if isinstance(column.cells, GeneratorType):  # other iterators, such as a cursor, stay the user's
                here.run(column.cells.close)

    def _sized(self) -> list[_Sized]:
        if not self.random_access:
            raise MapError(f"{self._name}.map: items of an iterator can only be taken in turn")
        return [column for column in self._columns if isinstance(column, _Sized)]

    def _pull(self, count: int) -> list[Any]:
        # One element beyond a sized column shows whether a stream is longer; more is not pulled.
        count = min([count, *(c.left + 1 for c in self._columns if isinstance(c, _Sized))])
        parts = [column.pull(count) for column in self._columns]
        shortest = min(len(part) for part in parts)
        if shortest < count:
            self._end(parts, shortest)
        if len(parts) == 1:
            return list(parts[0])
        return list(zip(*(part[:shortest] for part in parts), strict=True))

    def _end(self, parts: list[Sequence[Any]], shortest: int) -> None:
        """Handle a column that gave less than was asked: it raised or ended. If it ended, all must have ended."""
        ended = []
        for column, part in zip(self._columns, parts, strict=True):
            if len(part) == shortest:
                if column.error is not None:
                    self._fault = column.error
                    return
                ended.append(column.label)
        if len(ended) == len(parts):
            self.exhausted = True
            return
        others = [c.label for c in self._columns if c.label not in ended]
        self._fault = MapError(
            f"{self._name}.map: arguments differ in length: {', '.join(ended)} ended after {self._taken + shortest}, "
            f"but {', '.join(others)} went on; wrap in unmapped(...) what every item is to get whole"
        )


def _column(label: str, argument: Mapped) -> _Sized | _Stream:
    """Return the column of one argument; a future list that is fed item by item was taken out of the plan before."""
    return _Stream(label, argument) if is_a(argument.iterable, Iterator) else _Sized(label, argument)
