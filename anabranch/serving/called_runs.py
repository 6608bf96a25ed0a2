"""A deployment's run that a flow calls: it is ordered elsewhere, and the flow sees it as one of its subflows.

    run_deployment in a flow
      '- an order with the flow's run as parent, by a key that the flow's next attempt finds again
         '- a submitted flow of the scope around, that waits for the order's end
              the flow's end waits for it; a cancel of the flow cancels the order; its failure is a subflow's
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from anabranch import session as sessions
from anabranch.core import options
from anabranch.core.errors import AnabranchError
from anabranch.core.options import TaskOptions
from anabranch.core.runnable import Runnable
from anabranch.core.states import failure
from anabranch.runs import submitted_flows
from anabranch.runs.given_values import GivenValues
from anabranch.serving.ordered_runs import OrderedRun

if TYPE_CHECKING:
    from anabranch.core.context import FlowContext
    from anabranch.core.deployments import DeploymentRow
    from anabranch.core.orders import NewOrder
    from anabranch.core.service import Service
    from anabranch.core.states import State

MOST_AGAIN = 1000  # failed runs under one key


def called(
    service: Service, deployment: DeploymentRow, order: NewOrder, here: FlowContext, patience: float | None,
    poll_interval: float | None,
) -> OrderedRun:  # fmt: skip
    """Order a run for a flow run, and wait for its end.

    Args:
        patience: seconds to wait; None: until its end; 0: nothing waits for it, the flow's end neither. The service
            cancels it where the flow's run is cancelled.
    """
    scope = sessions.current().scopes.here()
    key = ""
    if not order.key and scope.resume is not None:
        own = scope.resume.subflow_key(f"deployment {deployment.full_name}", order.parameters)
        key = f"call:{here.id}:{own}" if own else ""
    order, run = replace(order, run=sessions.current().ids.new()), None
    try:
        run = _ordered(service, deployment, order, key)
        if patience == 0:
            return run
        given = GivenValues(deployment.full_name, (), dict(order.parameters), None)
        future = submitted_flows.submit(scope, _series(deployment), given, _follow(run, poll_interval))
    except BaseException:  # the flow is cancelled or interrupted here: nothing would wait for the run, or cancel it
        with suppress(AnabranchError):
            service.orders.cancel(order.run if run is None else run.id, by=order.by)
        raise
    run.seen_by(future, patience)
    return run


def _ordered(service: Service, deployment: DeploymentRow, order: NewOrder, key: str) -> OrderedRun:
    """Order, unless an earlier attempt of the flow did; a run of that one that did not complete is ordered anew."""
    for number in range(MOST_AGAIN):
        wanted = replace(order, key=f"{key}:{number}") if key else order
        found = service.orders.add([wanted])[0]
        run = OrderedRun(service, deployment, found.run)
        if found.new or not key:  # one of the program's own key may be of another, and not for this key to read
            break
        state = run.state
        if not state.is_final() or state.is_completed():
            break
    return run


def _series(deployment: DeploymentRow) -> Runnable:
    return Runnable(_elsewhere, deployment.full_name, options.make(TaskOptions, deployment.full_name, {}))


def _follow(run: OrderedRun, poll_interval: float | None) -> Any:
    def follow(here: submitted_flows.Submitted) -> State:
        here.began(run)
        state = run.end(poll_interval=poll_interval)
        return state if state.is_completed() else state.with_data(failure(state))

    return follow


def _elsewhere() -> None:
    """Stand for the flow, which another program runs."""
