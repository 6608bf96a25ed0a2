"""Which items of a range are in chunks now: looked up at each report, so it costs what overlaps and not what flies."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from anabranch.engine.tables import Tables

WHOLE = 10**12  # nobody can go through so many one by one


def in_flight(items: Any, lo: int, hi: int, *, reported: int = 0, taken: frozenset[int] = frozenset()) -> set[int]:
    map = SimpleNamespace(queue=SimpleNamespace(running={7}))
    sent = SimpleNamespace(maps=(map,), items=(items,), reported=reported, taken=taken)
    return Tables.in_flight(SimpleNamespace(sent={7: sent}), map, lo, hi)  # type: ignore[arg-type]


def test_a_long_chunk_costs_what_overlaps() -> None:
    assert in_flight(range(WHOLE), 5, 8) == {5, 6, 7}
    assert in_flight(range(WHOLE), WHOLE - 2, WHOLE + 9) == {WHOLE - 2, WHOLE - 1}


@pytest.mark.parametrize("kind", [range, list])
@pytest.mark.parametrize("start", [0, 10])
@pytest.mark.parametrize("reported", [0, 3, 8])
@pytest.mark.parametrize("taken", [frozenset(), frozenset({4, 5})])
@pytest.mark.parametrize(("lo", "hi"), [(0, 30), (0, 5), (12, 15), (14, 99), (40, 50)])
def test_as_counted_one_by_one(kind: Any, start: int, reported: int, taken: frozenset[int], lo: int, hi: int) -> None:
    """`reported` and `taken` are places in the chunk, `lo` and `hi` items of the map."""
    items = range(start, start + 8) if kind is range else [*range(start, start + 8)]
    expected = {i for p, i in enumerate(items) if p >= reported and lo <= i < hi and p not in taken}
    assert in_flight(items, lo, hi, reported=reported, taken=taken) == expected
