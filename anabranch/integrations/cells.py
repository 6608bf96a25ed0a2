"""A map of an executor in this process: the threads take one item after another, the reader reads in order."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from anabranch.core.waiter import Waiter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_NOTHING = object()  # in the place of a value that is not there yet


class _Raised:
    """In the place of a value: what the function raised."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


class Cells:
    """One map, its arguments and its values.

    Args:
        items: an argument, or with `many` a tuple of arguments, for each call.
    """

    def __init__(self, fn: Callable[..., Any], items: list[Any], many: bool) -> None:
        self._fn = fn
        self._items = items
        self._many = many
        self._left = iter(range(len(items)))  # shared: a thread that takes an index has the item
        self._values: list[Any] = [_NOTHING] * len(items)
        self._awaited = -1
        self._waiter = Waiter()

    def run(self, until: float) -> bool:
        """Do items until none is left, or the time is over; returns whether some are left."""
        fn, items, many = self._fn, self._items, self._many
        for index in self._left:
            item, items[index] = items[index], None
            try:
                value = fn(*item) if many else fn(item)
            except BaseException as error:
                value = _Raised(error)
            del item
            self._put(index, value)
            del value
            if time.monotonic() > until:
                return True
        return False

    def stop(self, error: Callable[[], BaseException]) -> None:
        """End the items that have not begun."""
        for index in self._left:
            self._items[index] = None
            self._put(index, _Raised(error()))

    def _put(self, index: int, value: Any) -> None:
        self._values[index] = value
        if index == self._awaited:
            self._waiter.set()

    def read(self, until: float | None) -> Iterator[Any]:
        """Yield the values in order; the items that have not begun never do once the reader has gone."""
        values = self._values
        try:
            for index in range(len(values)):
                if values[index] is _NOTHING:
                    self._wait(index, until)
                yield self._taken(index)
        finally:
            self.stop(_unread)

    def _wait(self, index: int, until: float | None) -> None:
        while self._values[index] is _NOTHING:
            self._waiter = waiter = Waiter()
            self._awaited = index
            if self._values[index] is not _NOTHING:
                return
            left = None if until is None else until - time.monotonic()
            if not waiter.wait(left if left is None or left > 0 else 0):
                raise TimeoutError

    def _taken(self, index: int) -> Any:
        value, self._values[index] = self._values[index], None
        if type(value) is not _Raised:
            return value
        try:
            raise value.error
        finally:
            del value  # its traceback would hold this frame, and the frame the exception


def _unread() -> BaseException:
    return TimeoutError()
