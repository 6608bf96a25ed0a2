"""Small values on their way home: one pickle of them all, or one of each where some might not unpickle.

A value that does not unpickle in the driver must not take its neighbours along. One list is the quickest, so it
is kept for values that are numbers and texts all through: nothing is looked up when they are read.
"""

from __future__ import annotations

from array import array
from itertools import accumulate, chain, islice
from typing import TYPE_CHECKING, Any

from anabranch.core.contracts import Packed
from anabranch.runners.value_files import dumps

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_PLAIN = frozenset({int, float, complex, bool, str, bytes, type(None)})
_CONTAINERS = frozenset({tuple, list, dict, set, frozenset})
_MADE_OF_OBJECTS = frozenset({"ndarray", "void", "object_"})  # of NumPy: these may hold what cannot be read
_DEPTH = 4  # of containers that are looked through; what lies deeper may be anything


def packed(values: Sequence[Any], joint: bytes, limit: int) -> Packed | None:
    """A block of these values, whose pickle as one list is `joint`; None where it has over `limit` bytes."""
    if len(joint) > limit:
        return None
    if _plain(values, len(joint)):
        return Packed(joint, len(joint))
    pickles = [dumps(value) for value in values]
    data = b"".join(pickles)
    if len(data) > limit:
        return None
    return Packed(data, len(data), array("I", accumulate(map(len, pickles))))


def _plain(values: Sequence[Any], most: int) -> bool:
    """Whether all is made of numbers and texts, as far as `most` values at a depth and `_DEPTH` tell."""
    for _ in range(_DEPTH):
        kinds = {kind for kind in set(map(type, values)) - _PLAIN if not _of_numpy(kind)}
        if not kinds:
            return True
        if not kinds <= _CONTAINERS:
            return False
        inside = chain.from_iterable(_elements(value) for value in values if type(value) in _CONTAINERS)
        values = list(islice(inside, most + 1))
        if len(values) > most:  # the same ones again and again: each has a byte in the pickle
            return False
    return False


def _elements(container: Any) -> Iterable[Any]:
    return chain(container, container.values()) if type(container) is dict else container


def _of_numpy(kind: type) -> bool:
    """Whether it is a NumPy number: all of them are read, or where there is no NumPy, none."""
    return kind.__module__ == "numpy" and kind.__name__ not in _MADE_OF_OBJECTS
