"""The thread that takes the steps of the service while it holds their lease.

Several programs may have one each. The lease only saves work: each step is safe to take at any time, by anybody.
"""

from __future__ import annotations

import logging
import math
import threading
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from anabranch.core.clock import SYSTEM
from anabranch.core.ids import Ids
from anabranch.services.schedule import ScheduleStep

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from anabranch.core.contracts import Clock
    from anabranch.core.service import Service

LEASE_NAME = "services"
LEASE = 10.0  # seconds without a renewal after which others take over
RENEW = 3.0  # seconds between renewals
LONGEST_SLEEP = 1.0  # seconds
REAP = 5.0  # seconds between looks for the lost
AWAY = 4 * REAP  # seconds without such a look after which nobody was there to hear of drivers
LONGEST_BACK_OFF = 5.0  # seconds after errors in a row

logger = logging.getLogger("anabranch.services")


class Services:
    """Takes the steps in one thread: schedules, and what heals the lost.

    Args:
        holder: the name that the lease is held under; "": one is made.
        clock: its monotonic time says when steps are due; what the steps decide by is the service's own time.
        steps: by name; each takes the time of the service in Unix seconds, and returns the seconds until it is due
            again. None: all.
    """

    def __init__(
        self, service: Service, *, holder: str = "", clock: Clock = SYSTEM,
        steps: Mapping[str, Callable[[float], float]] | None = None,
    ) -> None:  # fmt: skip
        given = steps or {"schedules": ScheduleStep(service), "reap": ReapStep(service)}
        self._service, self._clock = service, clock
        self._holder = holder or Ids().new()
        self._steps = [_Planned(name, partial(self._timed, step)) for name, step in given.items()]
        self._lease = _Planned("lease", self._renew)
        self._leads = False
        self._stopping = False
        self._awake = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def leads(self) -> bool:
        """Whether it had the lease when it looked last."""
        return self._leads

    def start(self) -> None:
        """Start the thread; a second call does nothing."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._main, name="anabranch-services", daemon=True)
            self._thread.start()

    def wake(self) -> None:
        """Take the steps now: something has changed."""
        self._awake.set()

    def stop(self) -> None:
        """End the thread, after the step that it is in, and give the lease back."""
        self._stopping = True
        self._awake.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        if self._leads:
            _Planned("end", self._give_back).take(self._clock)

    def turn(self, *, hurry: bool = False) -> float:
        """Take the steps that are due, if the lease is held; returns the seconds to sleep until the next.

        Args:
            hurry: whether all steps are due.
        """
        self._lease.when_due(self._clock)
        if not self._leads:
            return self._lease.left(self._clock)
        for step in self._steps:
            step.when_due(self._clock, hurry)
        return min(step.left(self._clock) for step in (self._lease, *self._steps))

    def _renew(self) -> float:
        self._leads = False  # also where the question fails
        self._leads = self._service.upkeep.lease(LEASE_NAME, self._holder, LEASE)
        return RENEW if self._leads else LONGEST_SLEEP

    def _timed(self, step: Callable[[float], float]) -> float:
        return step(self._service.upkeep.now())

    def _give_back(self) -> float:
        self._leads = False
        self._service.upkeep.lease(LEASE_NAME, self._holder, 0.0)
        return 0.0

    def _main(self) -> None:
        while True:
            hurry = self._awake.is_set()
            self._awake.clear()  # before the look at what was asked, so that none is missed
            if self._stopping:
                return
            self._awake.wait(self.turn(hurry=hurry))


@dataclass(slots=True)
class _Planned:
    """A step, and when it is due by the monotonic clock; errors put it off and never end it."""

    name: str
    step: Callable[[], float]
    due: float = -math.inf
    errors: int = 0
    told: str = ""

    def when_due(self, clock: Clock, hurry: bool = False) -> None:
        if hurry or clock.monotonic() >= self.due:
            self.take(clock)

    def take(self, clock: Clock) -> None:
        try:
            wait = self.step()
            self.errors, self.told = 0, ""
        except Exception as error:  # a database that is away now answers later
            self.errors += 1
            wait = min(LONGEST_BACK_OFF, 0.25 * 2**self.errors)
            if self.told != (told := f"{type(error).__name__}: {error}"):
                self.told = told
                logger.warning("the step %r of the services failed, and is tried again: %s", self.name, told)
        self.due = clock.monotonic() + wait

    def left(self, clock: Clock) -> float:
        return min(LONGEST_SLEEP, max(0.0, self.due - clock.monotonic()))


class ReapStep:
    """The step that heals the lost.

    Where nobody took it for a while, the server or its database was away, or this machine stood still. No driver could
    be heard then, so their silence is counted from its first turn after that on.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._looked = self._heard_since = -math.inf

    def __call__(self, now: float) -> float:
        if now - self._looked > AWAY:
            self._heard_since = now
        self._service.upkeep.reap(self._heard_since)
        self._looked = now
        return REAP
