"""A program that forks inside runs: `python forking.py RUNNER PLACE HOW,HOW HOME`. What the copy does harms no run.

PLACE is where the fork happens, HOW is what becomes of the copy. The program prints what it saw of each, as JSON.
"""

from __future__ import annotations

import asyncio
import faulthandler
import json
import os
import signal
import sys
import warnings
from pathlib import Path
from typing import Any

from anabranch import concurrency, flow, get_run_logger, session, settings, task
from anabranch.core.errors import RunnerError

warnings.simplefilter("ignore", DeprecationWarning)  # that a process with threads forks is what this is about
LIMIT = 30
driver = os.getpid()


def copy(how: str, home: str, future: Any = None) -> tuple[int, int]:
    """Fork: the process gets (the copy's exit code, how many items ran in the copy), the copy ends as `how` says."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 0
    faulthandler.dump_traceback_later(LIMIT, exit=True)  # a copy that hangs is no copy that ended
    if how == "exit":
        sys.exit(7)
    if how == "raise":
        raise ValueError("of the copy")
    if how == "term":
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()
    if how == "speak":
        print("a print of the copy")
        get_run_logger().warning("a line of the copy")
        os._exit(7)
    if how == "waits":
        try:
            future.result()
        except RunnerError as error:
            os._exit(7 if "forked copy" in str(error) else 8)
    if how == "submits":
        session.use(session.Session(settings.load({}, home=Path(home + "-copy"), runner="thread", progress=False)))
        os._exit(7 if double.submit(21).result() == 42 and main_of_copy() == [0, 2] else 8)
    return 0, os.getpid()  # "returns"


@task
def double(n: int) -> int:
    return 2 * n


@flow
def main_of_copy() -> list[int]:
    return double.map(range(2)).result()  # type: ignore[no-any-return]


def noted(home: str) -> None:
    """Each run of an item leaves a line, whoever runs it."""
    with open(Path(home) / "ran", "a") as file:
        file.write(f"{os.getpid()}\n")


@task
def forking(n: int, how: str, home: str) -> tuple[int, int]:
    noted(home)
    return copy(how, home, None) if n == 1 else (0, 0)


@task(timeout_seconds=60, retries=1, on_completion=[lambda *_: None])
def forking_with_options(n: int, how: str, home: str) -> tuple[int, int]:
    noted(home)
    return copy(how, home, None) if n == 1 else (0, 0)


@task
async def forking_async(n: int, how: str, home: str) -> tuple[int, int]:
    noted(home)
    await asyncio.sleep(0)
    return copy(how, home, None) if n == 1 else (0, 0)


def choose(runner: str, place: str, how: str, home: str) -> Any:
    """The flow that forks at `place`, called."""

    @flow(runner=runner)
    def in_flow() -> Any:
        gate = Path(home) / f"gate-{how}"
        future = waiting.submit(str(gate))
        try:
            with concurrency("forks", 1):
                found = copy(how, home, future)
        finally:
            if os.getpid() == driver:
                gate.touch()
        if os.getpid() != driver:
            return found
        return [found, future.result()]

    @flow(runner=runner)
    async def in_async_flow() -> Any:
        await asyncio.sleep(0)
        return [copy(how, home)]

    @flow(runner=runner, timeout_seconds=60, log_prints=True)
    def in_options() -> Any:
        return [copy(how, home)]

    @flow(runner=runner)
    def in_subflow() -> Any:
        return in_options.submit().result()

    @flow(runner=runner)
    def in_map() -> Any:
        tasks = {"task": forking, "options": forking_with_options, "async task": forking_async}
        return tasks[place].map(range(3), how, home, chunk=3).result()

    @flow(runner=runner)
    def in_call() -> Any:
        return [forking(n, how, home) for n in range(3)]

    flows = {"flow": in_flow, "async flow": in_async_flow, "flow options": in_options, "subflow": in_subflow}
    chosen = flows.get(place, in_call if place == "call" else in_map)
    return asyncio.run(chosen()) if place == "async flow" else chosen()


@task
def waiting(gate: str) -> str:
    import time

    while not os.path.exists(gate):
        time.sleep(0.01)
    return "waited"


def one(runner: str, place: str, how: str, home: str) -> Any:
    """What the flow found, and how many items have run."""
    ran = Path(home) / "ran"
    ran.unlink(missing_ok=True)
    try:
        found = choose(runner, place, how, home)
    except ValueError:
        if os.getpid() == driver:
            raise
        sys.exit(1)
    if os.getpid() != driver:  # a copy whose flow has returned goes on with the program
        sys.exit(0)
    return found, len(ran.read_text().splitlines()) if ran.exists() else 0


def main(runner: str, place: str, hows: str, home: str) -> None:
    session.use(session.Session(settings.load({}, home=Path(home), progress=False, log_level="WARNING")))
    saw = {how: one(runner, place, how, home) for how in hows.split(",")}
    session.current().records.flush(30)
    runs = session.current().records.flow_runs()
    session.current().close()
    print(json.dumps({"saw": saw, "states": sorted({run.state_name for run in runs}), "runs": len(runs)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
