"""`pools`: work pools and their queues."""

from __future__ import annotations

from anabranch.core.access import AGENT, EDITOR, VIEWER
from anabranch.core.orders import Pool, Queue
from anabranch.server.declared import Routes
from anabranch.server.world import ServiceHere

ROUTES = Routes("pools")


@ROUTES.add("PUT", "", EDITOR, wakes=True)
def put(body: Pool, service: ServiceHere) -> None:
    """Make a pool, or change the one of this name."""
    service.pools.put(body)


@ROUTES.add("GET", "", VIEWER, AGENT)
def every(service: ServiceHere) -> list[Pool]:
    """List pools."""
    return service.pools.all()


@ROUTES.add("DELETE", "/one", EDITOR)
def delete(name: str, service: ServiceHere) -> bool:
    """Delete a pool and its queues, unless deployments name it or orders wait in it."""
    return service.pools.delete(name)


@ROUTES.add("PUT", "/queues", EDITOR, wakes=True)
def put_queue(body: Queue, service: ServiceHere) -> None:
    """Make a queue, or change the one of this pool and name."""
    service.pools.put_queue(body)


@ROUTES.add("GET", "/queues", VIEWER, AGENT)
def queues(pool: str, service: ServiceHere) -> list[Queue]:
    """List the queues of a pool."""
    return service.pools.queues(pool)


@ROUTES.add("DELETE", "/queues/one", EDITOR)
def delete_queue(pool: str, name: str, service: ServiceHere) -> bool:
    """Delete a queue."""
    return service.pools.delete_queue(pool, name)
