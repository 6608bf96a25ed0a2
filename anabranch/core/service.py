"""The contract of the service: deployments, schedules, orders, pools and agents, in a database or over HTTP.

    schedule --due, tick--.                       .--claim, beat--- agent --starts--> driver --begin-->
                           >--order--> [ orders ] <
    people, flows ---------'                       '--reap--- (leases, dead drivers, late runs)

Each method is one transaction, and may be called twice: unique keys, tokens and comparisons make the second call find
what the first one did. Any number of programs may call any of them at once. Times are Unix seconds by the service's
own clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from anabranch.core.access import KeyRing
    from anabranch.core.deployments import DeploymentRow, ProjectRow, RevisionRow, ScheduleRow
    from anabranch.core.orders import (
        Agent,
        Begun,
        Claim,
        DriverProcess,
        Heard,
        Hold,
        NewOrder,
        Order,
        Ordered,
        Pool,
        Queue,
        Reaped,
        Standing,
        Tick,
    )

MOST = 200  # rows in one answer


class Deployments(Protocol):
    """Deployments, their revisions, and projects."""

    def apply(
        self, deployment: DeploymentRow, schedules: Sequence[ScheduleRow] | None = None, *, by: str = "",
        always: bool = False, after: int | None = None,
    ) -> DeploymentRow:  # fmt: skip
        """Make a deployment, or change the one of this flow and name; returns it with id and revision.

        Args:
            schedules: all of its schedules, told apart by slug; None: those that it has stay. One that a person has
                paused stays paused. One with a changed spec begins anew at the present time.
            always: whether a revision is made even of the same document.
            after: the revision that the caller has seen, 0 for none: with `always`, one that was made since, by an
                earlier try without an answer, is enough.

        Raises:
            ServiceError: its pool or its project does not exist; names the nearest.
        """
        ...

    def find(self, name: str) -> DeploymentRow | None:
        """Return a deployment by id or "flow/name"."""
        ...

    def known(self, name: str) -> DeploymentRow:
        """Return a deployment by id or "flow/name"; raises ServiceError, which names the nearest."""
        ...

    def all(self, *, flow: str = "", project: str = "", after: str = "", limit: int = MOST) -> list[DeploymentRow]:
        """Return deployments by flow and name, from the one behind `after` ("flow/name") on."""
        ...

    def pause(self, name: str, paused: bool) -> bool: ...

    def delete(self, name: str) -> bool:
        """Delete a deployment and its schedules, and cancel its waiting orders; runs stay in the record."""
        ...

    def revisions(self, name: str) -> list[RevisionRow]:
        """Return the documents that a deployment has had, newest first."""
        ...

    def put_project(self, project: ProjectRow) -> None: ...

    def projects(self) -> list[ProjectRow]: ...

    def delete_project(self, name: str) -> bool: ...


class Schedules(Protocol):
    """Schedules, and the ticks that they have had."""

    def all(self, deployment: str = "") -> list[ScheduleRow]:
        """Return the schedules of a deployment (id or name), or all."""
        ...

    def put(self, schedule: ScheduleRow) -> ScheduleRow:
        """Add a schedule to its deployment, or change the one of this slug."""
        ...

    def set_active(self, deployment: str, slug: str, active: bool | None) -> bool:
        """Pause or resume a schedule by a person's word; None takes the word back."""
        ...

    def delete(self, deployment: str, slug: str) -> bool: ...

    def due(self, before: float, limit: int = MOST) -> list[ScheduleRow]:
        """Return active schedules of deployments with a tick up to then, the earliest first."""
        ...

    def tick(self, schedule: ScheduleRow, cursor: float, next_tick: float | None, orders: Sequence[NewOrder]) -> bool:
        """Order the runs of a schedule's ticks and move its cursor, if schedule and cursor are still those read."""
        ...

    def tick_all(self, ticks: Sequence[Tick]) -> list[bool]:
        """Do the same for many schedules; returns for which of them it was done, in their order.

        Raises:
            ServiceError: an order is refused, and nothing was done.
        """
        ...


class Orders(Protocol):
    """Orders, from the wish to the end."""

    def add(self, orders: Sequence[NewOrder]) -> list[Ordered]:
        """Order flow runs, all or none; one with a key that its deployment has seen is the earlier one.

        Raises:
            ParametersRefused: parameters do not fit the deployment's schema; names each. Those of a schedule's tick
                are left to the driver, so that the run says so.
            ServiceError: there is no such deployment; or parameters are too large.
        """
        ...

    def find(self, run: str) -> Order | None:
        """Return the order of a run (id, start of an id, or name)."""
        ...

    def all(
        self, *, deployment: str = "", schedule: str = "", pool: str = "", open: bool = True, after: str = "",
        limit: int = MOST,
    ) -> list[Order]:  # fmt: skip
        """Return orders, those due first in front; with `open` those that are not done.

        Args:
            schedule: id of the one that ordered them.
            after: the `place` of the order that the page begins behind.

        Raises:
            ServiceError: there is no such deployment, or `after` is no place.
        """
        ...

    def standing(self, run: str) -> Standing | None:
        """Return what decides whether an order can be claimed; None where the run has no order."""
        ...

    def cancel(self, run: str, *, by: str = "", grace: float | None = None) -> bool:
        """Cancel a run in any state; False where there is no order of it or it is done.

        Waiting: it is Cancelled at once. Claimed: its agent kills it. Begun: it is Cancelling; its driver hears it
        within a second and has its grace, then its agent kills it.
        """
        ...


class Claims(Protocol):
    """What agents and drivers ask."""

    def join(self, agent: Agent) -> Agent:
        """Enter an agent, or change the one of this id; raises ServiceError for an unknown pool, names the nearest."""
        ...

    def leave(self, agent: str) -> None:
        """Take an agent out; what it claimed and did not begin waits again at once."""
        ...

    def agents(self, pool: str = "") -> list[Agent]: ...

    def claim(self, agent: str, places: int, *, wait: float = 0.0) -> list[Claim]:
        """Claim up to `places` orders for an agent.

        In one transaction: slots of pool, queue and deployment are counted, labels compared, and the first by queue
        priority, priority, due and id are taken.

        Args:
            wait: seconds to wait for one where there is none.

        Raises:
            ServiceError: the agent is not known: it joins again.
        """
        ...

    def beat(self, agent: str, holds: Sequence[Hold]) -> Heard:
        """Hear what an agent has, renew its leases, note handles and ends, and tell what it should have.

        Raises:
            ServiceError: the agent is not known: it joins again, and keeps what it has.
        """
        ...

    def begin(self, run: str, token: int, process: DriverProcess) -> Begun:
        """Begin an order as its one driver; the same process may ask again and gets the same answer.

        Raises:
            RunTakenError: another driver began it, the token is an older one, or the run has ended: no code of it runs.
        """
        ...

    def lend(self, run: str, token: int, lent: bool) -> bool:
        """Lend the slots of a begun order while its driver waits for a run that it has ordered, or take them back.

        Taking back always succeeds at once, also where somebody else has the slots: pool, queue and deployment are over
        their limits then, until one ends. False: the order is not begun with this token.
        """
        ...

    def could_not_begin(self, run: str, token: int, message: str) -> bool:
        """End a begun order as Failed: its flow does not load, or its parameters do not fit."""
        ...


class Pools(Protocol):
    """Work pools and their queues."""

    def put(self, pool: Pool) -> None: ...

    def all(self) -> list[Pool]: ...

    def delete(self, name: str) -> bool:
        """Delete a pool and its queues. Raises ServiceError while deployments name it or orders wait in it."""
        ...

    def put_queue(self, queue: Queue) -> None: ...

    def queues(self, pool: str) -> list[Queue]: ...

    def delete_queue(self, pool: str, name: str) -> bool: ...


class Upkeep(Protocol):
    """What keeps everything going; anybody may do it at any time, and two at once change nothing twice."""

    def reap(self, heard_since: float = 0.0) -> Reaped:
        """Heal what was lost: leases that are over, dead drivers, unheard cancels; tell late runs, end expired ones.

        Args:
            heard_since: Unix seconds from which on drivers could be heard: the silence of one begins no earlier.
        """
        ...

    def lease(self, name: str, holder: str, seconds: float) -> bool:
        """Take or renew a named lease, for up to a minute; it only saves work: its holder alone need take the steps."""
        ...

    def now(self) -> float: ...


class Service(Protocol):
    """All of it, a noun an attribute."""

    @property
    def deployments(self) -> Deployments: ...

    @property
    def schedules(self) -> Schedules: ...

    @property
    def orders(self) -> Orders: ...

    @property
    def claims(self) -> Claims: ...

    @property
    def pools(self) -> Pools: ...

    @property
    def upkeep(self) -> Upkeep: ...

    @property
    def keys(self) -> KeyRing: ...

    def close(self) -> None: ...


def open_orders(orders: Orders, deployment: str, schedule: str = "") -> Iterator[Order]:
    """Yield the orders of a deployment that are not done, perhaps of one schedule alone, however many there are."""
    after = ""
    while True:
        page = orders.all(deployment=deployment, schedule=schedule, after=after)
        yield from (one for one in page if schedule in ("", one.schedule))
        # An older server knows no `after`, and would give its first page for ever.
        if len(page) < MOST or page[-1].place == after:
            return
        after = page[-1].place
