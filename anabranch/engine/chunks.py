"""How many items travel together: measured, never tuned by hand.

A chunk aims at so much work that what the engine takes from one to the next does not count (0.1 s, or what its runner
says), starts at one item, grows at most 64-fold a step and never takes so many that the last slots would wait for it
(the rest over four times the slots). Of a map that has begun to report, a twentieth of what a chunk aims at is not
worth a chunk of its own. One that turns out ten times as long as was thought, and takes over 0.1 s, gives back what it
has not begun.
joblib's automatic batches follow the same idea; 0.1 s keeps progress smooth.
"""

from __future__ import annotations

MAX_ITEMS = 4096
GROWTH = 64
LEAST = 1 / 20  # of what a chunk aims at
BIG_VALUE = 256 << 10  # values from here on travel alone
WINDOW_BYTES = 64 << 20
CHUNKS_PER_SLOT = 2
TOO_LONG = 10  # times what was expected: then a chunk ends, for items are not what they were


class Pace:
    """What one task's items cost, learnt from reports: seconds and bytes, as moving averages."""

    __slots__ = ("bytes", "largest", "seconds", "target")

    def __init__(self, target: float) -> None:
        self.target = target  # seconds of work in a chunk
        self.seconds: float | None = None
        self.bytes = 0.0
        self.largest = 1  # items in the largest chunk reported so far

    def learn(self, count: int, seconds: float, nbytes: int) -> None:
        """Take in one report of `count` items."""
        if count <= 0:
            return
        each = seconds / count
        size = nbytes / count
        # A first item often pays for imports: let later ones outweigh it soon.
        weight = 1.0 if self.seconds is None else 0.5
        self.seconds = each if self.seconds is None else self.seconds + weight * (each - self.seconds)
        self.bytes += weight * (size - self.bytes)
        self.largest = max(self.largest, count)

    def too_long(self, count: int) -> float:
        """Seconds after which a chunk of so many items is to end with what it has done."""
        expected = self.target if self.seconds is None else min(self.target, count * self.seconds)
        return TOO_LONG * max(expected, LEAST * self.target)

    def size(self, waiting: int, slots: int, *, fixed: int | None = None, together: bool = False) -> int:
        """Items for the next chunk, of `waiting` ones, for `slots` workers; `together`: little work is not divided."""
        if fixed is not None:
            return min(fixed, waiting)
        if self.seconds is None:
            return 1
        if self.bytes >= BIG_VALUE:
            return 1
        full = int(self.target / max(self.seconds, 1e-9))
        wanted = min(full, MAX_ITEMS, self.largest * GROWTH)
        if self.bytes > 1:  # less is no bound, and an average of no bytes comes so near to 0 that it divides nothing
            wanted = min(wanted, int((4 << 20) / self.bytes))
        fair = -(-waiting // (4 * slots)) if slots else waiting
        least = int(full * LEAST) if together and waiting > slots else 1
        return max(1, min(wanted, max(fair, least), waiting))


def window(slots: int, pace: Pace, *, fixed: int | None = None) -> int:
    """How many items may be ahead of an open stream: enough to keep all slots busy, bounded in bytes."""
    if fixed is not None:
        return fixed
    chunk = pace.size(1 << 30, slots)
    items = max(4 * slots * chunk, 2 * slots)
    if pace.bytes > 1:
        items = min(items, max(2 * slots, int(WINDOW_BYTES / pace.bytes)))
    return items
