"""The contest: rounds of both sides in turn, as many as the time allows, and what they come to."""

from __future__ import annotations

import functools
import statistics
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from anabranch.bench import ours
from anabranch.bench.work import NAP, calibrate, inc, nap
from anabranch.core.errors import AnabranchError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from anabranch.bench.places import Place
    from anabranch.bench.work import Side

MOST_ROUNDS = 7
BUSY = 1.25  # calibration loops that differ by more say that the machine was busy
Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Row:
    """A kind of work.

    Attributes:
        text: what it is; {n} stands for how much of it.
        unit: of its figure.
        most: how many items or calls at most.
        rising: whether a higher figure is better.
    """

    name: str
    text: str
    unit: str
    most: int
    rising: bool = True


ROWS = (
    Row("map", "map of {n} no-ops", "items/s", 100_000),
    Row("submits", "{n} single submits and their values", "calls/s", 1_000),
    Row("latency", "submit and result, one at a time", "us", 200, rising=False),
    Row("naps", "{n} tasks of 1 ms: share of the workers' time", "%", 20_000),
)


@dataclass(frozen=True, slots=True)
class Cell:
    """The figures of one side in one row, a figure a round.

    Attributes:
        n: items or calls in a round.
    """

    n: int
    samples: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.samples)


@dataclass(slots=True)
class Outcome:
    """All figures.

    Attributes:
        calibration: seconds of the calibration loop, before each side's turn.
    """

    rounds: int = 0
    seconds: float = 0.0
    calibration: list[float] = field(default_factory=list)
    cells: dict[str, tuple[Cell, Cell]] = field(default_factory=dict)  # by row: ours, the peer's

    @property
    def busy(self) -> float:
        """How much slower the calibration loop was at its worst than at its best."""
        return max(self.calibration) / min(self.calibration)

    def ratio(self, row: Row) -> float:
        """Return how many times better our median is; below 1 the peer's is."""
        mine, other = (cell.median for cell in self.cells[row.name])
        return mine / other if row.rising else other / mine


def run(place: Place, seconds: float, say: Callable[[str], None] = lambda text: None) -> Outcome:
    """Measure for about so many seconds, at least one round.

    Raises AnabranchError where a side gives wrong values.
    """
    begun = time.monotonic()
    found = Outcome()
    sizes: dict[bool, dict[str, int]] = {}
    figures: dict[str, tuple[list[float], list[float]]] = {row.name: ([], []) for row in ROWS}
    longest = 0.0
    while found.rounds < MOST_ROUNDS and (not found.rounds or time.monotonic() - begun + longest < seconds):
        round_began = time.monotonic()
        for mine in (True, False) if found.rounds % 2 == 0 else (False, True):
            say(f"round {found.rounds + 1}: {'anabranch' if mine else place.raw}")
            found.calibration.append(calibrate())

            def body(side: Side, mine: bool = mine) -> Figures:
                if mine not in sizes:
                    sizes[mine] = _sizes(side, place.workers, seconds)
                return _measured(side, sizes[mine], place.workers)

            for name, figure in _turn(place, mine, body).items():
                figures[name][not mine].append(figure)
        found.rounds += 1
        longest = max(longest, time.monotonic() - round_began)
    for row in ROWS:
        first, second = figures[row.name]
        found.cells[row.name] = (Cell(sizes[True][row.name], first), Cell(sizes[False][row.name], second))
    found.seconds = time.monotonic() - begun
    return found


def _turn(place: Place, mine: bool, body: Callable[[Side], Figures]) -> Figures:
    if mine:
        return ours.turn(place.runner(), body)
    with place.peer() as side:
        _checked(side.map(inc, 64), 64)
        return body(side)


def _sizes(side: Side, workers: int, seconds: float) -> dict[str, int]:
    """Return how much of each row fits: one round is to take a tenth of the time at most."""
    each = seconds / 40
    rate = 0.0
    for n in (1_000, 10_000):  # a short look says little of a quick side
        took = _seconds(functools.partial(side.map, inc, n), n)
        rate = n / took
        if took > 0.2:
            break
    begun = time.perf_counter()
    _checked([side.call(number) for number in range(5)], 5)
    pace = 5 / (time.perf_counter() - begun)
    naps = each * min(workers / NAP, rate)
    wanted = {"map": each * rate, "submits": each * rate, "latency": each * pace, "naps": naps}
    wanted["map"] = max(wanted["map"], 500)
    if rate * seconds / 20 > ROWS[0].most:  # the whole map, where it is that quick
        wanted["map"] = ROWS[0].most
    return {row.name: max(10, min(row.most, int(wanted[row.name]))) for row in ROWS}


def _measured(side: Side, sizes: dict[str, int], workers: int) -> Figures:
    n = sizes["map"]
    found = {"map": n / _seconds(lambda: side.map(inc, n), n)}
    calls = sizes["submits"]
    found["submits"] = calls / _seconds(lambda: side.submit_all(calls), calls)
    found["latency"] = _latency(side, sizes["latency"])
    naps = sizes["naps"]
    found["naps"] = 100 * naps * NAP / (workers * _seconds(lambda: side.map(nap, naps), naps))
    return found


def _seconds(work: Callable[[], Iterable[int]], n: int) -> float:
    begun = time.perf_counter()
    values = work()
    took = time.perf_counter() - begun
    _checked(values, n)
    return took


def _latency(side: Side, calls: int) -> float:
    took, values = [], []
    for number in range(calls):
        begun = time.perf_counter()
        values.append(side.call(number))
        took.append((time.perf_counter() - begun) * 1e6)
    _checked(values, calls)
    return statistics.median(took)


def _checked(values: Iterable[int], n: int) -> None:
    found = sum(values)
    if found != n * (n + 1) // 2:
        raise AnabranchError(f"wrong values: the sum over {n} items is {found}, and must be {n * (n + 1) // 2}")
