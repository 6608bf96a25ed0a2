"""Values on their way home: the blocks of a report, and how small ones travel.

Small values come in one pickle of them all, or one of each where some might not unpickle.

A value that does not unpickle in the driver must not take its neighbours along, and what its first reader changes is
not what the next one gets. One list is the quickest, so it is kept for values that are numbers and texts all through,
in tuples at most: nothing is looked up when they are read, and nothing of them can be changed.
"""

from __future__ import annotations

import pickle
from array import array
from itertools import accumulate, chain, islice
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

import cloudpickle

from anabranch.core.reports import Inline, Packed
from anabranch.core.sizes import sizeof
from anabranch.runners.transport.refusals import fail_all, without_unpicklable
from anabranch.runners.transport.value_files import LARGE, MAIN, PACKED_BYTES, dumps, pickled

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anabranch.core.reports import Block, Report

_PLAIN = frozenset({int, float, complex, bool, str, bytes, type(None)})
_CONTAINERS = frozenset({tuple, frozenset})
_MADE_OF_OBJECTS = frozenset({"ndarray", "void", "object_"})  # of NumPy: these may hold what cannot be read
_DEPTH = 4  # of containers that are looked through; what lies deeper may be anything


def pack_blocks(report: Report, pack: Callable[[int, list[Any]], Block]) -> None:
    """Turn the values of a report into what `pack` makes of each stage's; those it cannot pickle fail, each alone."""
    begun = perf_counter_ns()
    found: list[Block] = []
    for stage, block in enumerate(report.blocks):
        if not isinstance(block, Inline):
            found.append(block)
            continue
        values = block.values
        try:
            found.append(pack(stage, values))
        except BaseException:  # whatever a value's own code raises
            found.append(pack(stage, without_unpicklable(report, stage, values)))
    report.blocks = tuple(found)
    if report.noted is not None:
        idle, reading, elapsed, packing = report.noted
        report.noted = (idle, reading, elapsed, packing + (perf_counter_ns() - begun) // 1000)


def refuse(report: Report, stage: int, error: Exception) -> Packed:
    """The block in the place of one that can be held nowhere: its items fail."""
    fail_all(report, stage, error)
    data = pickle.dumps([None] * report.count, 5)
    return Packed(data, len(data))


def small(values: list[Any], inline_limit: int) -> Packed | None:
    """A block of these values that comes home in its report; None where they are large."""
    if values and sizeof(values[0]) > LARGE:
        return None
    data, buffers = pickled(values)
    return None if buffers else packed(values, data, min(PACKED_BYTES, inline_limit * len(values)))


def packed(values: Sequence[Any], joint: bytes, limit: int) -> Packed | None:
    """A block of these values, whose pickle as one list is `joint`; None where it has over `limit` bytes."""
    if len(joint) > limit:
        return None
    if _plain(values, len(joint)):
        return Packed(joint, len(joint))
    try:
        alike = MAIN not in joint and not cloudpickle.list_registry_pickle_by_value()
        pickles = [pickle.dumps(value, 5) for value in values] if alike else list(map(dumps, values))
    except Exception:  # one that cloudpickle alone knows
        pickles = list(map(dumps, values))
    data = b"".join(pickles)
    if len(data) > limit:
        return None
    return Packed(data, len(data), array("I", accumulate(map(len, pickles))))


def _plain(values: Sequence[Any], most: int) -> bool:
    """Whether all is made of numbers and texts that stay so, as far as `most` values at a depth and `_DEPTH` tell."""
    for _ in range(_DEPTH):
        kinds = {kind for kind in set(map(type, values)) - _PLAIN if not _of_numpy(kind)}
        if not kinds:
            return True
        if not kinds <= _CONTAINERS:
            return False
        inside = chain.from_iterable(value for value in values if type(value) in _CONTAINERS)
        values = list(islice(inside, most + 1))
        if len(values) > most:  # the same ones again and again: each has a byte in the pickle
            return False
    return False


def _of_numpy(kind: type) -> bool:
    """Whether it is a NumPy number: all of them are read, or where there is no NumPy, none."""
    return kind.__module__ == "numpy" and kind.__name__ not in _MADE_OF_OBJECTS
