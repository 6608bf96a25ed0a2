"""Prefect's `prefect.runtime`: `flow_run`, `task_run` and `deployment`, with the values of where they are read."""

from __future__ import annotations

from anabranch.compat.prefect.runtime import deployment, flow_run, task_run

__all__ = ["deployment", "flow_run", "task_run"]
