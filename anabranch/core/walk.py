"""Finds futures at any depth of a call's arguments, and puts values in their place.

`lift` takes futures out and leaves numbered holes, `fill` puts values into the holes. Both make two passes. The search,
with its own stack (any depth, cycles and shared parts included), notes the containers on the way to a future or hole.
The second pass builds only those anew. A container without a future comes back as the same object.
"""

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
    FIXED,
    FROZENSET,
    ITERATOR,
    LEAVES,
    LIST,
    MARK,
    MODEL,
    OTHER,
    SET,
    SEVERAL,
    STEPS,
    TUPLE,
    VIEW,
    Steps,
    attributes_of,
    behind,
    kind_of,
    parts_of,
)
from anabranch.core.errors import ParameterBindError
from anabranch.core.future_sets import FutureSet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_ROOT = -1


class Hole:
    """Stands in an argument for the value of the n-th future that `lift` found there."""

    __slots__ = ("allow_failure", "n")

    def __init__(self, n: int, allow_failure: bool = False) -> None:
        self.n = n
        self.allow_failure = allow_failure

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Hole) and (self.n, self.allow_failure) == (other.n, other.allow_failure)

    def __hash__(self) -> int:
        return hash((Hole, self.n, self.allow_failure))

    def __reduce__(self) -> tuple[type[Hole], tuple[int, bool]]:
        return (Hole, (self.n, self.allow_failure))

    def __repr__(self) -> str:
        return f"Hole({self.n}, allow_failure=True)" if self.allow_failure else f"Hole({self.n})"


def needs_walk(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Return whether an argument could hold a future, or change; False when all are plain leaves."""
    for value in args:
        if type(value) not in FIXED:
            return True
    return bool(kwargs) and not FIXED.issuperset(map(type, kwargs.values()))


def lift(value: Any, is_future: Callable[[object], bool]) -> tuple[Any, list[tuple[Any, bool]]]:
    """Replace each future in `value` by a `Hole` and list them as (future, allow_failure).

    Annotations are taken off on the way. Raises ParameterBindError when the path to a future is too deep to be rebuilt.
    """
    found: list[tuple[Any, bool]] = []
    if type(value) in LEAVES:
        return value, found
    flat = _lift_flat(value, is_future) if type(value) is tuple else None
    if flat is not None:
        return flat
    touched, alive = _search((value,), is_future, marks=True)
    if not touched:
        return value, found
    numbers: dict[tuple[int, bool], Hole] = {}

    def take(future: Any, allow: bool) -> Hole:
        hole = numbers.get((id(future), allow))
        if hole is None:
            hole = numbers[id(future), allow] = Hole(len(found), allow)
            found.append((future, allow))
        return hole

    return _Rebuild(is_future, take, touched, alive, marks=True)(value), found


def fill(value: Any, values: Sequence[Any]) -> Any:
    """Put ``values[n]`` in the place of each ``Hole(n)``; the values themselves are not searched.

    Raises ParameterBindError for a value that must be hashable and is not.
    """
    kind = type(value)
    if kind is Hole:
        return values[value.n]
    if kind in LEAVES:
        return value
    flat = _fill_flat(value, values, inner=True) if kind is tuple else None
    if flat is not None:
        return flat
    touched, alive = _search((value,), _is_hole, marks=False)
    if not touched:
        return value
    return _Rebuild(_is_hole, lambda hole, _: values[hole.n], touched, alive, marks=False)(value)


def fill_call(
    args: tuple[Any, ...], kwargs: dict[str, Any], values: Sequence[Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Do as `fill`, for a call's arguments."""
    filled: tuple[tuple[Any, ...], dict[str, Any]] = fill((args, kwargs), values)
    return filled


def _is_hole(value: object) -> bool:
    return type(value) is Hole


# -- short ways for what chains of submits send: futures and leaves, side by side ------------------


def _lift_flat(call: tuple[Any, ...], is_future: Callable[[object], bool]) -> tuple[Any, list[tuple[Any, bool]]] | None:
    """Do as `lift`, for ``((leaf, future or quote, ...), {})``; returns None for anything else."""
    if len(call) != 2 or type(call[0]) is not tuple or type(call[1]) is not dict or call[1]:
        return None
    found: list[tuple[Any, bool]] = []
    numbers: dict[int, Hole] = {}
    parts: list[Any] = []
    quoted = False
    for part in call[0]:
        cls: Any = type(part)
        if cls is quote:
            part, quoted = part.value, True
        elif cls not in LEAVES:
            if cls in EXACT or kind_of(cls) != OTHER:
                return None
            if is_future(part):
                hole = numbers.get(id(part))
                if hole is None:
                    hole = numbers[id(part)] = Hole(len(found))
                    found.append((part, False))
                part = hole
        parts.append(part)
    return ((tuple(parts), call[1]), found) if found or quoted else (call, found)


def _fill_flat(parts: tuple[Any, ...], values: Sequence[Any], *, inner: bool) -> tuple[Any, ...] | None:
    """Do as `fill`, for holes, leaves, empty dicts and (with `inner`) tuples of these; returns None for others."""
    new: list[Any] = []
    changed = False
    for part in parts:
        cls = type(part)
        if cls is Hole:
            new.append(values[part.n])
            changed = True
            continue
        if cls is tuple and inner:
            filled = _fill_flat(part, values, inner=False)
            if filled is None:
                return None
            changed = changed or filled is not part
            new.append(filled)
        elif cls in LEAVES or (cls is dict and not part):
            new.append(part)
        else:
            return None
    return tuple(new) if changed else parts


# -- first pass: what is to be replaced, and which containers lie above it -------------------------


def _search(
    values: Iterable[Any], is_future: Callable[[object], bool], *, marks: bool, allow: int = 0
) -> tuple[set[int], list[Any]]:
    """Return keys of the containers to build anew, and the objects that must stay alive while the keys are used.

    A key is an object's id and whether it was reached through `allow_failure`: an argument may contain one list both
    ways.
    """
    parents: dict[int, list[int]] = {}
    alive: list[Any] = []
    hits: list[int] = []
    pending: list[tuple[Iterable[Any], int, int]] = [(values, _ROOT, allow)]
    while pending:
        parts, parent, allow = pending.pop()
        for part in parts:
            cls: Any = type(part)
            if cls in LEAVES:
                continue
            kind = kind_of(cls)
            if cls in EXACT:
                if LEAVES.issuperset(map(type, parts_of(kind, part))):
                    continue
            elif kind == MARK:
                if not marks:
                    continue
                hits.append(parent)  # an annotation is taken off, with or without a future inside
                if issubclass(cls, quote):
                    continue
            elif is_future(part):
                hits.append(parent)
                continue
            elif kind == OTHER:
                continue
            inner = 1 if kind == MARK and issubclass(cls, allow_failure) else allow
            key = id(part) << 1 | inner
            known = parents.get(key)
            if known is not None:
                known.append(parent)
                continue
            parents[key] = [parent]
            alive.append(part)
            pending.append((parts_of(kind, part), key, inner))
    return _ancestors(hits, parents), alive


def _ancestors(hits: list[int], parents: dict[int, list[int]]) -> set[int]:
    touched = set(hits)
    pending = list(touched)
    while pending:
        for key in parents.get(pending.pop(), ()):
            if key not in touched:
                touched.add(key)
                pending.append(key)
    return touched


# -- second pass: build these anew -------------------------------------------------------------------


class _Rebuild:
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
        """Rebuild the elements of an iterator: the search could not see the futures among them."""
        touched, alive = _search((items,), self.is_future, marks=self.marks, allow=int(allow))
        self.touched |= touched
        self.alive += alive
        found = self.part(items, allow)
        return Steps(found) if _search((found,), _is_hole, marks=False)[0] else iter(found)

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
