"""Prefect's client, as anabranch has it; and Prefect 1's, which makes projects and orders runs."""

from __future__ import annotations

from typing import Any

from anabranch import serving
from anabranch.core.deployments import ProjectRow
from anabranch.core.orders import NewOrder

__all__ = ["Client"]


class Client:
    """Prefect 1's client: of the program's own service."""

    def __init__(self, **_: Any) -> None: ...

    def create_project(self, project_name: str, project_description: str | None = None) -> str:
        """Make a project; returns its name."""
        serving.current().deployments.put_project(ProjectRow(project_name, project_description or ""))
        return project_name

    def create_flow_run(
        self, flow_id: str | None = None, context: Any = None, parameters: dict[str, Any] | None = None,
        run_config: Any = None, labels: Any = None, scheduled_start_time: Any = None,
        idempotency_key: str | None = None, run_name: str | None = None, version_group_id: str | None = None,
    ) -> str:  # fmt: skip
        """Order a run of a registered flow, by what `register` returned; returns the run's id."""
        order = NewOrder(
            flow_id or version_group_id or "",
            key=idempotency_key or "",
            due=None if scheduled_start_time is None else scheduled_start_time.timestamp(),
            parameters=dict(parameters or {}),
            name=run_name or "",
            job={} if run_config is None else run_config.job(),
        )
        return serving.current().orders.add([order])[0].run
