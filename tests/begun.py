"""Orders that have a driver, as tests of what drivers may do need them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from anabranch.core.deployments import DeploymentRow
from anabranch.core.orders import Agent, DriverProcess, NewOrder

if TYPE_CHECKING:
    from anabranch.core.service import Service

AGENT = Agent("agent-1", "one", "default", capacity=1000)
PROCESS = DriverProcess(os.getpid(), 1.0, "here")


def deployed(service: Service, name: str = "daily") -> DeploymentRow:
    """Return a deployment of the flow etl."""
    return service.deployments.apply(DeploymentRow("", "etl", name, document={"entrypoint": "flows.py:etl"}))


def begun(service: Service, run: str, deployment: str = "daily", *, by: str = "") -> int:
    """Order a run, claim it and begin it; returns its token."""
    row = deployed(service, deployment)
    service.orders.add([NewOrder(row.id, run=run, by=by)])
    return again(service, run)


def again(service: Service, run: str) -> int:
    """Claim and begin a run that waits; returns its token."""
    service.claims.join(AGENT)
    [token] = [one.order.token for one in service.claims.claim(AGENT.id, 1000) if one.order.run == run]
    service.claims.begin(run, token, PROCESS)
    return token
