"""A server that starts, and one that rests: a thousand schedules far ahead, ten agents that wait for work."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from benchmarks.measure import processor_seconds, proportional_bytes, status_bytes, tree
from benchmarks.prefect_server import prefect_server
from benchmarks.rows import Bar, Figures, Row
from benchmarks.service import home, kill, until

if TYPE_CHECKING:
    from collections.abc import Callable

DEPLOYMENTS, SCHEDULES, AGENTS = 100, 10, 10  # schedules of each deployment
WEEK = timedelta(days=7)
SETTLES, SECONDS = 60.0, 60.0  # until it is at rest; that its processor time is counted for


def started(quick: bool) -> Figures:
    """From the command to the first answer: in an empty home, and again in the one that there is then."""
    with home() as place:
        return _twice(place.server, place.up, kill)


def started_peer(quick: bool) -> Figures:
    with prefect_server() as place:
        return _twice(place.server, place.up, place.end)


def _twice(start: Callable[[], Any], up: Callable[[], float], end: Callable[[Any], object]) -> Figures:
    """Start a server, end it, and start it again; tells what processor time the second start took, too."""
    took, used = [], 0.0
    for _ in range(2):
        began = time.monotonic()
        process = start()
        took.append(up() - began)
        used = processor_seconds(process.pid)
        end(process)
    return {"fresh_s": took[0], "again_s": took[1], "processor_s": used}


def resting(quick: bool) -> Figures:
    from anabranch.core.deployments import DeploymentRow
    from anabranch.scheduling import Interval, rows

    tomorrow = _tomorrow().isoformat()
    with home() as place:
        server = place.server()
        place.up()
        with place.service() as service:
            each = WEEK.total_seconds()
            every = [Interval(slug=f"s{n}", interval=each, anchor_date=tomorrow) for n in range(SCHEDULES)]
            for number in range(_deployments(quick)):
                row = DeploymentRow("", f"flow{number}", "d", document={"entrypoint": "flows.py:etl"})
                service.deployments.apply(row, rows(every, service.upkeep.now()))
            agents = [place.agent("--name", f"agent{n}") for n in range(_agents(quick))]
            until(lambda: len(service.claims.agents()) == len(agents))
        return at_rest(server.pid, [agent.pid for agent in agents], quick)


def resting_peer(quick: bool) -> Figures:
    """Prefect's workers and schedules of the same number, on its defaults."""
    with prefect_server() as place:
        server = place.server()
        place.up()
        place.enter()
        _deploy(_deployments(quick))
        workers = [place.worker("pool") for _ in range(_agents(quick))]
        until(lambda: _online("pool") == len(workers))
        return at_rest(server.pid, [worker.pid for worker in workers], quick)


def _deploy(count: int) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate
    from prefect.client.schemas.schedules import IntervalSchedule

    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name="pool", type="process"))
        every = [
            DeploymentScheduleCreate(
                schedule=IntervalSchedule(interval=WEEK, anchor_date=_tomorrow()), active=True, slug=f"s{n}"
            )
            for n in range(SCHEDULES)
        ]
        for number in range(count):
            flow = client.create_flow_from_name(f"flow{number}")
            client.create_deployment(
                flow, "d", schedules=every, work_pool_name="pool", entrypoint="flows.py:etl", path="."
            )


def _online(pool: str) -> int:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        answer = client.request("POST", "/work_pools/{name}/workers/filter", path_params={"name": pool})
        return sum(worker["status"] == "ONLINE" for worker in answer.json())


def at_rest(server: int, agents: list[int], quick: bool) -> Figures:
    """Let all of them rest, then see what they take."""
    time.sleep(1.0 if quick else SETTLES)
    seconds = 3.0 if quick else SECONDS
    before = [processor_seconds(server), sum(map(processor_seconds, agents))]
    time.sleep(seconds)
    used = [processor_seconds(server) - before[0], sum(map(processor_seconds, agents)) - before[1]]
    share = 100 / seconds
    both = [one for pid in agents for one in tree(pid)]
    return {
        "share": used[0] * share,
        "memory_mb": proportional_bytes(tree(server)) / 1e6,
        "resident_mb": sum(status_bytes("VmRSS", pid) for pid in tree(server)) / 1e6,
        "agents_share": used[1] * share,
        "agents_mb": proportional_bytes(both) / 1e6,
    }


def _tomorrow() -> datetime:
    return datetime.now(UTC) + timedelta(days=1)


def _deployments(quick: bool) -> int:
    return 2 if quick else DEPLOYMENTS


def _agents(quick: bool) -> int:
    return 1 if quick else AGENTS


ROWS = (
    Row(
        "server_start", "the server's command, to its first answer", started,
        (
            Bar("fresh_s", "s in an empty home", at_most=1.5), Bar("again_s", "s in one that was there", at_most=1.5),
            Bar("processor_s", "s of processor time, in one that was there"),
        ),
        peer=started_peer, peer_name="`prefect server start` with SQLite", apart={"peer": "prefect"}, most=3,
        seconds=900.0,
    ),
    Row(
        "server_idle", "a server at rest, 1,000 schedules, 10 agents", resting,
        (
            Bar("share", "% of a core", at_most=1.0), Bar("memory_mb", "MB of the server (PSS)", at_most=120.0),
            Bar("resident_mb", "MB of the server (RSS)"), Bar("agents_share", "% of a core, all agents"),
            Bar("agents_mb", "MB of all agents (PSS)"),
        ),
        peer=resting_peer, peer_name="`prefect server start` with SQLite, ten process workers on their defaults",
        apart={"peer": "prefect"}, most=3, seconds=900.0,
    ),
)  # fmt: skip
