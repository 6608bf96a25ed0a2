"""`prefect_ray`: RayTaskRunner, by anabranch's runner for Ray."""

from __future__ import annotations

from anabranch.compat.prefect_ray.task_runners import RayTaskRunner

__all__ = ["RayTaskRunner"]
