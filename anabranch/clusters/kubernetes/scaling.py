"""Which workers a cluster of pods has: a state machine without clock or API. How many: see `clusters/wants.py`.

    fewer than wanted  --> Plan.more: `replicas` grows, and the operator makes Deployments, one a worker
    more than wanted   --> Plan.retire: those without a worker first, then idle ones, busy ones where the user said so;
                           each hands its values on, ends what it runs, and its Deployment goes

The operator acts only when `replicas` changes, and when there are more Deployments than that it chooses by itself
which go, also of healthy ones with values. So nothing goes until it has made all that were asked for, and `replicas`
only ever sinks to the number of Deployments that are left: it sees that all is as it should be, and rests.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from anabranch.clusters.wants import Wants
    from anabranch.core.clusters import Demand

KEPT_SECONDS = 60.0  # until a worker that was kept for its values is asked again
SLOW_SECONDS = 30.0  # for the operator to make what was asked for, until it is told once more
NUDGES = 3


class Seat(NamedTuple):
    """A worker's Deployment, as the API and the scheduler see it.

    Attributes:
        joined: its worker is connected.
        busy: its worker has something to do.
        reason: why its pod does not run, in plain words.
        hopeless: it will not run by waiting.
        closing: its worker has been told to go, and gets no work.
    """

    name: str
    joined: bool = False
    busy: bool = False
    reason: str = ""
    hopeless: bool = False
    closing: bool = False

    @property
    def works(self) -> bool:
        return self.joined and not self.closing


class Plan(NamedTuple):
    """What is to be done now.

    Attributes:
        more: so many are to be made.
        retire: workers that are to go.
    """

    more: int = 0
    retire: tuple[str, ...] = ()


class Group:
    """The workers of one cluster.

    Args:
        asked: replicas that the group was made with.
        patience: seconds without any worker after which a waiting cluster counts as of no use.

    Attributes:
        asked: replicas that the group has been told last.
        leaving: workers that have been told to go.
    """

    def __init__(self, wants: Wants, asked: int, patience: float = math.inf) -> None:
        self.wants = wants
        self.asked = asked
        self.leaving: set[str] = set()
        self._patience = patience
        self._kept: dict[str, float] = {}  # until then a worker is not told to go
        self._short_since: float | None = None  # since when the operator has not made all that were asked for
        self._nudges = 0
        self._empty_since: float | None = None

    def want(self, minimum: int, maximum: int) -> None:
        """Change the bounds."""
        self.wants.tell(minimum, maximum)
        self._empty_since, self._nudges = None, 0

    def step(self, now: float, seats: Sequence[Seat], demands: Iterable[Demand]) -> Plan:
        """Return what is to be done now.

        Args:
            seats: all Deployments of the group, the oldest first.
        """
        wants = self.wants
        wants.look(now, demands, any(seat.busy for seat in seats))
        names = {seat.name for seat in seats}
        self.leaving &= names
        # What was told to go by another, or kept without a word to it, would count and do nothing.
        lost = [seat.name for seat in seats if seat.closing and not self._resting(seat.name, now)]
        lost = [name for name in lost if name not in self.leaving]
        self.leaving.update(lost)
        staying = [seat for seat in seats if seat.name not in self.leaving]
        coming = max(0, self.asked - len(seats))
        self._note(now, seats, coming)
        missing = wants.target - len(staying) - coming
        if missing > 0:
            return Plan(missing, tuple(lost))
        if coming:
            return Plan(self._nudge(now), tuple(lost))
        over = len(staying) - wants.floor(now)
        if over <= 0:
            wants.settled()
            return Plan(retire=tuple(lost))
        retire = self._chosen(now, staying)[:over]
        self.leaving.update(retire)
        return Plan(retire=(*lost, *retire))

    def keep(self, name: str, now: float) -> None:
        """Take back that a worker goes, for a while."""
        self.leaving.discard(name)
        self._kept[name] = now + KEPT_SECONDS

    def trouble(self, now: float, seats: Sequence[Seat]) -> str:
        """Return why no worker is to be expected; "" while there is hope."""
        if any(seat.works for seat in seats) or not self.wants.target:
            return ""
        if seats and all(seat.hopeless for seat in seats):
            return f"no worker can start: {seats[0].reason}"
        if self._nudges >= NUDGES:
            return self.slow(seats)
        if self._empty_since is not None and now - self._empty_since >= self._patience:
            reasons = [seat.reason for seat in seats if seat.reason]
            return f"no worker came within {self._patience:g} s: {reasons[0] if reasons else self.slow(seats)}"
        return ""

    def why(self, seats: Sequence[Seat]) -> str:
        """Return why there are fewer workers than wanted; "" when there are enough."""
        here = sum(seat.works for seat in seats if seat.name not in self.leaving)
        if here >= self.wants.target:
            return ""
        reasons = [seat.reason for seat in seats if not seat.joined and seat.reason]
        starting = "their pods are starting" if self.asked <= len(seats) else self.slow(seats)
        return f"{here} of {self.wants.target} workers are there: {reasons[0] if reasons else starting}"

    def slow(self, seats: Sequence[Seat]) -> str:
        """Return that the operator has not done what it was told."""
        return (
            f"the Dask operator has made {len(seats)} of {self.asked} workers: `kubectl get pods --all-namespaces -l "
            "app.kubernetes.io/name=dask-kubernetes-operator` tells whether it runs"
        )

    def _note(self, now: float, seats: Sequence[Seat], coming: int) -> None:
        self._kept = {name: until for name, until in self._kept.items() if until > now}
        if not coming:
            self._short_since, self._nudges = None, 0
        elif self._short_since is None:
            self._short_since = now
        if any(seat.works for seat in seats) or not self.wants.target:
            self._empty_since = None
        elif self._empty_since is None:
            self._empty_since = now

    def _resting(self, name: str, now: float) -> bool:
        """Return whether a worker was kept a while ago, and is not to be told to go."""
        return self._kept.get(name, -math.inf) > now

    def _nudge(self, now: float) -> int:
        """Return one to tell the operator once more: a Deployment that another has deleted comes back only so."""
        slow = self._short_since is not None and now - self._short_since >= SLOW_SECONDS
        if not slow or self._nudges >= NUDGES:
            return 0
        self._short_since = now
        self._nudges += 1
        return 1

    def _chosen(self, now: float, staying: Sequence[Seat]) -> list[str]:
        """Return those that may go, in order: the latest of those that have no worker, of idle ones, of busy ones."""
        free = [seat for seat in reversed(staying) if not self._resting(seat.name, now)]
        waiting = [seat.name for seat in free if not seat.joined]
        idle = [seat.name for seat in free if seat.joined and not seat.busy]
        busy = [seat.name for seat in free if seat.joined and seat.busy] if self.wants.fixed else []
        return [*waiting, *idle, *busy]
