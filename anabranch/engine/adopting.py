"""Items that an earlier driver of the same run has completed: they end at the moment they could be sent.

    inputs are there --> make_ready --> recorded with the same inputs, value in the store? --yes--> Completed
                                                                                         --no---> sent

By then their inputs have ended, and it is known whether these are unchanged (`core/previous_items.py`).
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from anabranch.core import states
from anabranch.core.maps import unchanged
from anabranch.core.runs import ItemBlock
from anabranch.engine.ranges import common
from anabranch.engine.rows import stored_row

if TYPE_CHECKING:
    from anabranch.core.maps import MapRun
    from anabranch.core.runs import Row


def split(map: MapRun, lo: int, hi: int) -> list[tuple[int, int, bool]]:
    """Yield runs of items of [lo, hi) that are kept (True), or have to run."""
    assert map.resume.previous is not None
    one, several = functools.partial(_unchanged, map), functools.partial(_all_unchanged, map)
    return list(map.resume.previous.split(lo, hi, one, several))


def take_over(map: MapRun, lo: int, hi: int) -> list[Row]:
    """Complete items [lo, hi) without running them; returns their rows for the record."""
    assert map.resume.previous is not None
    rows: list[Row] = []
    map.codes[lo:hi] = bytes([states.COMPLETED]) * (hi - lo)
    map.done += hi - lo
    map.values.gaps = True
    if map.resume.keys is not None and map.kind != "map":  # a new series: its recorded rows have another series' id
        for index in range(lo, hi):
            place = map.resume.previous.places.find(index)
            if place is not None:
                map.values.stored.add(place[0], (index,), (place[1],))
            rows.append(stored_row(map, index, place))
        rows.append(ItemBlock(map.id, lo, hi - lo))
    # An item that ran again for its lost value and was cancelled: the stored value holds, but the last row differs.
    again = [i for i in common(range(lo, hi), map.attempts) if i in map.attempts]
    rows += [ItemBlock(map.id, index, 1, attempt=map.attempts[index]) for index in again]
    return rows


def count_on(map: MapRun, lo: int, hi: int) -> None:
    """Continue the attempt numbers of an earlier driver, which do not count against `retries`."""
    assert map.resume.previous is not None
    for index, last in map.resume.previous.tried(lo, hi):
        if last >= map.attempt(index):  # else it was unfinished at the last driver's end, and has its number
            map.attempts[index] = last + 1
            map.budgets.uncounted[index] = last


def _unchanged(map: MapRun, index: int) -> bool:
    """Return whether the values that an item reads are those of its completion."""
    return _gates_hold(map) and unchanged(map.inputs.feeds, at=index) and unchanged(map.inputs.upstreams.get(index, ()))


def _all_unchanged(map: MapRun, lo: int, hi: int) -> bool:
    """Return the same for a range, if that is known without looking at each item; else False."""
    if map.inputs.upstreams or not _gates_hold(map):
        return False
    known = [up.map.resume.previous for up in map.inputs.feeds]
    return all(previous is not None and previous.all_hold(lo, hi) for previous in known)


def _gates_hold(map: MapRun) -> bool:
    assert map.resume.previous is not None
    if map.inputs.once_read:
        if not unchanged(map.inputs.once_read):
            return False
        map.inputs.once_read = ()  # once is enough
    return True
