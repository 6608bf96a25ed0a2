"""Where the contest takes place: this machine's threads or processes, a Dask or a Ray, started here or joined."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import logging
import os
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anabranch import DaskRunner, ProcessRunner, RayRunner, ThreadRunner
from anabranch.bench import peers
from anabranch.core.errors import MissingExtraError, RunnerError
from anabranch.core.machine import usable_cpus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from anabranch.bench.work import Side

JOIN_SECONDS = 30.0  # for a Dask to answer, and for its first worker
RUNNERS = ("thread", "process", "dask", "ray")


@dataclass(frozen=True, slots=True)
class Place:
    """An engine with its workers.

    Attributes:
        runner: makes a runner of ours on them.
        peer: makes the other side on them.
        raw: what the other side is called.
        engine: name and version of the engine, "" for those of Python itself.
    """

    kind: str
    workers: int
    runner: Callable[[], Any]
    peer: Callable[[], AbstractContextManager[Side]]
    raw: str
    engine: str = ""


@contextlib.contextmanager
def opened(kind: str, address: str | None, workers: int | None) -> Iterator[Place]:
    """Start the engine, or join it at its address; what was started here ends here.

    Raises MissingExtraError without the engine's package, RunnerError where it cannot be reached.
    """
    count = workers or usable_cpus()
    with contextlib.ExitStack() as stack:
        if kind == "thread":
            yield Place(
                kind, count, lambda: ThreadRunner(max_workers=count), lambda: peers.threads(count), "ThreadPoolExecutor"
            )
        elif kind == "process":
            make = functools.partial(peers.processes, count)
            yield Place(kind, count, lambda: ProcessRunner(max_workers=count), make, "ProcessPoolExecutor")
        elif kind == "dask":
            yield _dask(stack, address, count)
        else:
            yield _ray(stack, address, count)


def _dask(stack: contextlib.ExitStack, address: str | None, count: int) -> Place:
    try:
        import distributed
    except ImportError:
        raise MissingExtraError("--runner dask needs distributed: pip install 'anabranch[dask]'") from None
    make: Any = distributed
    if address is None:
        cluster = make.LocalCluster(
            n_workers=count, threads_per_worker=1, dashboard_address=None, silence_logs=logging.ERROR
        )
        address = str(stack.enter_context(cluster).scheduler_address)
    try:
        client = stack.enter_context(make.Client(address, timeout=JOIN_SECONDS))
        client.wait_for_workers(1, timeout=JOIN_SECONDS)
    except (OSError, TimeoutError) as error:
        raise RunnerError(f"no Dask with workers at {address}: {error}") from error
    slots = sum(worker["nthreads"] for worker in client.scheduler_info(n_workers=-1)["workers"].values())
    where = address
    return Place(
        "dask", slots, lambda: DaskRunner(address=where), lambda: peers.dask(client), "client.map, client.submit",
        f"distributed {importlib.metadata.version('distributed')}",
    )  # fmt: skip


def _ray(stack: contextlib.ExitStack, address: str | None, count: int) -> Place:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise MissingExtraError("--runner ray needs ray: pip install 'anabranch[ray]'") from None
    module: Any = ray
    given = {"address": address} if address else {"address": "local", "num_cpus": count, "include_dashboard": False}
    try:
        module.init(log_to_driver=False, configure_logging=False, **given)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise RunnerError(f"no Ray at {address or 'this machine'}: {error}") from error
    stack.callback(module.shutdown)
    where = str(module.get_runtime_context().gcs_address)
    slots = int(module.cluster_resources().get("CPU", 1))
    return Place(
        "ray", slots, lambda: RayRunner(address=where), lambda: peers.ray(module), "ray.remote",
        f"ray {importlib.metadata.version('ray')}",
    )  # fmt: skip
