"""Who takes part in a contest, at which sizes, and who is spared what would take too long.

A system that was stopped at one n, or that at its last rate would need over twice the time limit for the next,
is not tried there; the table says which.
"""

from __future__ import annotations

import importlib.util
import itertools
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmarks import peers
from benchmarks.contests import FAN_OUT, LATENCY, Contest
from benchmarks.peers import ABSENT
from benchmarks.sampling import Sample, take
from benchmarks.systems import SYSTEMS, System

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZES = (1_000, 10_000, 100_000, 1_000_000)
QUICK_SIZES = (100, 1_000)
START_SECONDS = 120.0  # on top of a sample's limit: start, warm-up, end
TOO_SLOW = "not tried"


@dataclass
class Plan:
    """Who takes part, over how many items, for how long.

    Args:
        systems: the systems that take part.
        sizes: items of the fan-out, rising.
        seconds: time limit of one sample, without start and end of the system.
        repeat: rounds.
    """

    systems: tuple[System, ...] = SYSTEMS
    sizes: tuple[int, ...] = SIZES
    seconds: float = 120.0
    repeat: int = 1
    quick: bool = False
    _absent: set[str] = field(default_factory=set)

    def run(self, kind: str) -> Iterator[Sample]:
        """Round by round; in a round all systems at the first size, then all at the next."""
        self._absent = absent(self.systems)
        names = [f"{FAN_OUT}@{n}" for n in self.sizes] if kind == FAN_OUT else [LATENCY]
        for _ in range(self.repeat):
            last: dict[str, Sample] = {}
            for name, system in itertools.product(names, self.systems):
                sample = self._sample(Contest(name), system, last.get(system.name))
                last[system.name] = sample
                yield sample

    def _sample(self, contest: Contest, system: System, last: Sample | None) -> Sample:
        reason = ""
        if system.name in self._absent:
            reason = ABSENT
        elif last is not None and last.error:
            reason = last.error if last.error.startswith(TOO_SLOW) else f"{TOO_SLOW}: at fewer items: {last.error}"
        elif last is not None and contest.items / last.figures["rate"] > 2 * self.seconds:
            reason = f"{TOO_SLOW}: would take {contest.items / last.figures['rate']:.0f} s at the rate before"
        if reason:
            return Sample(contest.name, system.name, 0.0, error=reason)
        python = str(peers.PYTHON) if system.peers else sys.executable
        return take(contest.name, system.name, self.quick, self.seconds + START_SECONDS, python)


def skipped(sample: Sample) -> bool:
    """Whether it was not even begun."""
    return sample.error.startswith((ABSENT, TOO_SLOW))


def absent(systems: tuple[System, ...]) -> set[str]:
    """Names of systems whose packages are not there: peers' in `.bench-venv`, the others' here."""
    ours = {s.name for s in systems if not s.peers and s.needs and importlib.util.find_spec(s.needs) is None}
    theirs = {s.needs for s in systems if s.peers}
    there = peers.installed(frozenset(theirs), peers.PYTHON)
    return ours | {s.name for s in systems if s.peers and s.needs not in there}
