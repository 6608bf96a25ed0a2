"""What the record says of a round of the service: the runs of the ticks, and how many slots were held."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from anabranch.core.errors import RecordsError
from anabranch.core.recovery import RECOVER_LIMIT
from anabranch.records import open_records

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

PAUSE = 0.05  # seconds between two looks
WAIT = 60.0  # seconds for the last look to end
_TICKS = """
SELECT o.due, coalesce(r.state_name, ''), o.recoveries FROM orders AS o LEFT JOIN flow_runs AS r ON r.id = o.run
WHERE o.schedule <> '' ORDER BY o.due
"""
_HELD = "SELECT pool, count(*) FROM orders WHERE state IN (1, 2) GROUP BY pool"


class TickRun(NamedTuple):
    """The run of a tick: when it was due, the name of its state ("": it has no row), and its recoveries."""

    due: float
    state: str
    recoveries: int = 0


def tick_runs(db: Any) -> list[TickRun]:
    """Return what was ordered by schedules."""
    return [TickRun(*row) for row in db.execute(_TICKS).fetchall()]


def wrong_ticks(runs: Sequence[TickRun], interval: float, since: float, until: float) -> list[str]:
    """Return what is wrong with the runs of one schedule that began at `since` and ticked at least up to `until`.

    Their dues are a series: each instant of the interval has one run, which completed, or was given up after as many
    recoveries as a run has.
    """
    if not runs:
        return ["no tick had a run"]
    dues = Counter(round(run.due, 6) for run in runs)
    first, last = min(dues), max(dues)
    series = {round(first + interval * number, 6) for number in range(round((last - first) / interval) + 1)}
    found = [f"the first tick was due {first - since:g} s after the schedule began"] if first > since + interval else []
    found += [f"the last tick was due {until - last:g} s before the faults ended"] if last < until else []
    found += [f"the tick {due:.6f} has no run" for due in sorted(series - set(dues))]
    found += [f"a run is due at {due:.6f}, which is no tick" for due in sorted(set(dues) - series)]
    found += [f"the tick {due:.6f} has {count} runs" for due, count in dues.items() if count > 1]
    for run in runs:
        given_up = run.state == "Crashed" and run.recoveries >= RECOVER_LIMIT
        if run.state != "Completed" and not given_up:
            found.append(f"the tick {run.due:.6f} is {run.state or 'nowhere'} after {run.recoveries} recoveries")
    return found


def held(db: Any) -> Counter[str]:
    """Return how many orders are claimed or begun in each pool, at one moment."""
    return Counter({str(pool): int(count) for pool, count in db.execute(_HELD).fetchall()})


class Looks:
    """Looks at the slots of all pools again and again during a block, at the database itself.

    Attributes:
        most: by pool, the most that were held at once.
        looks: times that the database answered.
        error: what ended the looks too early; None: nothing did.
    """

    def __init__(self, place: str) -> None:
        self._place = place
        self.most: Counter[str] = Counter()
        self.looks = 0
        self.error: BaseException | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="looks at slots")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(WAIT)

    def too_many(self, slots: int) -> list[str]:
        """Return the pools that had more than so many orders at once; also that nobody looked, or not to the end."""
        assert not self._thread.is_alive(), f"the last look at {self._place} has not ended within {WAIT:g} s"
        found = [f"{pool} had {most} orders in {slots} slots" for pool, most in self.most.items() if most > slots]
        if not self.looks:
            found.append("nobody has looked at the slots")
        if self.error is not None:
            found.append(f"the looks at the slots ended early, by {self.error!r}")
        return found

    def _look(self) -> None:
        try:
            self._look_until_over()
        except BaseException as error:  # who asks for what was seen has to hear that it is not all
            self.error = error

    def _look_until_over(self) -> None:
        with closing(open_records(self._place)) as records:
            while not self._over.wait(PAUSE):
                with suppress(RecordsError), records.database.opened() as db:  # type: ignore[union-attr]
                    self.most |= held(db)
                    self.looks += 1
