"""`prefect.runtime.flow_run`: the flow run around the code that reads; None or empty outside of flows."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from anabranch.compat.prefect.context import FlowRunContext, TaskRunContext
from anabranch.compat.prefect.runtime.reading import of_context, read

if TYPE_CHECKING:
    from collections.abc import Callable


_of = partial(of_context, FlowRunContext)


def _id() -> str | None:
    here = FlowRunContext.get()
    if here is not None:
        return str(here.flow_run.id)
    task = TaskRunContext.get()
    found = None if task is None else task.task_run.flow_run_id
    return None if found is None else str(found)


FIELDS: dict[str, Callable[[], Any]] = {
    "api_url": lambda: None,
    "flow_name": _of(lambda here: here.flow_run.flow_name),
    "flow_version": _of(lambda here: here.flow_run.flow_version),
    "id": _id,
    "job_variables": lambda: None,
    "name": _of(lambda here: here.flow_run.name),
    "parameters": _of(lambda here: here.parameters, dict),
    "parent_deployment_id": lambda: None,
    "parent_flow_run_id": _of(lambda here: here.flow_run.parent_flow_run_id),
    "root_flow_run_id": _id,
    "run_count": _of(lambda here: here.flow_run.run_count, int),
    "scheduled_start_time": lambda: datetime.now(UTC),
    "tags": _of(lambda here: here.flow_run.tags, list),
    "ui_url": lambda: None,
}


def __getattr__(name: str) -> Any:
    return read("flow_run", name, FIELDS)


def __dir__() -> list[str]:
    return sorted(FIELDS)
