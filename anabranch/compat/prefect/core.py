"""Prefect 1's `prefect.core`."""

from __future__ import annotations

from anabranch.compat.prefect.flows import Flow
from anabranch.compat.prefect.tasks import Task
from anabranch.compat.prefect1.flows import Edge
from anabranch.compat.prefect1.nodes import Parameter

__all__ = ["Edge", "Flow", "Parameter", "Task"]
