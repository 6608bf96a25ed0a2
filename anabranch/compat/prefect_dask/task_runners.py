"""`prefect_dask.task_runners`: DaskTaskRunner, by anabranch's runner for Dask."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

from anabranch.compat.prefect.task_runners import TaskRunner
from anabranch.core.errors import OptionError

__all__ = ["DaskTaskRunner"]


class DaskTaskRunner(TaskRunner):
    """Tasks run on a Dask cluster: a new local one, one that is given, or that of an address.

    Args:
        cluster_class: a class of clusters, or its dotted name; called with `cluster_kwargs`.
        adapt_kwargs: given to the cluster's `adapt`.
        client_kwargs: `security` counts; of others a warning says that they do not, for the client is anabranch's.
        performance_report_path: a warning says that no file is written.
    """

    runs_on = "dask"

    def __init__(
        self, cluster: Any = None, address: str | None = None, cluster_class: Any = None,
        cluster_kwargs: dict[str, Any] | None = None, adapt_kwargs: dict[str, Any] | None = None,
        client_kwargs: dict[str, Any] | None = None, performance_report_path: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if address is not None and (cluster_class is not None or cluster_kwargs or adapt_kwargs):
            raise ValueError("Cannot specify `address` and `cluster_class`/`cluster_kwargs`/`adapt_kwargs`")
        if cluster is not None and (cluster_class is not None or cluster_kwargs):
            raise ValueError("Cannot specify `cluster` and `cluster_class`/`cluster_kwargs`")
        self._cluster, self.address = cluster, address
        self.cluster_class, self.cluster_kwargs = cluster_class, dict(cluster_kwargs or {})
        self.adapt_kwargs, self.client_kwargs = dict(adapt_kwargs or {}), dict(client_kwargs or {})
        if cluster is None and address is None and (self.adapt_kwargs or self.cluster_kwargs.keys() - _OURS):
            self.cluster_class = self.cluster_class or "distributed.LocalCluster"
        _warn(self.client_kwargs.keys() - {"security"}, performance_report_path)

    def options(self) -> dict[str, Any]:
        if self.cluster_class is not None and self._cluster is None:
            self._cluster = self._made()
        given = {"cluster": self._cluster, "address": self.address, "security": self.client_kwargs.get("security")}
        if self._cluster is None and self.address is None:
            given |= {name: self.cluster_kwargs.get(name) for name in ("n_workers", "threads_per_worker")}
        return given

    def _made(self) -> Any:
        kind = self.cluster_class
        if isinstance(kind, str):
            kind = _imported(kind)
        cluster = kind(**self.cluster_kwargs)
        if self.adapt_kwargs:
            cluster.adapt(**self.adapt_kwargs)
        return cluster


_OURS = {"n_workers", "threads_per_worker"}  # of a local cluster, which anabranch's runner starts and closes by itself
_warned: set[str] = set()


def _warn(unread: set[str], report: str | None) -> None:
    """Say once a program what changes nothing."""
    told = [f"client_kwargs={name!r}: the client is anabranch's own" for name in sorted(unread)]
    if report is not None:
        told.append("performance_report_path: no file is written; `anabranch.report(futures)` shows a map")
    for text in told:
        if text not in _warned:
            _warned.add(text)
            warnings.warn(f"DaskTaskRunner: {text}", stacklevel=3)


def _imported(path: str) -> Any:
    module, _, name = path.rpartition(".")
    if not module:
        raise OptionError(f"cluster_class={path!r}: give a class, or its dotted name")
    return getattr(importlib.import_module(module), name)
