"""Finds futures at any depth of a call's arguments, and puts values in their place.

`lift` takes futures out and leaves numbered holes, `fill` puts values into the holes. Both make two passes.
`search.py`, with its own stack (any depth, cycles and shared parts included), notes the containers on the way to a
future or hole. `rebuild.py` builds only those anew. A container without a future comes back as the same object.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from anabranch.core.annotations import quote
from anabranch.core.containers import EXACT, FIXED, ITERATOR, LEAVES, OTHER, kind_of
from anabranch.core.rebuild import Listing, Rebuild
from anabranch.core.search import Hole, is_hole, search

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


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
    touched, alive = search((value,), is_future, marks=True)
    if not touched:
        return value, found
    numbers: dict[tuple[int, bool], Hole] = {}

    def take(future: Any, allow: bool) -> Hole:
        hole = numbers.get((id(future), allow))
        if hole is None:
            hole = numbers[id(future), allow] = Hole(len(found), allow)
            found.append((future, allow))
        return hole

    return Rebuild(is_future, take, touched, alive, marks=True)(value), found


def without_marks(value: Any, is_future: Callable[[object], bool]) -> tuple[Any, bool]:
    """Return a value without its annotations, and False; with a future in it, the value as it is, and True.

    No iterator over futures is advanced: `lift` advances it, so it may be asked once for each value.
    """
    seen = False

    def noted(part: object) -> bool:
        nonlocal seen
        found = is_future(part)
        seen = seen or found
        return found

    touched, alive = search((value,), noted, marks=True)
    if seen or not touched:
        return value, seen
    return Rebuild(is_future, _as_it_is, touched, alive, marks=True)(value), False


def listed(value: Any, is_future: Callable[[object], bool]) -> Any:
    """Return a value that several runs share, with lists in place of iterators over futures: one run would empty it."""
    if type(value) in LEAVES:
        return value
    touched, alive = search((value,), is_future, marks=True)
    kinds: set[Any] = set(map(type, alive))
    if not touched or all(kind_of(kind) != ITERATOR for kind in kinds):
        return value
    return Listing(is_future, _as_it_is, touched, alive, marks=True)(value)


def waited_for(wait_for: Any, is_future: Callable[[object], bool]) -> list[tuple[Any, bool]]:
    """List the futures that a run waits for beside its inputs, as `lift` does.

    No function gets `wait_for`, so an iterable of any kind is read, and one that is read leaves nothing: ask once.
    """
    kind: Any = type(wait_for)
    loose = kind not in LEAVES and kind_of(kind) in (OTHER, ITERATOR) and issubclass(kind, Iterable)
    if loose and not is_future(wait_for):
        wait_for = list(wait_for)
    return lift(wait_for, is_future)[1]


def _as_it_is(future: Any, allow: bool) -> Any:
    return future


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
    touched, alive = search((value,), is_hole, marks=False)
    if not touched:
        return value
    return Rebuild(is_hole, lambda hole, _: values[hole.n], touched, alive, marks=False)(value)


def fill_call(
    args: tuple[Any, ...], kwargs: dict[str, Any], values: Sequence[Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Do as `fill`, for a call's arguments."""
    filled: tuple[tuple[Any, ...], dict[str, Any]] = fill((args, kwargs), values)
    return filled


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
