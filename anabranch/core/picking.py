"""Which orders an agent gets, and why an order waits: pure functions of what is known at one moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anabranch.core.orders import Agent

RECENT = 30.0  # seconds; an agent without a word for longer counts as gone


def fits(agent: Agent, labels: Iterable[str], queue: str, deployment: str) -> bool:
    """Return whether an agent may take an order with these labels, of this queue and deployment."""
    return (
        set(labels) <= set(agent.labels)
        and (not agent.queues or queue in agent.queues)
        and (not agent.deployments or deployment in agent.deployments)
    )
