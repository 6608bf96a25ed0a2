"""`upkeep`: the steps that keep everything going, for services that run elsewhere; and the service's clock."""

from __future__ import annotations

from anabranch.core.access import ADMIN, AGENT, RUN, VIEWER
from anabranch.core.orders import Reaped
from anabranch.records.service.requests import Lease
from anabranch.server.declared import Routes
from anabranch.server.world import ServiceHere

ROUTES = Routes("upkeep")


@ROUTES.add("POST", "/reap", ADMIN, wakes=True, audited=False)
def reap(service: ServiceHere, heard_since: float = 0.0) -> Reaped:
    """Heal what was lost: leases that are over, dead drivers, unheard cancels."""
    return service.upkeep.reap(heard_since)


@ROUTES.add("POST", "/lease", ADMIN, audited=False)
def lease(body: Lease, service: ServiceHere) -> bool:
    """Take or renew a named lease."""
    return service.upkeep.lease(body.name, body.holder, body.seconds)


@ROUTES.add("GET", "/now", VIEWER, AGENT, RUN)
def now(service: ServiceHere) -> float:
    """Return the service's time, in Unix seconds."""
    return service.upkeep.now()
