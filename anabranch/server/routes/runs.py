"""`runs`: flow runs that are ordered, how they stand, and their cancelling."""

from __future__ import annotations

from dataclasses import replace

from anabranch.core.access import AGENT, OPERATOR, RUN, VIEWER, Access
from anabranch.core.errors import ServiceError
from anabranch.core.orders import NewOrder, Order, Ordered, OrderState, Standing
from anabranch.core.service import Service
from anabranch.records.service.requests import MOST_ORDERS, Cancel, OrderRuns
from anabranch.server.declared import Routes
from anabranch.server.pages import Limit
from anabranch.server.refusals import Forbidden, NotFound
from anabranch.server.world import AccessHere, ServiceHere

ROUTES = Routes("runs")


@ROUTES.add("POST", "", OPERATOR, RUN, wakes=True)
def order(body: OrderRuns, service: ServiceHere, access: AccessHere) -> list[Ordered]:
    """Order 1 to 1,000 flow runs, all or none; one with a key that its deployment has seen is the earlier one."""
    if not 1 <= len(body.orders) <= MOST_ORDERS:
        raise ServiceError(f"a request orders 1 to {MOST_ORDERS:,} runs, got {len(body.orders):,}")
    if access.run:
        _of_live_driver(access, service)
    return service.orders.add([_signed(one, access) for one in body.orders])


@ROUTES.add("GET", "", VIEWER)
def every(
    service: ServiceHere, deployment: str = "", schedule: str = "", pool: str = "", open: bool = True, after: str = "",
    limit: Limit = 200,
) -> list[Order]:  # fmt: skip
    """List orders, those due first in front; with `open` those that are not done.

    `after` is "due/run" of the last one of the page before, with its due time in Unix seconds.
    """
    return service.orders.all(
        deployment=deployment, schedule=schedule, pool=pool, open=open, after=after, limit=limit
    )


@ROUTES.add("GET", "/one", VIEWER, AGENT, RUN)
def one(run: str, service: ServiceHere, access: AccessHere) -> Order:
    """Return the order of a run (id, start of an id, or name)."""
    found = service.orders.find(run)
    if found is None:
        raise NotFound(f"there is no order of a run {run!r}")
    if access.run:
        _readable(found, access, service)
    return found


@ROUTES.add("GET", "/one/standing", VIEWER, AGENT, RUN)
def standing(run: str, service: ServiceHere, access: AccessHere) -> Standing:
    """Return what decides whether an order can be claimed."""
    found = service.orders.standing(run)
    if found is None:
        raise NotFound(f"there is no order of a run {run!r}")
    if access.run:
        _readable(found.order, access, service)
    return found


@ROUTES.add("POST", "/cancel", OPERATOR, RUN, wakes=True)
def cancel(body: Cancel, service: ServiceHere, access: AccessHere) -> bool:
    """Cancel a run in any state; false where there is no order of it or it is done."""
    if access.run:
        _own(body.run, access, service)
    return service.orders.cancel(body.run, by=access.name or body.by, grace=body.grace)


def _signed(order: NewOrder, access: Access) -> NewOrder:
    """Return the order with the key's name as its author; where no key is asked for, as it is."""
    return replace(order, by=access.name) if access.name else order


def _readable(found: Order, access: Access, service: Service) -> None:
    """See that a run's key reads the run itself, one that it ordered, or one of its deployment."""
    if found.run == access.run or found.by == access.name:
        return
    own = service.orders.find(access.run)
    if own is None or own.deployment != found.deployment:
        raise Forbidden(f"the key of run {access.run} does not read run {found.run}")


def _of_live_driver(access: Access, service: Service) -> None:
    """See that a run's key is used while its driver runs: otherwise it would order runs for ever."""
    own = service.orders.find(access.run)
    if own is None or own.state is not OrderState.BEGUN or own.token != access.token:
        raise Forbidden(f"the key of run {access.run} orders no runs: its driver does not have it any more")


def _own(run: str, access: Access, service: Service) -> None:
    """See that a run's key cancels the run itself, or one that it ordered."""
    found = service.orders.find(run)
    if found is not None and access.run != found.run and found.by != access.name:
        raise Forbidden(f"the key of run {access.run} may cancel the runs that it has ordered, not {run}")
