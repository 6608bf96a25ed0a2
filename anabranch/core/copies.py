"""Whether two functions of one name are copies of one: a function that travelled by value comes back as a copy."""

from __future__ import annotations

from types import FunctionType
from typing import Any

from anabranch.core.encode import PLAIN
from anabranch.core.reads import content_of, places_of

MOST_PAIRS = 1000


def alike(one: Any, other: Any) -> bool:
    """Return whether two values are alike in all parts; False in doubt. No object's code runs."""
    pairs = [(one, other)]
    seen: set[tuple[int, int]] = set()
    held = []  # keeps objects made here alive, so that their ids are not used again
    while pairs:
        one, other = pairs.pop()
        if one is other or (id(one), id(other)) in seen:
            continue
        seen.add((id(one), id(other)))
        held.append((one, other))
        parts = _parts(one), _parts(other)
        if type(one) is not type(other) or len(parts[0]) != len(parts[1]) or len(seen) > MOST_PAIRS:
            return False
        if type(one) is FunctionType:
            if one.__code__ != other.__code__:
                return False
        elif type(one) in PLAIN:
            write = PLAIN[type(one)]
            if write(one) != write(other):
                return False
        elif type(one) not in _CONTAINERS:
            return False
        pairs += zip(*parts, strict=True)
    return True


_CONTAINERS = frozenset({list, tuple, dict, set, frozenset})


def _parts(value: Any) -> list[Any]:
    kind = type(value)
    if kind is FunctionType:
        cells = [content_of(cell) for cell in value.__closure__ or ()]
        return [value.__defaults__, value.__kwdefaults__, *cells, *(place.value for place in places_of(value))]
    if kind is dict:
        return [*value, *value.values()]
    return list(value) if kind in _CONTAINERS else []
