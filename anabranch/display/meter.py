"""One map as a line of text: counts, rate, and time to go.

A meter holds the map weakly and reads its columns; it makes no futures and keeps no value alive.
"""

from __future__ import annotations

import weakref
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from anabranch.core.states import CACHED, CANCELLED, failed_in
from anabranch.display import units

if TYPE_CHECKING:
    import contextvars

    from anabranch.core.maps import MapRun

INTERVAL = 0.1  # seconds between two readings, at least
RATE_SECONDS = 10.0  # the rate is taken over the last so many seconds
NAME_WIDTH = 24
BAR_WIDTH = 20
LINES = 5  # maps under way that are shown at once


@dataclass(slots=True, frozen=True)
class Reading:
    """A map at one moment."""

    name: str
    done: int
    total: int | None  # None: an unsized input goes on
    failed: int
    cached: int
    cancelled: int
    bytes_held: int
    bytes_spilled: int
    seconds: float  # since the first reading
    rate: float  # items a second, over the last `RATE_SECONDS`
    finished: bool
    retried: int = 0

    @property
    def eta(self) -> float | None:
        """Seconds until the end at the present rate; None when it cannot be known."""
        if self.total is None or self.finished or self.rate <= 0:
            return None
        return (self.total - self.done) / self.rate


class Meter:
    """Reads one map now and then; `read` returns None once the map is gone."""

    __slots__ = ("_map", "_marks", "began", "context", "name", "seen")

    def __init__(self, map: MapRun, now: float, context: contextvars.Context | None = None) -> None:
        self._map = weakref.ref(map)
        self._marks: deque[tuple[float, int]] = deque([(now, map.done)])
        self.name = map.spec.name
        self.began = now
        self.context = context  # that of the map's making, for sinks that show it there
        self.seen: Reading | None = None

    def map(self) -> MapRun | None:
        return self._map()

    def read(self, now: float) -> Reading | None:
        map = self._map()
        if map is None:
            return None
        finished = map.finished
        done = map.done
        if not done:
            self._marks.clear()  # a map that waits its turn has no rate yet
        self._marks.append((now, done))
        while len(self._marks) > 2 and now - self._marks[1][0] >= RATE_SECONDS:
            self._marks.popleft()
        then, before = self._marks[0]
        rate = (done - before) / (now - then) if now > then else 0.0
        self.seen = Reading(
            self.name, done, len(map.codes) if map.closed else None, failed_in(map.codes),
            map.codes.count(CACHED), map.codes.count(CANCELLED), map.footprint.held, map.footprint.spilled,
            now - self.began, rate, finished, map.retried,
        )  # fmt: skip
        return self.seen


@dataclass(slots=True, frozen=True)
class Style:
    """The abilities of the terminal."""

    width: int = 80
    color: bool = False
    unicode: bool = True


def line(reading: Reading, style: Style) -> str:
    """A live line, never wider than the terminal: name, bar, counts, rate, time to go, failures, bytes held."""
    name = _cut(reading.name, NAME_WIDTH).ljust(min(NAME_WIDTH, 12))
    parts = [counts(reading), f"{units.rate(reading.rate):>9}"]
    if reading.eta is not None:
        parts.append(f"ETA {units.clock(reading.eta)}")
    elif not reading.finished:
        parts.append(units.clock(reading.seconds))
    tail = extras(reading)
    room = style.width - 1
    text = "  ".join([name, *parts, *tail])
    bar_width = min(BAR_WIDTH, room - len(text) - 2)
    bar = _bar(reading, bar_width, style) if bar_width >= 5 and reading.total else ""
    if not bar:
        return _cut(text, room)
    painted = [_paint(t, "31", style) if t.endswith(" failed") else t for t in tail]
    return "  ".join([name, bar, *parts, *painted])


def start_line(reading: Reading) -> str:
    """The first plain line of a map, where output is piped."""
    return f"{reading.name}: map of {_items(reading.total)}"


def plain_line(reading: Reading) -> str:
    """A plain line of a map under way."""
    parts = [counts(reading).strip(), units.rate(reading.rate)]
    if reading.eta is not None:
        parts.append(f"ETA {units.clock(reading.eta)}")
    return f"{reading.name}: {', '.join([*parts, *extras(reading)])}"


def end_line(reading: Reading) -> str:
    """The last line of a map, on a terminal and piped alike."""
    worked = reading.done - reading.cancelled  # what was cancelled took no time
    speed = units.rate(worked / reading.seconds) if reading.seconds > 0 else "-/s"
    text = f"{_items(reading.done)} in {units.duration(reading.seconds)} ({speed})"
    return f"{reading.name}: {', '.join([text, *extras(reading)])}"


def extras(reading: Reading) -> list[str]:
    """Return the rest of the line: failed, retried, cancelled and cached items, bytes held and spilled."""
    words = ("failed", "retried", "cancelled", "cached")
    found = [f"{units.count(getattr(reading, word))} {word}" for word in words if getattr(reading, word)]
    if reading.bytes_held:
        found.append(f"{units.size(reading.bytes_held)} held")
    if reading.bytes_spilled:
        found.append(f"{units.size(reading.bytes_spilled)} spilled")
    return found


def _items(number: int | None) -> str:
    if number is None:
        return "an unsized input"
    return "1 item" if number == 1 else f"{units.count(number)} items"


def counts(reading: Reading) -> str:
    """Return ``1,712/10,000  17%``."""
    if reading.total is None:
        return f"{units.count(reading.done)} items"
    total = units.count(reading.total)
    share = 100 if not reading.total else int(100 * reading.done / reading.total)
    return f"{units.count(reading.done):>{len(total)}}/{total} {share:>3}%"


def _bar(reading: Reading, width: int, style: Style) -> str:
    share = min(1.0, reading.done / reading.total) if reading.total else 0.0
    full = int(share * width)
    if not style.unicode:
        return "[" + "#" * (full * (width - 2) // width) + "." * (width - 2 - full * (width - 2) // width) + "]"
    done, rest = "━" * full, "━" * (width - full)
    if style.color:
        return _paint(done, "32", style) + _paint(rest, "90", style)
    return done + "─" * (width - full)


def _paint(text: str, code: str, style: Style) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if style.color and text else text


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(0, width - 1)] + "…" if width > 0 else ""
