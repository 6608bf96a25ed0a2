"""How many orders a second agents get from a server, with ten thousand waiting, limits and labels on.

The record is a file, or a schema of its own in the PostgreSQL at the address in BENCHMARK_POSTGRES.
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.measure import own_seconds
from benchmarks.rows import Bar, Figures, Row
from benchmarks.subjects.schedules import postgres

AGENTS, WAITING, PLACES = 8, 10_000, 4
ENOUGH = 100_000  # slots: limits that are counted and never reached
WAIT = 60.0  # seconds


def in_file(quick: bool) -> Figures:
    return claims(quick, {})


def in_postgres(quick: bool) -> Figures:
    psycopg = importlib.import_module("psycopg")
    name = f"benchmark_{os.getpid()}"
    address = with_schema(postgres(), name)
    try:
        return claims(quick, {"ANABRANCH_RECORDS": address})
    finally:
        with psycopg.connect(address, autocommit=True) as database:
            database.execute(f"DROP SCHEMA IF EXISTS {name} CASCADE")


def with_schema(address: str, name: str) -> str:
    """Return the address of a PostgreSQL with the tables in a schema of this name."""
    return f"{address}{'&' if '?' in address else '?'}options=-csearch_path%3D{name}"


def claims(quick: bool, settings: dict[str, str]) -> Figures:
    from anabranch.records.service.remote import RemoteService

    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        command = [sys.executable, "-m", "anabranch", "server", "start", "--port", "0"]
        environment = {**os.environ, "ANABRANCH_HOME": folder, **settings}
        began = time.perf_counter()
        server = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        try:
            service = RemoteService(_address(home))
            service.pools.all()
            start = time.perf_counter() - began
            _order(service, WAITING // 10 if quick else WAITING)
            service.close()
            before = own_seconds(server.pid)
            found = _claimed(_address(home))
            used = own_seconds(server.pid) - before
            each = 1000 * used / (WAITING // 10 if quick else WAITING)
            return {"start_s": start, "memory_mb": _memory(server.pid), "server_ms": each, **found}
        finally:
            server.terminate()
            server.wait(WAIT)


def _address(home: Path) -> str:
    until = time.monotonic() + WAIT
    while not (home / "server.json").exists():
        if time.monotonic() > until:
            raise AssertionError("the server does not start")
        time.sleep(0.005)
    found: str = json.loads((home / "server.json").read_text())["address"]
    return found


def _order(service: Any, waiting: int) -> None:
    from anabranch.core.deployments import DeploymentRow
    from anabranch.core.orders import NewOrder, Pool, Queue

    service.pools.put(Pool("default", slots=ENOUGH))
    service.pools.put_queue(Queue("default", "urgent", 0, slots=ENOUGH))
    made = [
        service.deployments.apply(
            DeploymentRow(
                "", f"flow{i}", "d", queue="urgent" if i % 3 == 0 else "default", slots=ENOUGH,
                labels=("gpu",) if i % 2 else (),
            )
        )
        for i in range(10)
    ]  # fmt: skip
    for first in range(0, waiting, 1000):
        service.orders.add(
            [NewOrder(made[i % 10].id, parameters={"i": i}, priority=i % 3) for i in range(first, first + 1000)]
        )


def _claimed(address: str) -> Figures:
    context = multiprocessing.get_context("spawn")
    ready, done = context.Barrier(AGENTS + 1), context.Queue()
    agents = [context.Process(target=_agent, args=(address, n, ready, done)) for n in range(AGENTS)]
    for agent in agents:
        agent.start()
    ready.wait(WAIT)
    began = time.perf_counter()
    found = [done.get(timeout=600) for _ in agents]
    took = time.perf_counter() - began
    for agent in agents:
        agent.join()
    times = sorted(one for _, some in found for one in some)
    return {"rate": sum(got for got, _ in found) / took, "p99_ms": 1000 * times[int(len(times) * 0.99)]}


def _agent(address: str, number: int, ready: Any, done: Any) -> None:
    from anabranch.core.orders import Agent
    from anabranch.records.service.remote import RemoteService

    service = RemoteService(address)
    me = service.claims.join(Agent("", f"agent{number}", labels=("gpu", "x"), capacity=ENOUGH)).id
    times, got, more = [], 0, True
    ready.wait(WAIT)
    while more:
        asked = time.perf_counter()
        claimed = len(service.claims.claim(me, PLACES))
        times.append(time.perf_counter() - asked)
        got, more = got + claimed, claimed > 0
    done.put((got, times))
    service.close()


def _memory(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


_BARS = (
    Bar("rate", "claims/s", at_least=1000.0),
    Bar("p99_ms", "ms", at_most=50.0),
    Bar("server_ms", "ms of the server's processor time a claim"),
    Bar("start_s", "s", at_most=1.5),
    Bar("memory_mb", "MB", at_most=120.0),
)
ROWS = (
    Row(
        "claims_http", "8 agents claim 10,000 orders from a server", in_file, _BARS, most=3,
        unfair="server and agents share the machine; a file is the record; each request claims up to 4",
    ),
    Row(
        "claims_postgres", "8 agents claim 10,000 orders from a server over PostgreSQL", in_postgres, _BARS, most=3,
        unfair="server, agents and PostgreSQL share the machine; each request claims up to 4",
    ),
)  # fmt: skip
