"""What is simulated: the items, the workers and their fates; and what no schedule can beat."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy

if TYPE_CHECKING:
    from collections.abc import Sequence

US = 1_000_000  # microseconds in a second
NEVER = math.inf
LONGEST = 2**30  # microseconds: so that a slow worker's still fit the columns of a report in four bytes
SHAPE = 0.7  # of the Weibull distribution of gaps between failures: they come in groups


@dataclass(slots=True, frozen=True)
class Setup:
    """One simulation.

    Attributes:
        workers: all of them, those that join late included.
        items: of the one map.
        mean: seconds an item takes.
        sigma: of the logarithm of the items' lognormal durations.
        node: workers that join and die at once.
        lost: share of the workers that dies, in whole nodes, at least one.
        late: share of the workers that joins late, in whole nodes, over the first tenth of the ideal run.
        slow: share of the workers that takes twice as long for everything.
        latency: seconds from a worker to the driver, and as many back.
        message: seconds of the driver's time that each message costs; all others wait meanwhile.
        values: where results lie: workers (they die with their node), driver or none.
        chunk: items in a chunk; 0: as measured.
        chunk_seconds: work in a chunk that the runner asks for; those for Dask and Ray ask for 0.4 s.
        walltime: seconds of the allocation, which the dispatcher knows; 0: it does not end.
        longest_first: the input is sorted, longest items first.
        seed: of all that is drawn.
    """

    workers: int = 10_000
    items: int = 10_000_000
    mean: float = 1.0
    sigma: float = 0.8
    node: int = 128
    lost: float = 0.0
    late: float = 0.0
    slow: float = 0.0
    latency: float = 0.001
    message: float = 0.0
    values: str = "workers"
    chunk: int = 0
    chunk_seconds: float = 0.4
    walltime: float = 0.0
    longest_first: bool = False
    seed: int = 1


DETECTION = (30.0, 300.0)  # seconds from a node's death until the driver hears of it: between these


@dataclass(slots=True)
class Node:
    """Workers that come and go together, with the seconds at which they do."""

    workers: range
    joins: float = 0.0
    dies: float = NEVER
    told: float = NEVER  # the driver hears of the death


def durations_of(setup: Setup) -> numpy.ndarray:
    """Return the items' durations in microseconds."""
    rng = numpy.random.default_rng(setup.seed)
    drawn = rng.lognormal(-(setup.sigma**2) / 2, setup.sigma, setup.items) * (setup.mean * US)
    found = numpy.clip(drawn, 1, LONGEST).astype(numpy.int32)
    return numpy.sort(found)[::-1].copy() if setup.longest_first else found


def nodes_of(setup: Setup, ideal: float) -> list[Node]:
    """Return the nodes with their fates; `ideal` is the length of a run without waste, in seconds."""
    rng = numpy.random.default_rng(setup.seed + 1000)
    nodes = [Node(range(lo, hi)) for lo, hi in pairwise([*range(0, setup.workers, setup.node), setup.workers])]
    order = rng.permutation(len(nodes)).tolist()
    for number in order[: round(setup.late * len(nodes))]:
        nodes[number].joins = float(rng.uniform(0.0, ideal / 10))
    dying = max(1, round(setup.lost * len(nodes))) if setup.lost else 0
    if dying >= len(nodes):
        raise ValueError(f"all {len(nodes)} node(s) of {setup.node} workers would die: take more, or smaller ones")
    gaps = numpy.cumsum(rng.weibull(SHAPE, dying + 1))
    for number, at in zip(order[len(order) - dying :], gaps[:-1] / gaps[-1] * ideal, strict=True):
        nodes[number].dies = float(at)
        nodes[number].told = float(at + rng.uniform(*DETECTION))
    return nodes


def speeds_of(setup: Setup) -> list[int]:
    """Return by how much each worker multiplies durations."""
    rng = numpy.random.default_rng(setup.seed + 2000)
    slow = set(rng.choice(setup.workers, round(setup.slow * setup.workers), replace=False).tolist())
    return [2 if worker in slow else 1 for worker in range(setup.workers)]


def bound_of(work: numpy.ndarray, nodes: Sequence[Node], speeds: Sequence[int]) -> float:
    """Return the seconds that no schedule can beat: all work spread evenly over the living, or the longest item."""
    total = float(work.sum(dtype=numpy.int64)) / US
    rates = [sum(1 / speeds[worker] for worker in node.workers) for node in nodes]
    changes = [(node.joins, rate) for node, rate in zip(nodes, rates, strict=True)]
    changes += [(node.dies, -rate) for node, rate in zip(nodes, rates, strict=True) if node.dies != NEVER]
    at = rate = 0.0
    for when, change in sorted(changes):
        if total <= rate * (when - at):
            break
        total -= rate * (when - at)
        at, rate = when, rate + change
    return max(at + total / rate, float(work.max()) / US)


def free_of(work: numpy.ndarray, workers: int) -> float:
    """Return the seconds of a dispatcher without any cost that gives out item by item, in the input's order."""
    ends = [0] * min(workers, len(work))
    step = 100_000
    for lo in range(0, len(work), step):
        for took in work[lo : lo + step].tolist():
            heapq.heapreplace(ends, ends[0] + took)
    return max(ends) / US
