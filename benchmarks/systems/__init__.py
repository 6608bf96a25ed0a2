"""Systems that do the same work: ours on each runner, bare engines, other people's libraries.

Each is a function that brings its system up, warms it up and calls a body with two ways to work:
`fan_out(n)` gives the values of `inc` over range(n), `one(i)` a single value. What is imported for it is
imported inside the function: libraries of peers live in an environment of their own.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from benchmarks.rows import Figures

FanOut = Callable[[int], Iterable[int]]
One = Callable[[int], int]
Body = Callable[[FanOut, One], Figures]


@dataclass(frozen=True)
class System:
    """One line of a comparison.

    Args:
        name: what `--systems` takes.
        what: shown in the table.
        place: ``module:function`` in this package.
        needs: a package that must be installed.
        peers: it runs in the peers' environment.
        engine: the engine it can borrow with `--address`.
    """

    name: str
    what: str
    place: str
    needs: str = ""
    peers: bool = False
    engine: str = ""

    def run(self, body: Body) -> Figures:
        """Bring it up in this process, and let the body work with it."""
        module, _, function = self.place.partition(":")
        found: Callable[[Body], Figures] = getattr(importlib.import_module(f"benchmarks.systems.{module}"), function)
        return found(body)


SYSTEMS = (
    System("ours_threads", "anabranch, threads", "ours:threads"),
    System("ours_processes", "anabranch, processes", "ours:processes"),
    System("ours_dask", "anabranch, Dask", "ours:dask", "distributed", engine="dask"),
    System("ours_ray", "anabranch, Ray", "ours:ray", "ray", engine="ray"),
    System("loop", "bare loop, nothing else", "pools:loop"),
    System("threadpool", "ThreadPoolExecutor, submit", "pools:threads"),
    System("processpool", "ProcessPoolExecutor, submit", "pools:processes"),
    System("processpool_500", "ProcessPoolExecutor.map, chunksize 500", "pools:processes_in_chunks"),
    System("dask", "client.map", "engines:dask", "distributed", engine="dask"),
    System("dask_unqueued", "client.map, worker-saturation=inf", "engines:dask_unqueued", "distributed"),
    System("dask_500", "client.map, chunks of 500 by hand", "engines:dask_in_chunks", "distributed", engine="dask"),
    System("ray", "f.remote", "engines:ray", "ray", engine="ray"),
    System("ray_500", "f.remote, chunks of 500 by hand", "engines:ray_in_chunks", "ray", engine="ray"),
    System("joblib", "joblib.Parallel, loky backend", "libraries:joblib", "joblib", peers=True),
    System("loky", "loky executor, submit", "libraries:loky", "loky", peers=True),
    System("parsl", "Parsl HTEX", "libraries:parsl", "parsl", peers=True),
    System("executorlib", "executorlib, block allocation", "libraries:executorlib", "executorlib", peers=True),
    System("prefect_threads", "Prefect 3, threads", "prefect3:threads", "prefect", peers=True),
    System("prefect_dask", "Prefect 3, Dask", "prefect3:dask", "prefect_dask", peers=True),
    System("prefect_ray", "Prefect 3, Ray", "prefect3:ray", "prefect_ray", peers=True),
)
BY_NAME = {system.name: system for system in SYSTEMS}
