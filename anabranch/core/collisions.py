"""What becomes of runs of a deployment when more are due than it has slots: a pure rule."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anabranch.core.deployments import Collision


class Cancelled(NamedTuple):
    """Runs that a rule cancels: some that wait, some that have begun or been claimed."""

    waiting: list[str]
    held: list[str]


def collide(rule: Collision, slots: int | None, held: Sequence[str], ending: int, waiting: Sequence[str]) -> Cancelled:
    """Return which runs are cancelled.

    Args:
        held: runs that hold slots and are not about to end, the earliest first.
        ending: as many more hold slots, and have been told to end.
        waiting: runs that are due, the earliest first.
    """
    if slots is None or rule == "enqueue":
        return Cancelled([], [])
    if rule == "cancel_new":
        return Cancelled(list(waiting[max(0, slots - len(held) - ending) :]), [])
    kept = min(slots, len(waiting))
    needed = max(0, kept - (slots - len(held)))
    return Cancelled(list(waiting[: len(waiting) - kept]), list(held[:needed]))
