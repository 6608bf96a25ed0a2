"""Prefect's `prefect.main`: the names that `prefect` gives."""

from __future__ import annotations

from anabranch.compat.prefect.context import tags
from anabranch.compat.prefect.flows import Flow, flow
from anabranch.compat.prefect.logging import get_run_logger
from anabranch.compat.prefect.run_states import State
from anabranch.compat.prefect.tasks import Task, task
from anabranch.compat.prefect.utilities.annotations import allow_failure, unmapped

__all__ = ["Flow", "State", "Task", "allow_failure", "flow", "get_run_logger", "tags", "task", "unmapped"]
