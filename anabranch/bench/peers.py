"""The raw engines, each used as its own first page does: one call an item, no chunks made by hand."""

from __future__ import annotations

import contextlib
import functools
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from anabranch.bench.work import Side, inc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextlib.contextmanager
def _pool(make: Callable[[int], Executor], workers: int) -> Iterator[Side]:
    with make(workers) as pool:

        def map_all(fn: Callable[[int], int], n: int) -> list[int]:
            return [future.result() for future in [pool.submit(fn, number) for number in range(n)]]

        yield Side(map_all, functools.partial(map_all, inc), lambda number: pool.submit(inc, number).result())


threads = functools.partial(_pool, ThreadPoolExecutor)
processes = functools.partial(_pool, ProcessPoolExecutor)


@contextlib.contextmanager
def dask(client: Any) -> Iterator[Side]:
    """`client.map`, `client.submit` and `client.gather`, of a client of `distributed`."""

    def map_all(fn: Callable[[int], int], n: int) -> list[int]:
        values: list[int] = client.gather(client.map(fn, range(n), pure=False))
        return values

    def submit_all(n: int) -> list[int]:
        values: list[int] = client.gather([client.submit(inc, number, pure=False) for number in range(n)])
        return values

    def call(number: int) -> int:
        value: int = client.submit(inc, number, pure=False).result()
        return value

    yield Side(map_all, submit_all, call)


@contextlib.contextmanager
def ray(module: Any) -> Iterator[Side]:
    """`ray.remote` and `ray.get`, of a Ray that is joined."""
    remotes: dict[Any, Any] = {}

    def remote(fn: Callable[[int], int]) -> Any:
        if fn not in remotes:
            remotes[fn] = module.remote(fn)
        return remotes[fn]

    def map_all(fn: Callable[[int], int], n: int) -> list[int]:
        values: list[int] = module.get([remote(fn).remote(number) for number in range(n)])
        return values

    def call(number: int) -> int:
        value: int = module.get(remote(inc).remote(number))
        return value

    yield Side(map_all, functools.partial(map_all, inc), call)
