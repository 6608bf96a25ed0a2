"""A thousand schedules with a tick in one second, and two schedulers that take no lease; and a thousand that rest."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import tempfile
import threading
import time
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.rows import Bar, Figures, Row

if TYPE_CHECKING:
    from collections.abc import Callable

LEAD = 4.0  # seconds from the start until the orders may be made
POSTGRES = "BENCHMARK_POSTGRES"  # the variable with the address of a database to measure in


def opened(place: str) -> Any:
    """A service in a file, or in a PostgreSQL; each call makes one of its own."""
    from anabranch.records.service.direct import DirectService

    if place.startswith("postgres"):
        postgres = importlib.import_module("anabranch.records.postgres")
        postgres.PostgresRecords(place).close()
        return DirectService(postgres.Server(place))
    sqlite_file = importlib.import_module("anabranch.records.sqlite_file")
    sqlite_file.prepare(Path(place))
    return DirectService(sqlite_file.SqliteFile(Path(place)))


def deployed(service: Any, count: int, **schedule: Any) -> str:
    """Make a deployment with so many schedules; returns its id."""
    from anabranch.core.deployments import DeploymentRow
    from anabranch.scheduling import Interval, rows

    deployment = DeploymentRow("", "benchmark", f"at-{time.time():.6f}", document={"entrypoint": "flows.py:etl"})
    every = [Interval(slug=f"s{number}", **schedule) for number in range(count)]
    made: str = service.deployments.apply(deployment, rows(every, service.upkeep.now())).id
    return made


def stepping(service: Any, until: float) -> None:
    """Take the step of schedules as often as it wants."""
    from anabranch.services.schedule import ScheduleStep

    step = ScheduleStep(service)
    while (now := time.time()) < until:
        time.sleep(min(step(now), max(0.0, until - time.time())))


def stepping_there(place: str, until: float) -> None:
    service = opened(place)
    stepping(service, until)
    service.close()


def ticking(service: Any, start: Callable[[float], list[Any]], quick: bool) -> Figures:
    """Let two schedulers find a thousand ticks of one second; `start` starts them, up to a moment."""
    from anabranch.services.schedule import AHEAD

    count = 100 if quick else 1000
    first = time.time() + LEAD + AHEAD
    moment = float(int(first) + 1)
    deployment = deployed(service, count, interval=86_400 * 7 + 1, anchor_date=_iso(moment))
    schedulers = start(moment)
    for scheduler in schedulers:
        scheduler.join()
    with service.database.opened() as db:
        query = f"SELECT created, order_key FROM orders WHERE deployment = '{deployment}'"
        found = [(float(at), str(key)) for at, key in db.execute(query).fetchall()]
    made = sorted(at - moment for at, _ in found)
    p99 = made[int(len(made) * 0.99) - 1]
    return {
        "runs": len(found),
        "twice": len(found) - len({key for _, key in found}),
        "missing": count - len(found),
        "late_p99_s": max(0.0, p99),
        "made_p99_s": AHEAD + p99,  # after the moment that they may be made at
    }


def _iso(moment: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(moment, UTC).isoformat()


def in_processes(place: str, moment: float) -> list[Any]:
    context = multiprocessing.get_context("spawn")
    made = [context.Process(target=stepping_there, args=(place, moment)) for _ in range(2)]
    for process in made:
        process.start()
    return made


def in_memory(quick: bool) -> Figures:
    from anabranch.records.service.direct import DirectService
    from anabranch.records.service.memory import memory_service

    first = memory_service()
    services = [first, DirectService(first.database)]

    def start(moment: float) -> list[Any]:
        made = [threading.Thread(target=stepping, args=(service, moment)) for service in services]
        for thread in made:
            thread.start()
        return made

    return ticking(first, start, quick)


def in_sqlite(quick: bool) -> Figures:
    with tempfile.TemporaryDirectory() as folder:
        return in_place(f"{folder}/runs.db", quick)


def postgres() -> str:
    """Return the address of the PostgreSQL to measure in."""
    place = os.environ.get(POSTGRES, "")
    if not place:
        raise RuntimeError(f"{POSTGRES} is not set: the address of a PostgreSQL to measure in")
    return place


def in_postgres(quick: bool) -> Figures:
    return in_place(postgres(), quick)


def in_place(place: str, quick: bool) -> Figures:
    with closing(opened(place)) as service:
        return ticking(service, partial(in_processes, place), quick)


def resting(quick: bool) -> Figures:
    """The services' thread over a thousand hourly schedules, as a share of a core."""
    from anabranch.services.loop import Services

    seconds = 5.0 if quick else 30.0
    with tempfile.TemporaryDirectory() as folder:
        service = opened(f"{folder}/runs.db")
        deployed(service, 1000, interval=7 * 86_400, anchor_date=_iso(time.time() + 86_400))
        services = Services(service)
        services.start()
        time.sleep(1.0)
        before = time.process_time()
        time.sleep(seconds)
        used = time.process_time() - before
        services.stop()
        service.close()
    return {"share": 100 * used / seconds}


_EXACTLY = (
    Bar("missing", "runs", at_most=0), Bar("twice", "runs", at_most=0), Bar("late_p99_s", "s", at_most=1.0),
    Bar("made_p99_s", "s after its 10 s ahead begin"),
)  # fmt: skip
_WHAT = "1,000 schedules due in one second, two schedulers"
ROWS = (
    Row("schedules_memory", f"{_WHAT}, threads over memory", in_memory, _EXACTLY, most=3),
    Row("schedules_sqlite", f"{_WHAT}, processes over SQLite", in_sqlite, _EXACTLY, most=3),
    Row("schedules_postgres", f"{_WHAT}, processes over PostgreSQL", in_postgres, _EXACTLY, most=3),
    Row(
        "schedules_idle", "1,000 schedules at rest, the services' thread over SQLite", resting,
        (Bar("share", "% of a core", at_most=1.0),), most=3,
    ),
)  # fmt: skip
