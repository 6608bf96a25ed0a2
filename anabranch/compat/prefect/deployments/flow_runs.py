"""Prefect's `run_deployment`."""

from __future__ import annotations

from typing import Any

from anabranch.compat.prefect.runs import FlowRun
from anabranch.compat.prefect.utilities.asyncutils import awaited, either
from anabranch.serving import deploying

__all__ = ["arun_deployment", "run_deployment"]


def _run_deployment(
    name: Any, client: Any = None, parameters: dict[str, Any] | None = None, scheduled_time: Any = None,
    flow_run_name: str | None = None, timeout: float | None = None, poll_interval: float | None = 5,
    tags: Any = None, idempotency_key: str | None = None, work_queue_name: str | None = None,
    as_subflow: bool | None = True, job_variables: dict[str, Any] | None = None,
) -> FlowRun:  # fmt: skip
    """Order a run of a deployment, and wait for its end."""
    run = deploying.run_deployment(
        name, parameters, scheduled_time=scheduled_time, flow_run_name=flow_run_name, timeout=timeout,
        poll_interval=None if poll_interval == 5 else poll_interval, tags=tags, idempotency_key=idempotency_key,
        work_queue_name=work_queue_name, as_subflow=bool(as_subflow), job_variables=job_variables,
    )  # fmt: skip
    return FlowRun(run)


_run_deployment.__name__ = _run_deployment.__qualname__ = "run_deployment"
run_deployment, arun_deployment = either(_run_deployment), awaited(_run_deployment)
