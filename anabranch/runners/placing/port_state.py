"""What a driver has said to a worker of its chunks: where to stop, and what not to start."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence


class PortState:
    """Limits and cancels, by chunk. Written by one thread at a time, read by any.

    A note may come before its chunk begins here, and after it has ended: so only the newest are kept.
    """

    __slots__ = ("_kept", "cancels", "limits")

    def __init__(self, kept: int = 256) -> None:
        self.limits: dict[int, int] = {}
        self.cancels: dict[int, set[int] | None] = {}  # None: all positions
        self._kept = kept

    def shorten(self, chunk: int, keep: int) -> None:
        """Nothing from `keep` on is to start."""
        self.limits[chunk] = min(keep, self.limits.get(chunk, keep))
        bound(self.limits, self._kept)

    def cancel(self, chunk: int, positions: Sequence[int] | set[int] | None) -> None:
        """None of these positions (None: all) is to start."""
        known = self.cancels.get(chunk, set())
        self.cancels[chunk] = None if known is None or positions is None else known.union(positions)
        bound(self.cancels, self._kept)

    def forget(self, chunk: int) -> None:
        """The chunk has ended."""
        self.limits.pop(chunk, None)
        self.cancels.pop(chunk, None)

    def limit(self, chunk: int) -> int | None:
        """As `core.contracts.WorkerPort`; asked before each item."""
        return self.limits.get(chunk)

    def cancelled(self, chunk: int, position: int) -> bool:
        """As `core.contracts.WorkerPort`; asked before each item."""
        if not self.cancels:
            return False
        found = self.cancels.get(chunk, ())
        return found is None or position in found


def bound(notes: dict[Any, Any], kept: int) -> None:
    """Forget the oldest of too many notes."""
    while len(notes) > kept:
        del notes[next(iter(notes))]
