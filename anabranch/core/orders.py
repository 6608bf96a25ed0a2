"""Orders: flow runs that wait for an agent, or have one; with the pools and queues they wait in.

    waiting --claim--> claimed --begin--> begun --the run's end--> done
       ^                  |                 |
       |<--lease over-----'                 |
       '<--recovered: the driver died-------'

An order stands beside the row of its flow run, which the driver writes. A **claim** gives it to an agent, with a token
one higher than any before; a driver **begins** it with that token, and no other driver can: the token is the run's
fencing token from then on (`records/fencing.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from anabranch.core.deployments import DEFAULT, DeploymentRow, ScheduleRow

LEASE = 30.0  # seconds that a claim holds without a word of its agent
BEAT = 5.0  # seconds between an agent's words
LONGEST_PARAMETERS = 512 * 1024  # bytes of JSON


class OrderState(IntEnum):
    """Where an order is; codes are stored."""

    WAITING = 0
    CLAIMED = 1
    BEGUN = 2
    DONE = 3


@dataclass(slots=True)
class NewOrder:
    """A flow run that is wanted.

    Attributes:
        deployment: id, or "flow/name".
        key: a second order of one deployment with the same key is the first one; "": a new run each time.
        due: Unix seconds; None: now.
        parameters: over those of the deployment.
        name: of the run; "": one is made.
        tags: beside those of the deployment.
        priority: higher goes first within a queue.
        queue: "": the deployment's.
        job: variables of the infrastructure, over those of the deployment.
        parent_run: the flow run that called it, where it is one's subflow.
        run: its id; "": one is made.
        by: its author, for people: a person, a schedule, a flow run.
        schedule: the schedule that did; "" for none.
    """

    deployment: str
    key: str = ""
    due: float | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    name: str = ""
    tags: tuple[str, ...] = ()
    priority: int = 0
    queue: str = ""
    job: dict[str, Any] = field(default_factory=dict)
    parent_run: str = ""
    run: str = ""
    by: str = ""
    schedule: str = ""


@dataclass(frozen=True, slots=True)
class Ordered:
    """The answer to an order: the run's id, and whether it is new."""

    run: str
    new: bool


@dataclass(slots=True)
class Tick:
    """The orders of a schedule's ticks, and what moves its cursor.

    Attributes:
        schedule: as it was read.
        cursor: all ticks up to there are decided.
        next_tick: None: there is none any more.
    """

    schedule: ScheduleRow
    cursor: float
    next_tick: float | None = None
    orders: list[NewOrder] = field(default_factory=list)


@dataclass(slots=True)
class Order:
    """An order as it stands.

    Attributes:
        run: id of its flow run.
        deployment: id.
        revision: of the deployment, when it was ordered.
        agent: id of the one that has it, or had it last.
        token: of the last claim.
        lease_until: Unix seconds.
        handle: how its launcher names the job, as JSON of a `launching.Reference`; "" before it is known.
        kind: of that launcher.
        launches: claims since a driver began it last.
        recoveries: times that it was ordered again because its driver had died.
        reason: why it waits or ended, in one sentence; "" while all is well.
    """

    run: str
    deployment: str
    revision: int = 0
    key: str = ""
    pool: str = DEFAULT
    queue: str = DEFAULT
    priority: int = 0
    due: float = 0.0
    labels: tuple[str, ...] = ()
    parameters: dict[str, Any] = field(default_factory=dict)
    job: dict[str, Any] = field(default_factory=dict)
    schedule: str = ""
    by: str = ""
    state: OrderState = OrderState.WAITING
    agent: str = ""
    token: int = 0
    lease_until: float = 0.0
    handle: str = ""
    kind: str = ""
    launches: int = 0
    recoveries: int = 0
    reason: str = ""
    created: float = 0.0
    claimed: float = 0.0
    begun: float = 0.0

    @property
    def place(self) -> str:
        """Its place in lists of orders, behind which the next page begins."""
        return f"{self.due!r}/{self.run}"


@dataclass(slots=True)
class Pool:
    """A place where orders wait for agents of one kind.

    Attributes:
        kind: of launchers: "process", "slurm", "kubernetes".
        template: variables of the infrastructure with their defaults; a deployment's go over them.
        slots: runs at once; None: any number.
    """

    name: str
    kind: str = "process"
    template: dict[str, Any] = field(default_factory=dict)
    slots: int | None = None
    paused: bool = False
    description: str = ""


@dataclass(slots=True)
class Queue:
    """A queue of a pool; a lower priority number is served first."""

    pool: str
    name: str = DEFAULT
    priority: int = 1
    slots: int | None = None
    paused: bool = False


@dataclass(slots=True)
class Agent:
    """A claim holder: a loop over one launcher.

    Attributes:
        queues: the ones it serves; (): all of its pool.
        labels: it takes orders with labels among these.
        deployments: ids of the only ones it serves; (): all.
        host: `core.processes.host_id`, as the rows of its drivers have it.
        capacity: drivers at once.
        seen: Unix seconds of its last word, by the service's clock.
        held: orders that it has, without those that lend their slots.
    """

    id: str
    name: str
    pool: str = DEFAULT
    queues: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    deployments: tuple[str, ...] = ()
    kind: str = "process"
    host: str = ""
    version: str = ""
    capacity: int = 1
    seen: float = 0.0
    held: int = 0


@dataclass(slots=True)
class Claim:
    """What an agent needs to start a driver.

    Attributes:
        template: of the pool.
        key: with which the driver asks the server, as setting `api_key`; "" where there is no server, or it needs none.
    """

    order: Order
    deployment: DeploymentRow
    run_name: str
    template: dict[str, Any] = field(default_factory=dict)
    key: str = ""


@dataclass(frozen=True, slots=True)
class Hold:
    """One order that an agent believes to have, as its beat tells it.

    Attributes:
        phase: of its job, a value of `launching.Phase`; "": not launched yet.
        handle: of its job, as JSON; "" before it is known.
        reason: why the job waits, or how it ended.
        code: its exit code, where it has ended and one is known.
        last: the last lines of its log, where it has ended badly.
        overdue: seconds that its driver had to begin, once they are over; 0.0: they are not. The service knows whether
            it has begun.
    """

    run: str
    token: int
    phase: str = ""
    handle: str = ""
    reason: str = ""
    code: int | None = None
    last: tuple[str, ...] = ()
    overdue: float = 0.0


@dataclass(frozen=True, slots=True)
class Kill:
    """A job that is to end, with a grace in seconds; 0: at once, for its driver is fenced or never began."""

    run: str
    token: int
    grace: float = 0.0


@dataclass(slots=True)
class Heard:
    """The answer to an agent's beat, which heals what either side has lost.

    Attributes:
        launch: claims of this agent that its beat did not name: their answer was lost.
        drop: (run, token) that are not its any more; their jobs are to be ended.
        kill: jobs that are to end though they are its.
        adopt: begun orders of its pool that a lost agent had: it holds them from now on.
        lent: runs of its orders that lend their slots: each leaves the place of one more.
    """

    launch: list[Claim] = field(default_factory=list)
    drop: list[Kill] = field(default_factory=list)
    kill: list[Kill] = field(default_factory=list)
    adopt: list[Order] = field(default_factory=list)
    lent: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class DriverProcess:
    """The process that begins an order."""

    pid: int
    pid_started: float
    host: str
    incarnation: str = ""


@dataclass(slots=True)
class Begun:
    """What a driver gets when it begins an order."""

    order: Order
    deployment: DeploymentRow
    run_name: str
    tags: tuple[str, ...]
    attempt: int = 0  # attempts of earlier drivers
    again: bool = False  # an earlier driver began it: it goes on where that one stood, or anew where `recover` says so


@dataclass(slots=True)
class Standing:
    """What decides whether an order can be claimed, at one moment; `core.picking.why_waiting` says it in words."""

    order: Order
    deployment: DeploymentRow
    pool: Pool | None
    queue: Queue | None
    agents: list[Agent] = field(default_factory=list)  # of its pool, with a word within a day
    pool_held: list[str] = field(default_factory=list)  # names of runs that hold its slots
    queue_held: list[str] = field(default_factory=list)
    deployment_held: list[str] = field(default_factory=list)
    now: float = 0.0
    lent: bool = False  # others may have its slots: its driver waits for a run that it has ordered


@dataclass(slots=True)
class Reaped:
    """What one look for the lost has done, by run ids."""

    returned: list[str] = field(default_factory=list)  # claims without a driver: they wait again
    recovered: list[str] = field(default_factory=list)  # begun ones with a dead driver: they wait again
    crashed: list[str] = field(default_factory=list)
    expired: list[str] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)  # by force: the driver did not end in time
    late: list[str] = field(default_factory=list)
