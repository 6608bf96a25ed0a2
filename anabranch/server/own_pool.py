"""An agent's key of one pool speaks for agents of that pool alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anabranch.server.refusals import Forbidden

if TYPE_CHECKING:
    from anabranch.core.access import Access
    from anabranch.core.orders import Agent
    from anabranch.core.service import Service


def joins(agent: Agent, access: Access, service: Service) -> None:
    """See that an agent may join. Raises Forbidden: it is of another pool, or takes the id of an agent there."""
    if not access.pool:
        return
    if agent.pool != access.pool:
        raise Forbidden(f"this key is for agents of the pool {access.pool!r}, not of {agent.pool!r}")
    if any(other.id == agent.id and other.pool != access.pool for other in service.claims.agents()):
        raise Forbidden(f"agent {agent.id} is of another pool than {access.pool!r}")


def speaks(agent: str, access: Access, service: Service) -> None:
    """See that a key may speak for an agent. Raises Forbidden: the agent is of another pool.

    One that is not known is let through: the service says that it has to join.
    """
    if not access.pool or any(one.id == agent for one in service.claims.agents(access.pool)):
        return
    if any(one.id == agent for one in service.claims.agents()):
        raise Forbidden(f"this key is for agents of the pool {access.pool!r}, and agent {agent} is none")
