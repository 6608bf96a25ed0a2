"""The second pass of a walk: builds containers anew, with other parts in the places that the search has noted."""

from __future__ import annotations

import copy
from collections import OrderedDict, deque
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from anabranch.core.annotations import allow_failure, quote
from anabranch.core.asking import attribute, of_class, told
from anabranch.core.containers import (
    DEQUE,
    DICT,
    EXACT,
    FROZENSET,
    ITERATOR,
    LEAVES,
    LIST,
    MARK,
    MODEL,
    SET,
    SEVERAL,
    STEPS,
    TUPLE,
    VIEW,
    Steps,
    attributes_of,
    behind,
    kind_of,
)
from anabranch.core.errors import ParameterBindError
from anabranch.core.future_sets import FutureSet
from anabranch.core.search import is_hole, search

if TYPE_CHECKING:
    from collections.abc import Callable


class Rebuild:
    """Copies the touched containers of one value with their futures (or holes) replaced."""

    __slots__ = ("alive", "copies", "is_future", "marks", "replace", "touched")

    def __init__(
        self,
        is_future: Callable[[object], bool],
        replace: Callable[[Any, bool], Any],
        touched: set[int],
        alive: list[Any],
        *,
        marks: bool,
    ) -> None:
        self.is_future = is_future
        self.replace = replace
        self.touched = touched
        self.alive = alive
        self.marks = marks
        self.copies: dict[int, Any] = {}

    def __call__(self, value: Any) -> Any:
        try:
            return self.part(value, False)
        except RecursionError:
            raise ParameterBindError(
                "an argument is nested too deep for the futures in it to be found a place; pass a flatter "
                "structure, or the futures' values"
            ) from None
        except ParameterBindError:
            raise
        except Exception as error:  # an object's own code raised
            raise ParameterBindError(
                f"a future is in an object that cannot be copied with a value in its place: {told(error)}; pass the "
                "future beside it, or its value"
            ) from error

    def part(self, value: Any, allow: bool) -> Any:
        cls: Any = type(value)
        if cls in LEAVES:
            return value
        kind = kind_of(cls)
        if kind == MARK:
            if not self.marks:
                return value
            if issubclass(cls, quote):
                return value.value
            return self.part(value.value, allow or issubclass(cls, allow_failure))
        if cls not in EXACT and self.is_future(value):
            return self.replace(value, allow)
        key = id(value) << 1 | allow
        if key not in self.touched:
            return value
        if key in self.copies:
            return self.copies[key]
        new = self.container(kind, value, allow, key)
        self.copies[key] = new
        return new

    def container(self, kind: int, value: Any, allow: bool, key: int) -> Any:
        if kind == LIST:
            # Known before it is filled, so that a list that contains itself ends here.
            new = self.copies[key] = [] if type(value) is list else copy.copy(value)
            new[:] = [self.part(v, allow) for v in list.__iter__(value)]
            return new
        if kind == DEQUE:
            new = self.copies[key] = copy.copy(value)
            parts = [self.part(v, allow) for v in deque.__iter__(value)]
            new.clear()
            new.extend(parts)
            return new
        if kind == SEVERAL:
            if isinstance(value, FutureSet):
                return self.container(SET, set(value), allow, key)
            return self.container(LIST, list(value), allow, key)
        if kind == ITERATOR:
            return self.steps(list(value), allow)
        if kind == STEPS:
            return iter(self.part(value.items, allow))
        if kind == VIEW:
            return MappingProxyType(self.part(next(iter(behind(value))), allow))
        if kind == DICT:
            return self.dict(value, allow, key)
        if kind == TUPLE:
            return _like_tuple(value, [self.part(v, allow) for v in tuple.__iter__(value)])
        if kind in (SET, FROZENSET):
            return self.set(kind, value, allow)
        return self.fields(kind, value, allow, key)

    def steps(self, items: list[Any], allow: bool) -> Any:
        """Return what stands for an iterator with these elements."""
        found = self.elements(items, allow)
        return Steps(found) if search((found,), is_hole, marks=False)[0] else iter(found)

    def elements(self, items: list[Any], allow: bool) -> Any:
        """Rebuild the elements of an iterator: the search could not see the futures among them."""
        touched, alive = search((items,), self.is_future, marks=self.marks, allow=int(allow))
        self.touched |= touched
        self.alive += alive
        return self.part(items, allow)

    def dict(self, value: Any, allow: bool, key: int) -> Any:
        new = self.copies[key] = {} if type(value) is dict else copy.copy(value)
        items = OrderedDict.items(value) if isinstance(new, OrderedDict) else dict.items(value)
        pairs = [(self.part(k, allow), self.part(v, allow)) for k, v in items]
        if new:
            new.clear()
        for k, v in pairs:
            try:
                new[k] = v
            except TypeError as error:
                raise _unhashable(k, "a key of a dict", error) from error
        return new

    def set(self, kind: int, value: Any, allow: bool) -> Any:
        parts = [self.part(v, allow) for v in (frozenset if kind == FROZENSET else set).__iter__(value)]
        for part in parts:
            try:
                hash(part)
            except TypeError as error:
                raise _unhashable(part, "an element of a set", error) from error
        if kind == FROZENSET:
            return type(value)(parts)
        new = copy.copy(value)
        new.clear()
        new.update(parts)
        return new

    def fields(self, kind: int, value: Any, allow: bool, key: int) -> Any:
        given = attributes_of(kind, value)
        if kind == MODEL:
            changed = {name: self.part(v, allow) for name, v in given.items()}
            return value.model_copy(update={n: v for n, v in changed.items() if v is not given[n]})
        new = self.copies[key] = _copy_of(value, given)
        for name, v in given.items():
            part = self.part(v, allow)
            if part is not v:
                object.__setattr__(new, name, part)  # frozen classes forbid plain assignment
        return new


class Listing(Rebuild):
    """Puts a list in the place of each touched iterator; futures and annotations stay."""

    __slots__ = ()

    def part(self, value: Any, allow: bool) -> Any:
        cls: Any = type(value)
        if kind_of(cls) != MARK or issubclass(cls, quote):
            return value if issubclass(cls, quote) else super().part(value, allow)
        return cls(self.part(value.value, allow or issubclass(cls, allow_failure)))

    def steps(self, items: list[Any], allow: bool) -> Any:
        return self.elements(items, allow)


def _copy_of(value: Any, given: dict[str, Any]) -> Any:
    try:
        return copy.copy(value)
    except AttributeError:  # a slotted, frozen class with an unset field: its own copying needs all fields
        new = object.__new__(type(value))
        for name, v in given.items():
            object.__setattr__(new, name, v)
        return new


def _like_tuple(value: Any, parts: list[Any]) -> Any:
    cls = type(value)
    if cls is tuple:
        return tuple(parts)
    if of_class(cls, "_make") is not None and of_class(cls, "_fields") is not None:  # a named tuple
        return cls._make(parts)
    new = tuple.__new__(cls, parts)
    held = attribute(value, "__dict__")
    if held:
        vars(new).update(held)
    return new


def _unhashable(value: object, place: str, error: TypeError) -> ParameterBindError:
    return ParameterBindError(f"a future stands as {place}, but its value cannot be that: {error}")
