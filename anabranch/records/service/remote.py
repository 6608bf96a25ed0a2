"""The service behind an anabranch server; the contract is `core/service.py`.

Each method is one request. All of them may be sent twice, so one without an answer is sent again.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlencode

from anabranch.core.access import Access, AuditRow, Key, NewKey
from anabranch.core.deployments import DeploymentRow, ProjectRow, RevisionRow, ScheduleRow
from anabranch.core.errors import (
    AccessError,
    ParametersRefused,
    RecordsError,
    RunTakenError,
    ServiceError,
    UnreachableError,
)
from anabranch.core.ids import Ids
from anabranch.core.orders import Agent, Begun, Claim, Heard, Order, Ordered, Pool, Queue, Reaped, Standing, Tick
from anabranch.core.service import MOST
from anabranch.records.http import HttpServer
from anabranch.records.service import problems, requests, wire

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anabranch.core.orders import DriverProcess, Hold, NewOrder
    from anabranch.records.http import Answer

Row = TypeVar("Row")
TRIES, PAUSE = 4, 0.1  # of a request without an answer; seconds before the second, doubled for each further one
ANSWER = 30.0  # seconds without a byte of an answer
WAIT = 20.0  # seconds for which one request waits for claims


class Door:
    """Asks a server, and makes its problems errors again."""

    def __init__(self, server: HttpServer, sleep: Callable[[float], None] = time.sleep) -> None:
        self._server = server
        self._headers = {"Anabranch-Version": getattr(sys.modules.get("anabranch"), "__version__", "")}
        self._sleep = sleep

    def ask(
        self, kind: Any, method: str, path: str, body: Any = None, *, timeout: float = ANSWER, **query: Any
    ) -> Any:  # fmt: skip
        """Return the answer to a request as a value of this type.

        Raises:
            ServiceError, RecordsError: as the service behind the server raises them.
            AccessError: the key is missing, wrong or too weak.
            UnreachableError: the server did not answer, not even when asked again.
        """
        given = {name: _spelt(value) for name, value in query.items()}
        place = f"{path}?{urlencode(given)}" if given else path
        sent = b"" if body is None else json.dumps(wire.dump(body), ensure_ascii=False, allow_nan=False).encode()
        answer = self._answered(method, place, sent, timeout)
        if not answer.good:
            raise self._error(answer, method, path)
        return wire.load(kind, json.loads(answer.body)) if kind is not None else None

    def close(self) -> None:
        self._server.close()

    def _answered(self, method: str, place: str, body: bytes, timeout: float) -> Answer:
        pause = PAUSE
        for left in reversed(range(TRIES)):
            try:
                answer = self._server.ask(method, place, body, timeout=timeout, headers=self._headers)
                if not (answer.status == 503 and _type(answer) == problems.BUSY and left):
                    return answer
            except UnreachableError:
                if not left:
                    raise
            self._sleep(pause)
            pause *= 2
        raise AssertionError("the last try returns or raises")

    def _error(self, answer: Answer, method: str, path: str) -> Exception:
        kind, why = _type(answer), answer.why
        if kind == problems.TAKEN:
            return RunTakenError(why)
        if kind == problems.ACCESS or answer.status in (401, 403):
            return AccessError(f"{why} ({self._server.name})")
        if kind == problems.STORE:
            return RecordsError(f"the server at {self._server.name}: {why}")
        if kind == problems.MISSING:
            return Missing(why)
        if kind == problems.PARAMETERS:
            return ParametersRefused(why)
        if kind == problems.SERVICE:
            return ServiceError(why)
        if kind in (problems.BUSY, "") and answer.status in (502, 503, 504):
            return UnreachableError(f"the server at {self._server.name} cannot answer now: {why or answer.status}")
        if kind == problems.ROUTE or not kind:
            told = f"{self._server.name} does not know {method} {path} ({answer.status})"
            return ServiceError(f"{told}: it is no anabranch server, or one of an older version")
        return ServiceError(f"the server at {self._server.name} refused {method} {path}: {why}")


class Missing(ServiceError):
    """Raised where a server says that there is no such thing."""


def _type(answer: Answer) -> str:
    """Return the type of a problem; "" for an answer that is none of ours."""
    try:
        found = json.loads(answer.body)
    except ValueError:
        return ""
    kind = found.get("type") if isinstance(found, dict) else None
    return kind if isinstance(kind, str) and kind.startswith("anabranch:") else ""


def _spelt(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@dataclass(frozen=True, slots=True)
class RemoteDeployments:
    """Deployments, asked from a server."""

    door: Door

    def apply(
        self, deployment: DeploymentRow, schedules: Sequence[ScheduleRow] | None = None, *, by: str = "",
        always: bool = False, after: int | None = None,
    ) -> DeploymentRow:  # fmt: skip
        if always and after is None:  # an answer may be lost, and the request comes again
            known = self.find(f"{deployment.flow}/{deployment.name}")
            after = 0 if known is None else known.revision
        body = requests.Apply(deployment, None if schedules is None else list(schedules), by, always, after)
        made: DeploymentRow = self.door.ask(DeploymentRow, "POST", "/deployments", body)
        return made

    def find(self, name: str) -> DeploymentRow | None:
        return _found(self.door, DeploymentRow, "/deployments/one", name=name)

    def known(self, name: str) -> DeploymentRow:
        found: DeploymentRow = self.door.ask(DeploymentRow, "GET", "/deployments/one", name=name)
        return found

    def all(self, *, flow: str = "", project: str = "", after: str = "", limit: int = MOST) -> list[DeploymentRow]:
        given = {"flow": flow, "project": project, "after": after, "limit": min(limit, MOST)}
        return _rows(self.door, DeploymentRow, "/deployments", **given)

    def pause(self, name: str, paused: bool) -> bool:
        return bool(self.door.ask(bool, "PUT", "/deployments/one/paused", requests.Pause(paused), name=name))

    def delete(self, name: str) -> bool:
        return bool(self.door.ask(bool, "DELETE", "/deployments/one", name=name))

    def revisions(self, name: str) -> list[RevisionRow]:
        return _rows(self.door, RevisionRow, "/deployments/one/revisions", name=name)

    def put_project(self, project: ProjectRow) -> None:
        self.door.ask(None, "PUT", "/deployments/projects", project)

    def projects(self) -> list[ProjectRow]:
        return _rows(self.door, ProjectRow, "/deployments/projects")

    def delete_project(self, name: str) -> bool:
        return bool(self.door.ask(bool, "DELETE", "/deployments/projects/one", name=name))


@dataclass(frozen=True, slots=True)
class RemoteSchedules:
    """Schedules, asked from a server."""

    door: Door

    def all(self, deployment: str = "") -> list[ScheduleRow]:
        return _rows(self.door, ScheduleRow, "/schedules", deployment=deployment)

    def put(self, schedule: ScheduleRow) -> ScheduleRow:
        made: ScheduleRow = self.door.ask(ScheduleRow, "PUT", "/schedules", schedule)
        return made

    def set_active(self, deployment: str, slug: str, active: bool | None) -> bool:
        body = requests.SetActive(active)
        return bool(self.door.ask(bool, "PUT", "/schedules/one/active", body, deployment=deployment, slug=slug))

    def delete(self, deployment: str, slug: str) -> bool:
        return bool(self.door.ask(bool, "DELETE", "/schedules/one", deployment=deployment, slug=slug))

    def due(self, before: float, limit: int = MOST) -> list[ScheduleRow]:
        return _rows(self.door, ScheduleRow, "/schedules/due", before=before, limit=min(limit, MOST))

    def tick(self, schedule: ScheduleRow, cursor: float, next_tick: float | None, orders: Sequence[NewOrder]) -> bool:
        return self.tick_all([Tick(schedule, cursor, next_tick, list(orders))])[0]

    def tick_all(self, ticks: Sequence[Tick]) -> list[bool]:
        made: list[bool] = self.door.ask(list[bool], "POST", "/schedules/tick", requests.Ticks(list(ticks)))
        return made


@dataclass(frozen=True, slots=True)
class RemoteOrders:
    """Orders, asked from a server."""

    door: Door
    ids: Ids = field(default_factory=Ids)

    def add(self, orders: Sequence[NewOrder]) -> list[Ordered]:
        if not orders:
            return []
        named = [one if one.run else replace(one, run=self.ids.new()) for one in orders]  # an id is ordered once
        found: list[Ordered] = self.door.ask(list[Ordered], "POST", "/runs", requests.OrderRuns(named))
        made = zip(orders, named, found, strict=True)
        return [
            Ordered(answer.run, answer.new or (not given.run and answer.run == one.run)) for given, one, answer in made
        ]

    def find(self, run: str) -> Order | None:
        return _found(self.door, Order, "/runs/one", run=run)

    def all(
        self, *, deployment: str = "", schedule: str = "", pool: str = "", open: bool = True, after: str = "",
        limit: int = MOST,
    ) -> list[Order]:  # fmt: skip
        given = {"deployment": deployment, "schedule": schedule, "pool": pool, "open": open, "after": after}
        return _rows(self.door, Order, "/runs", **given, limit=min(limit, MOST))

    def standing(self, run: str) -> Standing | None:
        return _found(self.door, Standing, "/runs/one/standing", run=run)

    def cancel(self, run: str, *, by: str = "", grace: float | None = None) -> bool:
        return bool(self.door.ask(bool, "POST", "/runs/cancel", requests.Cancel(run, by, grace)))


@dataclass(frozen=True, slots=True)
class RemoteClaims:
    """What agents and drivers ask, from a server."""

    door: Door

    def join(self, agent: Agent) -> Agent:
        joined: Agent = self.door.ask(Agent, "POST", "/agents", agent)
        return joined

    def leave(self, agent: str) -> None:
        self.door.ask(None, "DELETE", "/agents/one", agent=agent)

    def agents(self, pool: str = "") -> list[Agent]:
        return _rows(self.door, Agent, "/agents", pool=pool)

    def claim(self, agent: str, places: int, *, wait: float = 0.0) -> list[Claim]:
        until = time.monotonic() + wait
        while True:
            left = max(0.0, min(WAIT, until - time.monotonic()))
            body = requests.AskClaims(agent, places, left)
            claims: list[Claim] = self.door.ask(list[Claim], "POST", "/claims", body, timeout=ANSWER + left)
            if claims or time.monotonic() >= until:
                return claims

    def beat(self, agent: str, holds: Sequence[Hold]) -> Heard:
        heard: Heard = self.door.ask(Heard, "POST", "/agents/beat", requests.Beat(agent, list(holds)))
        return heard

    def begin(self, run: str, token: int, process: DriverProcess) -> Begun:
        begun: Begun = self.door.ask(Begun, "POST", "/begin", requests.Begin(run, token, process))
        return begun

    def lend(self, run: str, token: int, lent: bool) -> bool:
        return bool(self.door.ask(bool, "POST", "/begin/lent", requests.Lend(run, token, lent)))

    def could_not_begin(self, run: str, token: int, message: str) -> bool:
        return bool(self.door.ask(bool, "POST", "/begin/failed", requests.CouldNotBegin(run, token, message)))


@dataclass(frozen=True, slots=True)
class RemotePools:
    """Work pools and their queues, asked from a server."""

    door: Door

    def put(self, pool: Pool) -> None:
        self.door.ask(None, "PUT", "/pools", pool)

    def all(self) -> list[Pool]:
        return _rows(self.door, Pool, "/pools")

    def delete(self, name: str) -> bool:
        return bool(self.door.ask(bool, "DELETE", "/pools/one", name=name))

    def put_queue(self, queue: Queue) -> None:
        self.door.ask(None, "PUT", "/pools/queues", queue)

    def queues(self, pool: str) -> list[Queue]:
        return _rows(self.door, Queue, "/pools/queues", pool=pool)

    def delete_queue(self, pool: str, name: str) -> bool:
        return bool(self.door.ask(bool, "DELETE", "/pools/queues/one", pool=pool, name=name))


@dataclass(frozen=True, slots=True)
class RemoteUpkeep:
    """The steps that keep everything going, asked from a server."""

    door: Door

    def reap(self, heard_since: float = 0.0) -> Reaped:
        done: Reaped = self.door.ask(Reaped, "POST", "/upkeep/reap", heard_since=heard_since)
        return done

    def lease(self, name: str, holder: str, seconds: float) -> bool:
        return bool(self.door.ask(bool, "POST", "/upkeep/lease", requests.Lease(name, holder, seconds)))

    def now(self) -> float:
        return float(self.door.ask(float, "GET", "/upkeep/now"))


@dataclass(frozen=True, slots=True)
class RemoteKeys:
    """Keys, asked from a server; for an admin."""

    door: Door

    def make(self, name: str, role: str, *, pool: str = "", expires: float | None = None) -> NewKey:
        made: NewKey = self.door.ask(NewKey, "POST", "/access/keys", requests.WantedKey(name, role, pool, expires))
        return made

    def all(self) -> list[Key]:
        return _rows(self.door, Key, "/access/keys")

    def revoke(self, key: str) -> bool:
        return bool(self.door.ask(bool, "DELETE", "/access/keys/one", key=key))

    def me(self) -> Access:
        """Return what this program's own key may do."""
        found: Access = self.door.ask(Access, "GET", "/access/me")
        return found

    def audit(self, *, before: int | None = None, limit: int = MOST) -> list[AuditRow]:
        given = {"limit": min(limit, MOST)} | ({} if before is None else {"before": before})
        return _rows(self.door, AuditRow, "/access/audit", **given)


class RemoteService:
    """A `Service` behind a server. From any thread, and in forked copies of the process.

    Args:
        address: of the server, as of `HttpServer`.
        key: of this program; "" for none.

    Raises:
        ConfigurationError: the address is none.
    """

    def __init__(self, address: str, key: str = "", *, sleep: Callable[[float], None] = time.sleep) -> None:
        self.door = Door(HttpServer(address, key), sleep)
        self.deployments = RemoteDeployments(self.door)
        self.schedules = RemoteSchedules(self.door)
        self.orders = RemoteOrders(self.door)
        self.claims = RemoteClaims(self.door)
        self.pools = RemotePools(self.door)
        self.upkeep = RemoteUpkeep(self.door)
        self.keys = RemoteKeys(self.door)

    def close(self) -> None:
        self.door.close()


def _rows(door: Door, kind: type[Row], path: str, **query: Any) -> list[Row]:
    found: list[Row] = door.ask(list[kind], "GET", path, **query)  # type: ignore[valid-type]
    return found


def _found(door: Door, kind: type[Row], path: str, **query: Any) -> Row | None:
    try:
        found: Row = door.ask(kind, "GET", path, **query)
    except Missing:
        return None
    return found
