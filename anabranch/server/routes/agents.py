"""`agents`: the claim holders, and their word on what they have."""

from __future__ import annotations

from anabranch.core.access import AGENT, OPERATOR, VIEWER
from anabranch.core.orders import Agent, Heard
from anabranch.records.service.requests import Beat
from anabranch.server import own_pool
from anabranch.server.declared import Routes
from anabranch.server.run_keys import with_keys
from anabranch.server.world import AccessHere, ServiceHere, WorldHere

ROUTES = Routes("agents")


@ROUTES.add("POST", "", OPERATOR, AGENT, audited=False)
def join(body: Agent, service: ServiceHere, access: AccessHere) -> Agent:
    """Enter an agent, or change the one of this id."""
    own_pool.joins(body, access, service)
    return service.claims.join(body)


@ROUTES.add("GET", "", VIEWER, AGENT)
def every(service: ServiceHere, pool: str = "") -> list[Agent]:
    """List the agents of a pool, or all."""
    return service.claims.agents(pool)


@ROUTES.add("DELETE", "/one", OPERATOR, AGENT, wakes=True, audited=False)
def leave(agent: str, service: ServiceHere, access: AccessHere) -> None:
    """Take an agent out; what it claimed and did not begin waits again at once."""
    own_pool.speaks(agent, access, service)
    service.claims.leave(agent)


@ROUTES.add("POST", "/beat", OPERATOR, AGENT, wakes=True, audited=False)
def beat(body: Beat, world: WorldHere, access: AccessHere) -> Heard:
    """Hear what an agent has, renew its leases, and tell what it should have."""
    own_pool.speaks(body.agent, access, world.service)
    heard = world.service.claims.beat(body.agent, body.holds)
    heard.launch = with_keys(heard.launch, world.keys, access)
    return heard
