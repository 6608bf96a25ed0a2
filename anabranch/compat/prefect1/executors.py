"""Prefect 1's executors, each a description of one of our runners."""

from __future__ import annotations

from typing import Any

from anabranch.compat.prefect.task_runners import (
    ProcessPoolTaskRunner,
    SequentialTaskRunner,
    TaskRunner,
    ThreadPoolTaskRunner,
)
from anabranch.compat.prefect_dask import DaskTaskRunner

__all__ = ["DaskExecutor", "Executor", "LocalDaskExecutor", "LocalExecutor"]


class Executor:
    """Base of the executors."""

    def runner(self) -> TaskRunner:
        """Return the runner that it describes."""
        return SequentialTaskRunner()


class LocalExecutor(Executor):
    """Tasks run one after the other, in the thread that calls `flow.run()`."""


class LocalDaskExecutor(Executor):
    """Tasks run on threads or in processes of this machine; Dask is not needed for it.

    Args:
        scheduler: "threads", "processes" or "sync".
        num_workers: how many; None: as the runner has them.
    """

    def __init__(self, scheduler: str = "threads", num_workers: int | None = None, **_: Any) -> None:
        kinds = {"threads": "threads", "threading": "threads", "processes": "processes", "multiprocessing": "processes",
                 "sync": "sync", "single-threaded": "sync"}  # fmt: skip
        if scheduler not in kinds:
            raise ValueError(f"scheduler must be one of 'threads', 'processes', 'sync', got {scheduler!r}")
        self.scheduler = kinds[scheduler]
        self.num_workers = num_workers

    def runner(self) -> TaskRunner:
        if self.scheduler == "sync":
            return SequentialTaskRunner()
        if self.scheduler == "processes":
            return ProcessPoolTaskRunner(self.num_workers)
        return ThreadPoolTaskRunner(self.num_workers)


class DaskExecutor(Executor):
    """Tasks run on a Dask cluster: a new local one, that of a class, or that of an address.

    Args:
        debug, disable_cancellation_event, watch_worker_status: are taken, and change nothing.
    """

    def __init__(
        self, address: str | None = None, cluster_class: Any = None, cluster_kwargs: dict[str, Any] | None = None,
        adapt_kwargs: dict[str, Any] | None = None, client_kwargs: dict[str, Any] | None = None,
        debug: bool | None = None, performance_report_path: str | None = None,
        disable_cancellation_event: bool = False, watch_worker_status: bool | None = None,
    ) -> None:  # fmt: skip
        self.address, self.cluster_class = address, cluster_class
        self._given = {
            "address": address, "cluster_class": cluster_class, "cluster_kwargs": cluster_kwargs,
            "adapt_kwargs": adapt_kwargs, "client_kwargs": client_kwargs,
            "performance_report_path": performance_report_path,
        }  # fmt: skip

    def runner(self) -> TaskRunner:
        return DaskTaskRunner(**self._given)
