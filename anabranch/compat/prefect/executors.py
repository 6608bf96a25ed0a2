"""Prefect 1's `prefect.executors`."""

from __future__ import annotations

from anabranch.compat.prefect1.executors import DaskExecutor, Executor, LocalDaskExecutor, LocalExecutor

__all__ = ["DaskExecutor", "Executor", "LocalDaskExecutor", "LocalExecutor"]
