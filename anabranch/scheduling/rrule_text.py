"""The text of recurrence rules, read: lines of names and values, each value checked."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING, Any

from anabranch.core.errors import ServiceError
from anabranch.core.nearest import meant
from anabranch.scheduling import local_time
from anabranch.scheduling.recurrence import DAILY, HOURLY, MINUTELY, MONTHLY, SECONDLY, WEEKLY, YEARLY, Rule

if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST = 20_000  # characters
MOST_POSITIONED = 5_000  # occurrences in one period, for BYSETPOS
START = datetime(2020, 1, 1)
FREQUENCIES = ["YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY", "MINUTELY", "SECONDLY"]
DAYS = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"]
SECONDS = [366 * 86_400, 31 * 86_400, 7 * 86_400, 86_400, 3600, 60, 1]  # of a period, at most
# The parts that are lists of numbers: the field of Rule; the range, and whether they count from the end too.
LISTS = {
    "BYMONTH": ("months", (1, 12, False)),
    "BYWEEKNO": ("weeks", (1, 53, True)),
    "BYYEARDAY": ("year_days", (1, 366, True)),
    "BYMONTHDAY": ("month_days", (1, 31, True)),
    "BYHOUR": ("hours", (0, 23, False)),
    "BYMINUTE": ("minutes", (0, 59, False)),
    "BYSECOND": ("seconds", (0, 59, False)),
    "BYSETPOS": ("positions", (1, 366, True)),
}
PARTS = ["FREQ", "INTERVAL", "COUNT", "UNTIL", "WKST", "BYDAY", *LISTS]
_TIME = re.compile(r"(\d{8})(?:T(\d{6})(Z?))?")
_WEEKDAY = re.compile(r"([+-]?\d{1,2})?(MO|TU|WE|TH|FR|SA|SU)")


@dataclass(slots=True)
class Text:
    """What a text says; instants are Unix seconds."""

    zone: tzinfo
    rules: list[tuple[Rule, int | None]] = field(default_factory=list)  # with COUNT
    added: tuple[float, ...] = ()
    left_out: tuple[float, ...] = ()


def read(text: str, timezone: str | None) -> Text:
    """Return what the text of a recurrence says.

    Raises:
        ServiceError: it cannot be read; names the part and what it may be.
    """
    if len(text) > LONGEST:
        raise ServiceError(f"rrule {text[:40]!r}... is longer than {LONGEST:,} characters")
    lines = list(_lines(text))
    zone = _zone(text, lines, timezone)
    starts = [value for name, _, value in lines if name == "DTSTART"]
    if len(starts) > 1:
        raise ServiceError(f"rrule {text!r} has more than one DTSTART")
    start = _time(text, "DTSTART", starts[0], zone) if starts else START
    made = Text(zone)
    for name, _, value in lines:
        if name == "RRULE":
            made.rules.append(_Parts(text, value, bool(starts)).rule(start, zone))
        elif name in {"RDATE", "EXDATE"}:
            times = tuple(_instant(text, name, one, zone) for one in value.split(","))
            made.added, made.left_out = (
                (made.added + times, made.left_out) if name == "RDATE" else (made.added, made.left_out + times)
            )
    if not made.rules and not made.added:
        raise ServiceError(f"rrule {text!r} has no rule: write it as 'FREQ=DAILY;BYHOUR=9;BYMINUTE=0'")
    return made


def _lines(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield name, parameters and value of each line."""
    for line in text.upper().split():
        head, colon, value = line.rpartition(":")
        name, _, parameters = head.partition(";")
        if not colon:
            name, value = "RRULE", line
        if name not in {"DTSTART", "RRULE", "RDATE", "EXDATE"}:
            known = ["DTSTART", "RRULE", "RDATE", "EXDATE"]
            raise ServiceError(f"rrule {text!r}: there is no line {name}{meant(name, known)}; {', '.join(known)} are")
        yield name, parameters, value


def _zone(text: str, lines: list[tuple[str, str, str]], timezone: str | None) -> tzinfo:
    """Return the zone of the schedule, which a DTSTART may name."""
    written = re.search(r"TZID=([^:;,\s]+)", text, re.IGNORECASE)
    named = {parameters.partition("TZID=")[2].partition(";")[0] for _, parameters, _ in lines if "TZID=" in parameters}
    if len(named) > 1 or (timezone and named and written and written[1] != timezone):
        zones = sorted(named | ({timezone} if timezone else set()))
        raise ServiceError(f"rrule {text!r} has several time zones, {' and '.join(zones)}: a schedule goes by one")
    return local_time.zone(timezone or (written[1] if written else "UTC"))


def _time(text: str, name: str, value: str, zone: tzinfo) -> datetime:
    """Return a time of the text as local time."""
    found = _TIME.fullmatch(value)
    try:
        if found is None:
            raise ValueError
        time = datetime.strptime(found[1] + (found[2] or "000000"), "%Y%m%d%H%M%S")
    except ValueError:
        raise ServiceError(f"rrule {text!r}: {name} {value!r} is no time: write it as 20260131T090000") from None
    return local_time.read(time.replace(tzinfo=UTC) if found[3] else time, name, zone)


def _instant(text: str, name: str, value: str, zone: tzinfo) -> float:
    return local_time.resolve(_time(text, name, value, zone), zone)


class _Parts:
    """The parts of one RRULE line."""

    def __init__(self, text: str, line: str, started: bool) -> None:
        self._text, self._started = text, started
        self._parts: dict[str, str] = {}
        for part in line.strip(";").split(";"):
            name, equals, value = part.partition("=")
            if not equals or not value or name in self._parts:
                raise self._wrong(f"the part {part!r} is not of the form NAME=VALUE, or stands twice")
            if name not in PARTS:
                raise self._wrong(f"there is no part {name}{meant(name, PARTS)}")
            self._parts[name] = value

    def rule(self, start: datetime, zone: tzinfo) -> tuple[Rule, int | None]:
        """Return the rule, and its COUNT."""
        frequency = self._frequency()
        lists: dict[str, Any] = {into: self._numbers(name, *allowed) for name, (into, allowed) in LISTS.items()}
        plain, nth = self._weekdays(frequency)
        interval = self._number("INTERVAL") if "INTERVAL" in self._parts else 1
        if interval < 1 or interval * SECONDS[frequency] > SECONDS[0] * 50:
            raise self._wrong(f"INTERVAL={interval} is not of 1 to {SECONDS[0] * 50 // SECONDS[frequency]:,}")
        week_start = self._parts.get("WKST", "MO")
        if week_start not in DAYS:
            raise self._wrong(f"WKST={week_start} is not of {', '.join(DAYS)}")
        rule = Rule(frequency, start, interval, week_start=DAYS.index(week_start), weekdays=plain, nth=nth, **lists)
        return self._checked(_with_defaults(self._ended(rule, zone))), self._count()

    def _frequency(self) -> int:
        name = self._parts.get("FREQ", "")
        if name not in FREQUENCIES:
            raise self._wrong(f"FREQ is one of {', '.join(FREQUENCIES)}; not {name!r}{meant(name, FREQUENCIES)}")
        return FREQUENCIES.index(name)

    def _count(self) -> int | None:
        if "COUNT" not in self._parts:
            return None
        if "UNTIL" in self._parts:
            raise self._wrong("COUNT and UNTIL both end it: give one")
        if not self._started:
            raise self._wrong("COUNT counts from DTSTART, and it has none: add a line such as DTSTART:20260131T090000")
        return self._number("COUNT")

    def _ended(self, rule: Rule, zone: tzinfo) -> Rule:
        if "UNTIL" not in self._parts:
            return rule
        value = self._parts["UNTIL"]
        until = _time(self._text, "UNTIL", value if "T" in value else value + "T235959", zone)
        return rule._replace(until=until, last=local_time.resolve(until, zone))

    def _numbers(self, name: str, low: int, high: int, from_end: bool) -> tuple[int, ...]:
        words = self._parts[name].split(",") if name in self._parts else []
        try:
            numbers = {int(word) for word in words}
        except ValueError:
            numbers = {-10_000}
        if not all(low <= (abs(number) if from_end else number) <= high for number in numbers):
            also = f", or -{high} to -{low}" if from_end else ""
            raise self._wrong(f"{name}={self._parts[name]} is not of {low} to {high}{also}")
        return tuple(sorted(numbers))

    def _weekdays(self, frequency: int) -> tuple[tuple[int, ...], tuple[tuple[int, int], ...]]:
        plain, nth = set(), set()
        for word in self._parts["BYDAY"].split(",") if "BYDAY" in self._parts else []:
            found = _WEEKDAY.fullmatch(word)
            if found is None or (found[1] and not 1 <= abs(int(found[1])) <= 53):
                raise self._wrong(f"BYDAY={word} is no weekday: {', '.join(DAYS)}, or 2MO, or -1FR")
            if found[1] and (frequency not in {YEARLY, MONTHLY} or "BYWEEKNO" in self._parts):
                raise self._wrong(f"BYDAY={word} counts weekdays in a month or year: FREQ=MONTHLY or YEARLY")
            day = DAYS.index(found[2])
            if found[1]:
                nth.add((day, int(found[1])))
            else:
                plain.add(day)
        return tuple(sorted(plain)), tuple(sorted(nth))

    def _number(self, name: str) -> int:
        value = self._parts[name]
        if not value.isdecimal() or len(value) > 12:
            raise self._wrong(f"{name}={value} is no number")
        return int(value)

    def _checked(self, rule: Rule) -> Rule:
        if rule.weeks and rule.frequency != YEARLY:
            raise self._wrong("BYWEEKNO goes with FREQ=YEARLY alone")
        if not rule.positions:
            return rule
        times = len(rule.hours) * len(rule.minutes) * len(rule.seconds)
        if rule.frequency >= HOURLY or times * SECONDS[rule.frequency] // SECONDS[DAILY] > MOST_POSITIONED:
            raise self._wrong(f"BYSETPOS goes with FREQ=DAILY and rarer, at most {MOST_POSITIONED:,} times a period")
        return rule

    def _wrong(self, what: str) -> ServiceError:
        return ServiceError(f"rrule {self._text!r}: {what}")


def _with_defaults(rule: Rule) -> Rule:
    """Return a rule in which its start fills in what its parts leave open."""
    frequency, start = rule.frequency, rule.start
    if not (rule.weeks or rule.year_days or rule.month_days or rule.weekdays or rule.nth):
        if frequency == YEARLY:
            rule = rule._replace(months=rule.months or (start.month,), month_days=(start.day,))
        elif frequency == MONTHLY:
            rule = rule._replace(month_days=(start.day,))
        elif frequency == WEEKLY:
            rule = rule._replace(weekdays=(start.weekday(),))
    return rule._replace(
        hours=rule.hours or ((start.hour,) if frequency < HOURLY else ()),
        minutes=rule.minutes or ((start.minute,) if frequency < MINUTELY else ()),
        seconds=rule.seconds or ((start.second,) if frequency < SECONDLY else ()),
    )
