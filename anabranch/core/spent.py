"""Where the time of workers went: what a chunk notes, a few numbers each, that add up over chunks.

    worker    |-- idle --|-- reading --|-- item, item, item ... --|-- packing --|       one slot, one chunk
              ^ its last chunk ended    ^ run_chunk               ^ its report
    driver             ^ sent: what is idle after that is `transfer`, what is before it `queue`

All are microseconds of one slot. They are taken once a chunk and once a report, never once an item. A chunk may have
one item, so they travel as plain tuples: to make a named one costs three times as much.
"""

from __future__ import annotations

from typing import NamedTuple

# What a worker says of its own time in a report:
#   idle      since the slot's last chunk; -1 where it had none, or where an earlier report of the chunk has said it
#   reading   the chunk unpickled; 0 in later reports
#   elapsed   since the chunk began, or since its last report
#   packing   values stored, pickled for their way home, and sent: the sending is that of the report before
Noted = tuple[int, int, int, int]
LATER: Noted = (-1, 0, 0, 0)  # of a chunk's later reports, before their own times are in it


class Spent(NamedTuple):
    """The time of one slot from the end of a chunk to the end of the next, by what it was spent on.

    Attributes:
        nothing: idle, before the map of the chunk was made.
        queue: idle, while the chunk's items waited in the driver.
        transfer: idle, while the chunk was on its way.
        reading: the chunk unpickled.
        calls: inside the items.
        around: between the items, and before the first.
        packing: values stored, pickled for their way home, and sent.
    """

    nothing: int = 0
    queue: int = 0
    transfer: int = 0
    reading: int = 0
    calls: int = 0
    around: int = 0
    packing: int = 0


Numbers = tuple[int, int, int, int, int, int, int]  # those of a `Spent`
FIELDS = len(Spent._fields)


def spent_of(noted: Noted, calls: float, began: float, sent: float, made: float) -> Numbers:
    """Return what a report's slot spent, as worker and driver know it together.

    Args:
        calls: microseconds inside the items; where items ran together, more than went by.
        began: Unix second at which the worker began the chunk, by the worker's clock.
        sent: at which the driver sent it.
        made: at which its map was made.
    """
    idle, reading, elapsed, packing = noted
    inside = int(calls)
    if inside > elapsed:
        inside = elapsed
    if idle <= 0:
        return (0, 0, 0, reading, inside, elapsed - inside, packing)
    transfer = min(idle, max(0, int((began - sent) * 1e6) - reading))
    queue = min(idle - transfer, max(0, int((sent - made) * 1e6)))
    return (idle - transfer - queue, queue, transfer, reading, inside, elapsed - inside, packing)


def both(one: Numbers, other: Numbers) -> Numbers:
    """Return the sum of two."""
    (a, b, c, d, e, f, g), (h, i, j, k, m, n, o) = one, other
    return (a + h, b + i, c + j, d + k, e + m, f + n, g + o)
