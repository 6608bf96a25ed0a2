"""The bodies of requests that are no rows of their own: what `remote` sends and the routes of a server take."""

from __future__ import annotations

from dataclasses import dataclass, field

from anabranch.core.deployments import DeploymentRow, ScheduleRow
from anabranch.core.orders import DriverProcess, Hold, NewOrder, Tick

MOST_ORDERS = 1000  # in one request


@dataclass(slots=True)
class Apply:
    """A deployment to make or change; the attributes are the arguments of `Deployments.apply`."""

    deployment: DeploymentRow
    schedules: list[ScheduleRow] | None = None
    by: str = ""
    always: bool = False
    after: int | None = None


@dataclass(slots=True)
class Pause:
    """Whether something is to be paused."""

    paused: bool


@dataclass(slots=True)
class SetActive:
    """A person's word on a schedule; None takes it back."""

    active: bool | None


@dataclass(slots=True)
class Ticks:
    """The ticks of schedules, for `Schedules.tick`."""

    ticks: list[Tick]


@dataclass(slots=True)
class OrderRuns:
    """Runs to order, all or none."""

    orders: list[NewOrder]


@dataclass(slots=True)
class Cancel:
    """A run to cancel; the attributes are the arguments of `Orders.cancel`."""

    run: str
    by: str = ""
    grace: float | None = None


@dataclass(slots=True)
class AskClaims:
    """An agent's wish for orders; the attributes are the arguments of `Claims.claim`."""

    agent: str
    places: int
    wait: float = 0.0


@dataclass(slots=True)
class Beat:
    """An agent's word on what it has."""

    agent: str
    holds: list[Hold] = field(default_factory=list)


@dataclass(slots=True)
class Begin:
    """A driver's first word."""

    run: str
    token: int
    process: DriverProcess


@dataclass(slots=True)
class Lend:
    """A driver's word that its slots are lent, or its own again."""

    run: str
    token: int
    lent: bool


@dataclass(slots=True)
class CouldNotBegin:
    """A driver's word that its flow does not load, or its parameters do not fit."""

    run: str
    token: int
    message: str


@dataclass(slots=True)
class Lease:
    """A named lease to take or renew."""

    name: str
    holder: str
    seconds: float


@dataclass(slots=True)
class WantedKey:
    """A key to make; the attributes are the arguments of `KeyRing.make`."""

    name: str
    role: str
    pool: str = ""
    expires: float | None = None
