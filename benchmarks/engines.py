"""The raw engines that are peers: started the way their own first page does, or joined where --address says."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.measure import ADDRESS, WORKERS, inc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PACKAGE = Path(__file__).parent  # workers of a borrowed cluster get it sent, for the functions of the rows
UNQUEUED = {"distributed.scheduler.worker-saturation": float("inf")}


@dataclass(frozen=True)
class Engine:
    """What Dask and Ray have in common.

    Args:
        submit: (function, *arguments) to a future; futures among the arguments are dependencies.
        gather: values of a list of futures.
        share: puts one value on the workers, and returns what a task takes in its place.
        raw: the engine's own client or module.
    """

    submit: Callable[..., Any]
    gather: Callable[[list[Any]], list[Any]]
    share: Callable[[Any], Any]
    raw: Any


def nap(seconds: float) -> None:
    time.sleep(seconds)


@contextlib.contextmanager
def dask_engine(config: dict[str, Any] | None = None) -> Iterator[Engine]:
    """A client of a LocalCluster with two workers of one thread; `config` is Dask's."""
    import dask
    from distributed import Client, LocalCluster

    make_client: Any = Client
    make_cluster: Any = LocalCluster
    with contextlib.ExitStack() as stack:
        stack.enter_context(dask.config.set(config or {}))
        where = os.environ.get(ADDRESS)
        if not where:
            own = {"dashboard_address": None, "silence_logs": logging.ERROR}
            where = stack.enter_context(make_cluster(n_workers=WORKERS, threads_per_worker=1, **own))
        client = stack.enter_context(make_client(where))
        if os.environ.get(ADDRESS):
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            client.upload_file(shutil.make_archive(f"{folder}/benchmarks", "zip", PACKAGE.parent, PACKAGE.name))
        client.wait_for_workers(1)
        client.gather(client.map(inc, range(64), pure=False))
        yield Engine(
            functools.partial(client.submit, pure=False),
            client.gather,
            functools.partial(client.scatter, broadcast=True),
            client,
        )


@contextlib.contextmanager
def ray_engine() -> Iterator[Engine]:
    """A Ray of our own with two processors."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    where = os.environ.get(ADDRESS)
    options: dict[str, Any] = {"address": "local", "num_cpus": WORKERS, "include_dashboard": False}
    if where:
        options = {"address": where, "runtime_env": {"py_modules": [str(PACKAGE)]}}
    ray.init(**options, log_to_driver=False, logging_level=logging.ERROR)
    remote = functools.cache(lambda function: ray.remote(function))

    def submit(function: Any, *args: Any) -> Any:
        return remote(function).remote(*args)

    try:
        ray.get([submit(nap, 0.2) for _ in range(WORKERS)])  # each worker is up
        ray.get([submit(inc, i) for i in range(64)])
        yield Engine(submit, ray.get, ray.put, ray)
    finally:
        ray.shutdown()


def engine(kind: str) -> contextlib.AbstractContextManager[Engine]:
    return dask_engine() if kind == "dask" else ray_engine()
