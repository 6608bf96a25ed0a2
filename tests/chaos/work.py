"""The tasks of a chaos run: what graphs.py says, done by workers that leave their pid where they work."""

from __future__ import annotations

import faulthandler
import os
import signal
import time
from pathlib import Path
from typing import Any

from anabranch import task
from anabranch.core import context
from tests.chaos.graphs import ALWAYS, Spec, failing_attempts, leaves, number, step

FOLDER = "ANABRANCH_CHAOS"  # the environment variable that names the folder of the round


def hold(folder: Path) -> Path:
    """While this file is there, drivers stop half way through their graph."""
    return folder / "hold"


class Planned(Exception):
    """An attempt that was to fail."""


def watch() -> None:
    """Let the round find this process, and have its threads dumped by SIGUSR2."""
    folder = Path(os.environ[FOLDER])
    if (folder / "workers" / str(os.getpid())).exists():  # no note in a global: what a task reads is part of its code
        return
    descriptor = os.open(folder / f"threads-{os.getpid()}", os.O_CREAT | os.O_WRONLY)
    faulthandler.register(signal.SIGUSR2, file=descriptor, all_threads=True)
    (folder / "workers" / str(os.getpid())).touch()


def work(spec: Spec, *values: Any) -> int | bytes:
    watch()
    here = context.current_task.get()
    assert here is not None
    bad = failing_attempts(spec, *values)
    if bad == ALWAYS or here.run.attempt <= bad:
        raise Planned(f"attempt {here.run.attempt}")
    if spec.seconds:
        time.sleep(spec.seconds)
    return step(spec, *values)


# Crashes are the round's doing, not the item's: it may be hit more often than the three times of a poison item.
@task(crash_retries=1000)
def item(x: Any, spec: Spec) -> int | bytes:
    return work(spec, x)


@task(crash_retries=1000)
def item_with(x: Any, extra: Any, spec: Spec) -> int | bytes:
    return work(spec, x, extra)


@task(crash_retries=1000)
def single(values: Any, spec: Spec) -> int | bytes:
    return work(spec, list(values.values()))


@task(crash_retries=1000)
def nested(values: Any, items: int, spec: Spec) -> int | bytes:
    few = item.with_options(name="leaf")
    below = few.map(range(items), spec=Spec(spec.salt + 1))
    beside = few.submit(items, spec=spec)
    return work(spec, list(values.values()), below.result(), beside.result())


@task(crash_retries=1000)
def branch(x: int, spec: Spec) -> int | bytes:
    below = item.with_options(name="leaf").map([x, x + 1, x + 2], spec=Spec(spec.salt + 1))
    found = below.result()
    assert [number(one) for one in found] == leaves(spec, 3, x)
    return work(spec, found)


@task(crash_retries=1000, timeout_seconds=0.5)
def late(spec: Spec) -> None:
    watch()
    end = time.monotonic() + spec.seconds
    while time.monotonic() < end:
        time.sleep(0.01)
