"""Large values that a function takes along when it travels: globals that it reads, variables that it closes over."""

from __future__ import annotations

from functools import partial
from itertools import islice
from types import FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from anabranch.core.asking import is_a
from anabranch.core.insides import wrapped_in
from anabranch.core.reads import MISSING, content_of, is_own_function, places_of
from anabranch.core.sizes import sizeof

if TYPE_CHECKING:
    from collections.abc import Iterator

LARGE = 10_000_000  # bytes
MOST = 1_000  # functions that are looked at
MOST_PARTS = 10_000  # of a container that are measured
_CODE = (type, ModuleType, FunctionType, MethodType, partial)


class Captured(NamedTuple):
    """A value that travels with a function.

    Attributes:
        what: its place, such as ``the global 'table'``.
        nbytes: about how large it is.
    """

    what: str
    nbytes: int


def large_in(fn: Any, least: int = LARGE) -> list[Captured]:
    """Return the large values that a function takes along, those of its helpers too, the largest first."""
    found: dict[int, Captured] = {}
    left, seen = [fn], set[int]()
    while left and len(seen) < MOST:
        one = left.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if is_a(one, partial):
            left.append(one.func)
            values = [("an argument of the partial", value) for value in (*one.args, *one.keywords.values())]
        elif is_a(one, MethodType):
            left.append(one.__func__)
            values = [("the instance of the method", one.__self__)]
        elif is_a(one, FunctionType):
            values = list(_of_function(one))
        else:
            inner = wrapped_in(one)  # a task
            left += [] if inner is None else [inner]
            continue
        for what, value in values:
            if is_a(value, *_CODE) or wrapped_in(value) is not None:
                left.append(value)
            elif id(value) not in found and (nbytes := _size(value)) >= least:
                found[id(value)] = Captured(what, nbytes)
    return sorted(found.values(), key=lambda one: -one.nbytes)


def _of_function(fn: FunctionType) -> Iterator[tuple[str, Any]]:
    if fn.__module__ != "__main__" and "<locals>" not in fn.__qualname__:
        return  # workers import it
    for name, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=False):
        yield f"{name!r} of the function around it", content_of(cell)
    for value in (*(fn.__defaults__ or ()), *(fn.__kwdefaults__ or {}).values()):
        yield "a default of a parameter", value
    if is_own_function(fn):
        for place in places_of(fn):
            if place.value is not MISSING and place.space is fn.__globals__:
                yield f"the global {place.path!r}", place.value


def _size(value: Any) -> int:
    kind = type(value)
    parts = value.values() if kind is dict else value if kind in (list, tuple) else ()
    return max(sizeof(value), sum(map(sizeof, islice(parts, MOST_PARTS))))
