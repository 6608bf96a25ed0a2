"""How many items travel together: measured, never tuned by hand.

A chunk aims at 0.1 s of work, starts at one item, grows at most eightfold a step and never
takes so many that the last slots would wait for it (the rest over four times the slots).
joblib's automatic batches follow the same idea; 0.1 s keeps progress smooth.
"""

from __future__ import annotations

TARGET_SECONDS = 0.1
MAX_ITEMS = 4096
GROWTH = 8
BIG_VALUE = 256 << 10  # values from here on travel alone
WINDOW_BYTES = 64 << 20
CHUNKS_PER_SLOT = 2


class Pace:
    """What one task's items cost, learnt from reports: seconds and bytes, as moving averages."""

    __slots__ = ("bytes", "largest", "seconds")

    def __init__(self) -> None:
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

    def size(self, waiting: int, slots: int, *, fixed: int | None = None) -> int:
        """Items for the next chunk, of `waiting` ones, for `slots` workers."""
        if fixed is not None:
            return min(fixed, waiting)
        if self.seconds is None:
            return 1
        if self.bytes >= BIG_VALUE:
            return 1
        wanted = int(TARGET_SECONDS / self.seconds) if self.seconds > 0 else MAX_ITEMS
        wanted = min(wanted, MAX_ITEMS, self.largest * GROWTH)
        if self.bytes > 0:
            wanted = min(wanted, int((4 << 20) / self.bytes))
        fair = -(-waiting // (4 * slots)) if slots else waiting
        return max(1, min(wanted, fair, waiting))


def window(slots: int, pace: Pace, *, fixed: int | None = None) -> int:
    """How many items may be ahead of an open stream: enough to keep all slots busy, bounded in bytes."""
    if fixed is not None:
        return fixed
    chunk = pace.size(1 << 30, slots)
    items = max(4 * slots * chunk, 2 * slots)
    if pace.bytes > 0:
        items = min(items, max(2 * slots, int(WINDOW_BYTES / pace.bytes)))
    return items
