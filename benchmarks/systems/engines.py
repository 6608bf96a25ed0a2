"""Dask and Ray without us: one task an item, and chunks made by hand."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from benchmarks.engines import UNQUEUED, Engine, dask_engine, ray_engine
from benchmarks.measure import inc

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchmarks.rows import Figures
    from benchmarks.systems import Body

CHUNK = 500


def inc_all(xs: range) -> list[int]:
    return [inc(x) for x in xs]


def _single(engine: Engine, i: int) -> int:
    value: int = engine.gather([engine.submit(inc, i)])[0]
    return value


def dask(body: Body, config: dict[str, Any] | None = None) -> Figures:
    with dask_engine(config) as engine:

        def fan_out(n: int) -> Iterable[int]:
            return engine.gather(engine.raw.map(inc, range(n), pure=False))

        return body(fan_out, lambda i: _single(engine, i))


def dask_unqueued(body: Body) -> Figures:
    return dask(body, UNQUEUED)


def ray(body: Body) -> Figures:
    with ray_engine() as engine:

        def fan_out(n: int) -> Iterable[int]:
            return engine.gather([engine.submit(inc, i) for i in range(n)])

        return body(fan_out, lambda i: _single(engine, i))


def _in_chunks(engine: Engine, body: Body) -> Figures:
    def fan_out(n: int) -> Iterable[int]:
        parts = [range(i, min(i + CHUNK, n)) for i in range(0, n, CHUNK)]
        lists = engine.gather([engine.submit(inc_all, part) for part in parts])
        return list(itertools.chain.from_iterable(lists))

    return body(fan_out, lambda i: _single(engine, i))


def dask_in_chunks(body: Body) -> Figures:
    with dask_engine() as engine:
        return _in_chunks(engine, body)


def ray_in_chunks(body: Body) -> Figures:
    with ray_engine() as engine:
        return _in_chunks(engine, body)
