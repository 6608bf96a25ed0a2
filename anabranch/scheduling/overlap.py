"""What ticks do while earlier runs of their schedule are not over: a pure function of both."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anabranch.scheduling.schedule import Overlap


class Decision(NamedTuple):
    """What to do about ticks.

    Attributes:
        ticks: those to order.
        cancel: runs to cancel before.
        wait: whether the ticks stay undecided until the earlier runs are over.
    """

    ticks: tuple[float, ...]
    cancel: tuple[str, ...] = ()
    wait: bool = False


def decide(overlap: Overlap, ticks: Sequence[float], earlier: Mapping[str, float]) -> Decision:
    """Return what to do about ticks that have come.

    Args:
        ticks: instants, in order.
        earlier: the tick of each run of the schedule that is not over.
    """
    if overlap == "allow" or not ticks:
        return Decision(tuple(ticks))
    newest = ticks[-1]
    if overlap == "cancel_running":
        # A scheduler that read old rows may see the run of the very tick that it is about to order.
        return Decision((newest,), cancel=tuple(run for run, tick in earlier.items() if tick < newest))
    if overlap == "queue_one":
        return Decision((), wait=True) if earlier else Decision((newest,))
    return Decision(()) if earlier else Decision((ticks[0],))
