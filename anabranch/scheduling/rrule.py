"""Recurrence rules (RFC 5545): the text that people write, read into rules, dates added and dates left out.

The expansion is our own (`recurrence.py`): known libraries search a rule that never fires until the year 9999, second
by second where it is one by the second, and no scheduler may wait for that.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from anabranch.core.errors import ServiceError
from anabranch.scheduling import local_time, recurrence, rrule_text
from anabranch.scheduling.schedule import Schedule

if TYPE_CHECKING:
    from datetime import tzinfo

    from anabranch.scheduling.recurrence import Rule

MOST_COUNTED = 10_000  # of COUNT


@dataclass(frozen=True)
class RRule(Schedule):
    """A schedule of recurrence rules, as calendars write them.

    Rules by day and rarer keep their local time when clocks change. HOURLY and finer ones step through real time.

    Args:
        rrule: such as "FREQ=WEEKLY;BYDAY=MO,WE;BYHOUR=9;BYMINUTE=0;BYSECOND=0"; or lines DTSTART, RRULE, RDATE, EXDATE.
            Without DTSTART a rule starts at midnight of 2020-01-01.
        timezone: such as "Europe/Berlin"; None: that of DTSTART, else UTC.

    Raises:
        ServiceError: a part cannot be read, the rules never fire, or there is no such time zone.
    """

    kind: ClassVar[str] = "rrule"
    rrule: str
    timezone: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.rrule, str):
            raise ServiceError(f"rrule {self.rrule!r} is no text: write it as 'FREQ=DAILY;BYHOUR=9;BYMINUTE=0'")
        made = _expansion(self.rrule, self.timezone)
        if made.after(min(made.starts) - 1) is None:
            raise ServiceError(f"rrule {self.rrule!r} never fires: no day and time fit all of its parts")

    def after(self, instant: float) -> float | None:
        return _expansion(self.rrule, self.timezone).after(instant)


class _Expansion(NamedTuple):
    """Rules that have been read."""

    zone: tzinfo
    rules: tuple[Rule, ...]
    added: tuple[float, ...]
    left_out: frozenset[float]

    @property
    def starts(self) -> list[float]:
        return [*self.added, *(local_time.resolve(rule.start, self.zone) for rule in self.rules)]

    def after(self, instant: float) -> float | None:
        """Return the first tick later than an instant."""
        found = [tick for rule in self.rules if (tick := self._first(rule, instant)) is not None]
        found += [tick for tick in self.added if tick > instant and tick not in self.left_out]
        return min(found, default=None)

    def _first(self, rule: Rule, instant: float) -> float | None:
        ticks = recurrence.occurrences(rule, self.zone, instant)
        return next((tick for tick in ticks if tick not in self.left_out), None)


@lru_cache(maxsize=1024)
def _expansion(text: str, timezone: str | None) -> _Expansion:
    read = rrule_text.read(text, timezone)
    rules = tuple(_counted(text, rule, count, read.zone) for rule, count in read.rules)
    return _Expansion(read.zone, rules, read.added, frozenset(read.left_out))


def _counted(text: str, rule: Rule, count: int | None, zone: tzinfo) -> Rule:
    """Return a rule that ends at its last occurrence in place of counting them."""
    if count is None:
        return rule
    if not 1 <= count <= MOST_COUNTED:
        raise ServiceError(f"rrule {text!r}: COUNT={count} is not of 1 to {MOST_COUNTED:,}; else give UNTIL")
    ticks = recurrence.occurrences(rule, zone, local_time.resolve(rule.start, zone) - 1)
    last = next(islice(ticks, count - 1, None), None)
    return rule if last is None else rule._replace(until=local_time.local(last, zone), last=last)
