"""What the suites of orders and claims share: deployments, agents, drivers, and rows as a driver writes them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from anabranch.core.deployments import DeploymentRow
from anabranch.core.orders import Agent, DriverProcess, Hold, NewOrder
from anabranch.core.runs import HeartbeatRow
from anabranch.core.states import COMPLETED

if TYPE_CHECKING:
    from anabranch.core.orders import Begun, Claim
    from anabranch.core.runs import FlowRunRow
    from anabranch.core.service import Service
    from tests.contract.services import Place


def deploy(service: Service, name: str = "daily", **details: Any) -> DeploymentRow:
    row = DeploymentRow(id="", flow="f", name=name, content_hash=repr(sorted(details.items())), **details)
    return service.deployments.apply(row)


def order(service: Service, deployment: DeploymentRow | str, count: int = 1, **details: Any) -> list[str]:
    """Order runs, each due after the one before; returns their ids."""
    id = deployment if isinstance(deployment, str) else deployment.id
    due = details.pop("due", service.upkeep.now() - 1)
    wanted = [NewOrder(id, due=due + n / 1000, **details) for n in range(count)]
    return [one.run for one in service.orders.add(wanted)]


def agent(service: Service, name: str = "one", **details: Any) -> Agent:
    return service.claims.join(Agent(**{"id": name, "name": name, "capacity": 100, **details}))


def process(pid: int = 1, host: str = "here", **details: Any) -> DriverProcess:
    return DriverProcess(pid, 100.0 + pid, host, **details)


def begin(service: Service, claim: Claim, pid: int = 1) -> Begun:
    return service.claims.begin(claim.order.run, claim.order.token, process(pid))


def begun(service: Service, place: Place, name: str = "one", **details: Any) -> Claim:
    """Order a run, claim and begin it."""
    deploy(service, **details)
    order(service, "f/daily")
    agent(service, name)
    [claim] = service.claims.claim(name, 1)
    begin(service, claim)
    return claim


def hold(claim: Claim, phase: str = "", **details: Any) -> Hold:
    """A claim as its agent's beat names it."""
    return Hold(claim.order.run, claim.order.token, phase, **details)


def row_of(place: Place, run: str) -> FlowRunRow:
    found = place.records.flow_run(run)
    assert found is not None
    return found


def write(place: Place, run: str, token: int, state: int = COMPLETED, **details: Any) -> None:
    """Write the end of a run as the driver with this token does."""
    ended = replace(
        row_of(place, run), state=state, state_name="", ended=place.clock.time(), token=token, resumable=True, **details
    )
    place.records.append([ended])
    assert place.records.flush(30)


def beat(place: Place, run: str) -> None:
    """A sign of life of a run's driver."""
    place.records.append([HeartbeatRow(run, place.clock.time())])
    assert place.records.flush(30)


def states(place: Place, run: str) -> list[str]:
    """The states that a run has had."""
    return [row.state_name for row in place.records.transitions(run)]
