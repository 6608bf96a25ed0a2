"""A driver that is killed and followed by others: a script of its own, for tests/faults/test_driver_deaths.py.

Arguments: kind of runner, number of items, seconds an item takes, file that notes what ran, and perhaps the run to
go on with. Prints the name of its run, and at the end the result.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from anabranch import DaskRunner, ProcessRunner, RayRunner, ThreadRunner, flow, task
from anabranch.core import context

RUNNERS = {
    "thread": lambda: ThreadRunner(max_workers=2),
    "process": lambda: ProcessRunner(max_workers=2),
    "dask": lambda: DaskRunner(n_workers=2),
    "ray": lambda: RayRunner(num_cpus=2),
}


def note(path: str, word: object) -> None:
    descriptor = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.write(descriptor, f"{word}\n".encode())
    os.close(descriptor)


@task
def work(x: int, seconds: float, path: str) -> int:
    note(path, x)
    while os.path.exists(f"{path}.hold-{x}"):  # so that a fast driver is not through before it is killed
        time.sleep(0.01)
    if seconds:
        time.sleep(seconds)
    return 3 * x


@task
def total(xs: list[int]) -> int:
    return sum(xs)


def main(kind: str, items: str, seconds: str, path: str, run: str = "") -> None:
    @flow(name="main", resumable=True, runner=RUNNERS[kind]())
    def body(items: int, seconds: float, path: str) -> Any:
        here = context.current_flow.get()
        assert here is not None
        print(here.name, flush=True)
        return total.submit(work.map(range(items), seconds=seconds, path=path))

    found = body.resume(run) if run else body(int(items), float(seconds), path)
    print(found, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
