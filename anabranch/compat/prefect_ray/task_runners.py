"""`prefect_ray.task_runners`: RayTaskRunner, by anabranch's runner for Ray."""

from __future__ import annotations

from typing import Any

from anabranch.compat.prefect.task_runners import TaskRunner

__all__ = ["RayTaskRunner"]


class RayTaskRunner(TaskRunner):
    """Tasks run on Ray: one that runs at this address, or a new one on this machine.

    Args:
        init_kwargs: of these `num_cpus` is used.
    """

    runs_on = "ray"

    def __init__(self, address: str | None = None, init_kwargs: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.address, self.init_kwargs = address, dict(init_kwargs or {})

    def options(self) -> dict[str, Any]:
        return {"address": self.address, "num_cpus": self.init_kwargs.get("num_cpus")}
