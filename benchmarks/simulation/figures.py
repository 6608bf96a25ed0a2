"""One simulation, and its figures."""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from benchmarks.simulation.driver import Driver
from benchmarks.simulation.fleet import Fleet
from benchmarks.simulation.setup import US, bound_of, durations_of, free_of, nodes_of, speeds_of

if TYPE_CHECKING:
    from benchmarks.simulation.setup import Setup


@dataclass(slots=True)
class Figures:
    """What came of a simulation.

    Attributes:
        completed: items.
        makespan: virtual seconds until the map had ended.
        bound: seconds that no dispatcher can beat.
        free: seconds of a dispatcher without cost that does not know durations; 0.0: not asked for.
        cpu: processor seconds of the dispatcher's steps.
        longest_step: processor seconds of the longest step.
        simulator: processor seconds of all the rest.
        grown: bytes by which the process grew, the simulator's own running chunks included.
        sent: chunks, each a message to a worker.
        reports: messages from workers.
        lost: chunks that were lost with their worker.
        again: items that began more than once.
        busy: share of the run in which the driver was at a message, if these were given a cost.
    """

    items: int
    completed: int
    makespan: float
    bound: float
    free: float
    cpu: float
    longest_step: float
    simulator: float
    grown: int
    sent: int
    reports: int
    lost: int
    again: int
    busy: float

    @property
    def idle(self) -> float:
        """By which share of the bound the run took longer."""
        return self.makespan / self.bound - 1

    @property
    def idle_free(self) -> float:
        return self.free / self.bound - 1

    @property
    def cpu_us(self) -> float:
        return self.cpu / self.items * 1e6

    @property
    def bytes_an_item(self) -> float:
        return self.grown / self.items

    @property
    def messages(self) -> float:
        """Messages a second, in both directions."""
        return (self.sent + self.reports) / self.makespan


def simulate(setup: Setup, *, free: bool = False) -> Figures:
    """Run one simulation; `free`: also the dispatcher without cost, on the same items."""
    work = durations_of(setup)
    nodes = nodes_of(setup, float(work.sum(dtype="int64")) / US / setup.workers)
    speeds = speeds_of(setup)
    bound = bound_of(work, nodes, speeds)
    process = psutil.Process()
    gc.collect()
    before = process.memory_info().rss
    driver = Driver(setup, sum(len(node.workers) for node in nodes if node.joins == 0.0))
    fleet = Fleet(setup, work, nodes, speeds, driver)
    begun = time.process_time()
    fleet.run()
    spent = time.process_time() - begun
    grown = process.memory_info().rss - before
    map, makespan = driver.map, fleet.now / US
    return Figures(
        items=setup.items,
        completed=len(map.codes) - len(map.failures()),
        makespan=makespan,
        bound=bound,
        free=free_of(work, setup.workers) if free else 0.0,
        cpu=driver.meter.seconds,
        longest_step=driver.meter.longest,
        simulator=spent - driver.meter.seconds,
        grown=grown,
        sent=driver.sent,
        reports=fleet.reports,
        lost=fleet.lost,
        again=len(map.attempts),
        busy=fleet.driver_busy / US / makespan,
    )
