"""Deployments go into the service, and their runs are ordered."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from anabranch import scheduling, serving
from anabranch.core import context, parameter_schema
from anabranch.core.errors import DeploymentError
from anabranch.core.orders import NewOrder, Queue
from anabranch.documents.parameters import plain
from anabranch.serving import called_runs, kinds
from anabranch.serving.ordered_runs import OrderedRun

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from anabranch.core.deployments import DeploymentRow
    from anabranch.core.service import Service
    from anabranch.documents.document import Document


def apply(
    deployment: Document, service: Service | None = None, *, by: str = "", always: bool = False
) -> DeploymentRow:
    """Make a deployment, or change the one of its flow and name; returns it with id and revision.

    Args:
        service: None: the program's, where its record is.
        by: its author, for people.
        always: whether a revision is made even of the same document.

    Raises:
        ServiceError: there is no such pool or project (names the nearest), or a schedule is none.
        ParameterTypeError: its parameters, or those of a schedule, do not fit the flow's.
        DeploymentError: it does not say which flow it runs, or where that is.
    """
    service = serving.current() if service is None else service
    row = deployment.row()
    if not deployment.entrypoint:
        raise DeploymentError(f"deployment {row.full_name!r} has no entrypoint, such as 'flows.py:{row.flow}'")
    kinds.check_variables(service, row)
    _fit(deployment, deployment.parameters, "deployment", whole=False)
    schedules = None
    if deployment.schedules is not None:
        for one in deployment.schedules:
            _fit(deployment, one.get("parameters") or {}, "a schedule of deployment", whole=False)
        schedules = scheduling.rows(deployment.schedules, service.upkeep.now())
    return service.deployments.apply(row, schedules, by=by, always=always)


def _fit(deployment: Document, parameters: Mapping[str, Any], what: str, *, whole: bool) -> None:
    if deployment.enforce_parameter_schema:
        parameter_schema.check(deployment.parameter_schema, parameters, f"{what} {deployment.full_name!r}", whole=whole)


def limit_queue(deployment: Document, slots: int, service: Service | None = None) -> None:
    """Let so many runs of a deployment's queue run at once."""
    service = serving.current() if service is None else service
    row = deployment.row()
    known = {queue.name: queue for queue in service.pools.queues(row.pool)}
    service.pools.put_queue(replace(known.get(row.queue) or Queue(row.pool, row.queue), slots=slots))


def run_deployment(
    name: Any,
    parameters: Mapping[str, Any] | None = None,
    *,
    scheduled_time: datetime | float | None = None,
    flow_run_name: str | None = None,
    timeout: float | timedelta | None = None,
    poll_interval: float | None = None,
    tags: Iterable[str] | None = None,
    idempotency_key: str | None = None,
    work_queue_name: str | None = None,
    as_subflow: bool = True,
    job_variables: Mapping[str, Any] | None = None,
    priority: int = 0,
    service: Service | None = None,
) -> OrderedRun:
    """Order a run of a deployment, and wait for its end.

    Called in a flow, the run is one of its subflows: it is cancelled with the flow, and its failure counts as that of
    a subflow that was submitted. Called again by a later attempt of the flow, the run that did not fail is the same.

    Args:
        name: "flow/deployment", or the deployment's id.
        parameters: over those of the deployment.
        scheduled_time: when it is due; a number is Unix seconds. None: now.
        flow_run_name: of the run; None: one is made.
        timeout: seconds to wait; None: until it has ended. 0: returns at once, and nothing waits for the run.
            It is cancelled with the flow around nevertheless.
        poll_interval: seconds between looks; None: short ones first, then a second.
        tags: beside those of the deployment.
        idempotency_key: a second order with the same key is the first one.
        work_queue_name: None: the deployment's.
        as_subflow: whether a flow around is its parent. With False nothing of that flow's end reaches it.
        job_variables: of the infrastructure, over those of the deployment.
        priority: higher goes first within a queue.
        service: None: the program's.

    Returns:
        The run, whatever became of it: `.state` says that, and `.result()` gives its value or raises.

    Raises:
        ServiceError: there is no such deployment (names the nearest), or the parameters are too large.
        ParameterTypeError: the parameters do not fit the flow's; names each. Nothing is ordered.
    """
    service = serving.current() if service is None else service
    deployment = service.deployments.known(str(name))
    here = context.flow_here() if as_subflow else None
    order = NewOrder(
        deployment.id,
        key=idempotency_key or "",
        due=_moment(scheduled_time),
        parameters=plain(dict(parameters or {})),
        name=flow_run_name or "",
        tags=tuple(tags or ()),
        priority=priority,
        queue=work_queue_name or "",
        job=plain(dict(job_variables or {}), "job_variables"),
        parent_run="" if here is None else here.id,
        by="" if here is None else f"flow run {here.name}",
    )
    patience = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
    if here is not None and here.scope is not None:
        return called_runs.called(service, deployment, order, here, patience, poll_interval)
    run = OrderedRun(service, deployment, service.orders.add([order])[0].run)
    if patience != 0:
        run.wait(patience, poll_interval=poll_interval)
    return run


def _moment(given: datetime | float | None) -> float | None:
    if isinstance(given, datetime):
        return given.timestamp()
    return None if given is None else float(given)
