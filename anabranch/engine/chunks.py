"""Chunk sizes: measured, never tuned by hand.

A chunk aims at so much work that the overhead between two chunks does not count: 0.1 s, or the runner's own figure.
All chunks pass one driver, so on many slots a chunk aims at more: as much as leaves the driver 250 of them a second.
The first chunk has one item. Chunks grow at most 64-fold a step, and never so large that the last slots would wait for
one: at most the remaining items over four times the slots. Once a map has begun to report, a rest of less than a
twentieth of the aim gets no chunk of its own. A chunk that takes ten times as long as expected gives back the items
that it has not begun. joblib's automatic batches follow the same idea; 0.1 s keeps progress smooth.
"""

from __future__ import annotations

MAX_ITEMS = 4096
GROWTH = 64
LEAST = 1 / 20  # of a chunk's aim
BIG_VALUE = 256 << 10  # bytes; items with larger values travel alone
WINDOW_BYTES = 64 << 20
CHUNKS_PER_SLOT = 2
SLOT_SECONDS = 0.004  # of work in a chunk for each slot: an engine's scheduler takes a millisecond a chunk, or two
REPORT_SECONDS = 0.1  # between reports of a running chunk on few slots
TOO_LONG = 10  # times the expected duration; then a chunk ends, because its items differ from earlier ones


class Pace:
    """The cost of one task's items, learnt from reports: seconds and bytes, as moving averages."""

    __slots__ = ("bytes", "largest", "seconds", "target")

    def __init__(self, target: float) -> None:
        self.target = target  # seconds of work in a chunk on few slots
        self.seconds: float | None = None
        self.bytes = 0.0
        self.largest = 1  # items in the largest chunk reported so far

    def learn(self, count: int, seconds: float, nbytes: int) -> None:
        """Learn from one report of `count` items."""
        if count <= 0:
            return
        each = seconds / count
        size = nbytes / count
        # A first item often pays for imports, so later ones outweigh it soon.
        weight = 1.0 if self.seconds is None else 0.5
        self.seconds = each if self.seconds is None else self.seconds + weight * (each - self.seconds)
        self.bytes += weight * (size - self.bytes)
        self.largest = max(self.largest, count)

    def aim(self, slots: int) -> float:
        """Return the seconds of work in a chunk on so many slots."""
        return max(self.target, slots * SLOT_SECONDS)

    def too_long(self, count: int, slots: int) -> float:
        """Return the seconds after which a chunk of so many items ends early."""
        aim = self.aim(slots)
        expected = aim if self.seconds is None else min(aim, count * self.seconds)
        return TOO_LONG * max(expected, LEAST * aim)

    def size(self, waiting: int, slots: int, *, fixed: int | None = None, together: bool = False) -> int:
        """Return the number of items in the next chunk; `together`: a small amount of work is not divided."""
        if fixed is not None:
            return min(fixed, waiting)
        if self.seconds is None:
            return 1
        if self.bytes >= BIG_VALUE:
            return 1
        full = int(self.aim(slots) / max(self.seconds, 1e-9))
        wanted = min(full, MAX_ITEMS, self.largest * GROWTH)
        if self.bytes > 1:  # a smaller average is no bound, and one near 0 must not be divided by
            wanted = min(wanted, int((4 << 20) / self.bytes))
        fair = -(-waiting // (4 * slots)) if slots else waiting
        least = int(full * LEAST) if together and waiting > slots else 1
        return max(1, min(wanted, max(fair, least), waiting))


def between_reports(slots: int) -> float:
    """Return the seconds between reports of a running chunk: most chunks on many slots end with their first one."""
    return max(REPORT_SECONDS, 2 * slots * SLOT_SECONDS)


def window(slots: int, pace: Pace, *, fixed: int | None = None) -> int:
    """Return how many items may be ahead of an open stream: enough to keep all slots busy, bounded in bytes."""
    if fixed is not None:
        return fixed
    chunk = pace.size(1 << 30, slots)
    items = max(4 * slots * chunk, 2 * slots)
    if pace.bytes > 1:
        items = min(items, max(2 * slots, int(WINDOW_BYTES / pace.bytes)))
    return items
