"""What one look at the record finds, and the contract of what looks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anabranch.core.runs import FlowRunRow, LogRow, MapRow
    from anabranch.display.watch.tally import Tally

SHORTEST = 0.25  # seconds between two looks
LONGEST = 5.0
SHARE = 0.05  # of the time may be spent on looks


@dataclass(slots=True, frozen=True)
class Facts:
    """One look.

    Attributes:
        place: of the record, in words.
        now: Unix seconds.
        runs: newest first.
        total: how many runs there are.
        run: the chosen one; None while there is none.
        maps: of the chosen run, with what of their items has ended.
        rates: items a second, by map.
        failures: of the chosen run, in groups, a line each.
        lines: the last ones of the chosen run's log.
        trouble: why the record cannot be read now; "" otherwise.
    """

    place: str = ""
    now: float = 0.0
    runs: Sequence[FlowRunRow] = ()
    total: int = 0
    run: FlowRunRow | None = None
    maps: Sequence[tuple[MapRow, Tally]] = ()
    rates: dict[str, float] = field(default_factory=dict)
    failures: Sequence[str] = ()
    lines: Sequence[LogRow] = ()
    trouble: str = ""


class Source(Protocol):
    """Reads the record for the view and carries out its keys. Called by one thread at a time."""

    def look(self, chosen: str) -> Facts:
        """Look at all runs, and at one more closely.

        Args:
            chosen: its id or name; "": the newest that runs, else the newest.
        """
        ...

    def cancel(self, run: str) -> str:
        """Ask a run to stop; returns what was done, in a sentence."""
        ...

    def retry(self, run: str) -> str:
        """Run what failed in a run once more, in another process; returns what was done, in a sentence."""
        ...

    def explain(self, run: str) -> str:
        """Return why task runs of a run wait or ended as they did."""
        ...

    def log(self, run: str) -> list[LogRow]:
        """Return the last lines of a run's log, many of them."""
        ...


def pause_after(spent: float) -> float:
    """Return the seconds until the next look, by the time that the last one took."""
    return min(max(SHORTEST, spent / SHARE - spent), LONGEST)
