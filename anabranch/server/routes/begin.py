"""`begin`: a driver's first word, its last where its flow cannot begin, and what it lends meanwhile."""

from __future__ import annotations

from anabranch.core.access import AGENT, ENDED, OPERATOR, RUN, Access
from anabranch.core.orders import Begun
from anabranch.records.service.requests import Begin, CouldNotBegin, Lend
from anabranch.server.declared import Routes
from anabranch.server.refusals import Forbidden
from anabranch.server.world import AccessHere, ServiceHere

ROUTES = Routes("begin")


@ROUTES.add("POST", "", OPERATOR, AGENT, RUN, ENDED, audited=False)
def begin(body: Begin, service: ServiceHere, access: AccessHere) -> Begun:
    """Begin an order as its one driver; the same process may ask again and gets the same answer."""
    _own(body.run, body.token, access)
    return service.claims.begin(body.run, body.token, body.process)


@ROUTES.add("POST", "/lent", OPERATOR, AGENT, RUN, ENDED, wakes=True, audited=False)
def lend(body: Lend, service: ServiceHere, access: AccessHere) -> bool:
    """Lend the slots of a begun order while its driver waits for a run that it has ordered, or take them back."""
    _own(body.run, body.token, access)
    return service.claims.lend(body.run, body.token, body.lent)


@ROUTES.add("POST", "/failed", OPERATOR, AGENT, RUN, ENDED, wakes=True, audited=False)
def could_not_begin(body: CouldNotBegin, service: ServiceHere, access: AccessHere) -> bool:
    """End a begun order as Failed: its flow does not load, or its parameters do not fit."""
    _own(body.run, body.token, access)
    return service.claims.could_not_begin(body.run, body.token, body.message)


def _own(run: str, token: int, access: Access) -> None:
    """See that a run's key is used for its run and token alone."""
    if access.run and (access.run, access.token) != (run, token):
        raise Forbidden(f"the key of run {access.run} is not for run {run}, token {token}")
