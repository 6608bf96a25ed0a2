"""Prefect 3 with its default settings and its own temporary server, on three task runners."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.measure import WORKERS, inc

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchmarks.rows import Figures
    from benchmarks.systems import Body


def _run(runner: Any, body: Body) -> Figures:
    from prefect import flow, task

    step = task(inc)
    found: list[Figures] = []

    def fan_out(n: int) -> Iterable[int]:
        return [f.result() for f in step.map(range(n))]

    @flow(task_runner=runner)
    def bench() -> None:
        found.append(body(fan_out, lambda i: step.submit(i).result()))

    bench()
    return found[0]


def threads(body: Body) -> Figures:
    from prefect.task_runners import ThreadPoolTaskRunner

    return _run(ThreadPoolTaskRunner(max_workers=WORKERS), body)


def dask(body: Body) -> Figures:
    from prefect_dask import DaskTaskRunner

    kwargs = {"n_workers": WORKERS, "threads_per_worker": 1, "dashboard_address": None}
    return _run(DaskTaskRunner(cluster_kwargs=kwargs), body)


def ray(body: Body) -> Figures:
    from prefect_ray import RayTaskRunner

    # "local": without it, it joins whatever Ray this machine has.
    return _run(RayTaskRunner(address="local", init_kwargs={"num_cpus": WORKERS, "include_dashboard": False}), body)
