"""`prefect_dask`: DaskTaskRunner, by anabranch's runner for Dask."""

from __future__ import annotations

from anabranch.compat.prefect_dask.task_runners import DaskTaskRunner

__all__ = ["DaskTaskRunner"]
