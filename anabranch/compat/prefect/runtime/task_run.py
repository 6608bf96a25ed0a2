"""`prefect.runtime.task_run`: the task run around the code that reads; None or empty outside of tasks."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from anabranch.compat.prefect.context import TaskRunContext
from anabranch.compat.prefect.runtime.reading import of_context, read

if TYPE_CHECKING:
    from collections.abc import Callable


_of = partial(of_context, TaskRunContext)
FIELDS: dict[str, Callable[[], Any]] = {
    "api_url": lambda: None,
    "id": _of(lambda here: str(here.task_run.id)),
    "name": _of(lambda here: here.task_run.name),
    "parameters": _of(lambda here: here.parameters, dict),
    "run_count": _of(lambda here: here.task_run.run_count, int),
    "tags": _of(lambda here: here.task_run.tags, list),
    "task_name": _of(lambda here: here.task_run.task_key),
    "ui_url": lambda: None,
}


def __getattr__(name: str) -> Any:
    return read("task_run", name, FIELDS)


def __dir__() -> list[str]:
    return sorted(FIELDS)
