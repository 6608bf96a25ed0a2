"""The nouns of the service on the command line, over a service in memory."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from anabranch import serving, settings
from anabranch.cli import cli
from anabranch.core.deployments import DeploymentRow, ScheduleRow
from anabranch.core.orders import Agent, NewOrder
from anabranch.records.service.memory import memory_service

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from anabranch.core.service import Service

DAILY = DeploymentRow(
    "", "etl", "daily", labels=("gpu",), document={"entrypoint": "flows.py:etl", "parameters": {"size": 3}}
)


@pytest.fixture
def service() -> Iterator[Service]:
    made = memory_service()
    before = serving.use(made)
    yield made
    serving.use(before)
    made.close()


def told(*args: str, code: int = 0) -> str:
    """What a command prints, without trailing blanks; standard error behind standard output."""
    found = CliRunner().invoke(cli, args)
    assert found.exit_code == code, (found.output, found.exception)
    return found.output


def listed(*args: str) -> Any:
    return json.loads(told(*args, "--json"))


def deployed(service: Service, *slugs: str) -> str:
    rows = [ScheduleRow("", "", slug, {"cron": "0 9 * * *", "timezone": "Europe/Berlin"}) for slug in slugs]
    return service.deployments.apply(DAILY, rows).id


def test_a_pool_is_made_changed_shown_and_deleted(service: Service) -> None:
    told("pool", "create", "big", "--kind", "slurm", "--slots", "2", "--set", "partition=long", "--set", "gpus=4")
    service.claims.join(Agent("a1", "node-7", "big", labels=("gpu", "x86"), capacity=4))
    assert [row for row in listed("pool", "ls")["pools"] if row["name"] == "big"] == [
        {
            "name": "big", "kind": "slurm", "template": {"partition": "long", "gpus": 4}, "slots": 2, "paused": False,
            "description": "",
        }
    ]  # fmt: skip
    told("pool", "pause", "big")
    assert [line.split() for line in told("pool", "ls").splitlines()] == [
        ["pool", "kind", "slots", "agents"],
        ["big", "slurm", "2", "1", "paused"],
        ["default", "process", "0"],
        ["served", "process", "0"],
    ]
    shown = told("pool", "show", "big")
    assert "big: slurm, 2 of runs at once, 0 not done, paused" in shown
    assert 'partition="long"' in shown
    assert "gpu x86" in shown
    told("pool", "resume", "big")
    told("pool", "set-slots", "big", "none")
    shown_json = listed("pool", "show", "big")
    assert (shown_json["slots"], shown_json["paused"], shown_json["agents"][0]["name"]) == (None, False, "node-7")
    told("pool", "delete", "big")
    assert "big" not in told("pool", "ls")


def test_a_pool_in_use_stays_and_the_reason_is_one_line(service: Service) -> None:
    told("pool", "create", "big")
    service.deployments.apply(replace(DAILY, pool="big"))
    service.orders.add([NewOrder("etl/daily")])
    found = CliRunner().invoke(cli, ["pool", "delete", "big"])
    assert "1 deployment names it" in str(found.exception)
    assert "1 not done" in told("pool", "show", "big")


def test_queues(service: Service) -> None:
    told("queue", "create", "default", "urgent", "--priority", "0", "--slots", "3")
    told("queue", "pause", "default", "urgent")
    assert listed("queue", "ls")["queues"][0] == {
        "pool": "default", "name": "urgent", "priority": 0, "slots": 3, "paused": True,
    }  # fmt: skip
    told("queue", "resume", "default", "urgent")
    assert "priority 7, any number at once" in told(
        "queue", "set", "default", "urgent", "--priority", "7", "--slots", "none"
    )
    assert [line.split()[0] for line in told("queue", "ls", "default").splitlines()] == ["queue", "default", "urgent"]
    told("queue", "delete", "default", "urgent")
    assert len(listed("queue", "ls")["queues"]) == 1


@pytest.mark.parametrize("spelling", [("project", "create"), ("create", "project")])
def test_projects(service: Service, spelling: tuple[str, str]) -> None:
    assert "is made" in told(*spelling, "Hello, World!")
    assert "is there already" in told(*spelling, "Hello, World!")
    assert [row["name"] for row in listed("project", "ls")["projects"]] == ["Hello, World!"]
    assert "Hello, World!" in told("project", "ls")
    told("project", "delete", "Hello, World!")
    assert "no projects" in told("project", "ls")


def test_deployments(service: Service) -> None:
    deployed(service, "morning")
    service.deployments.apply(replace(DAILY, document={"entrypoint": "flows.py:etl", "tags": ["a"]}), by="ann")
    assert [line.split()[:5] for line in told("deployment", "ls").splitlines()[1:]] == [
        ["etl/daily", "2", "default", "default", service_time(service)]
    ]
    assert [row["name"] for row in listed("deployment", "ls", "--flow", "etl")["deployments"]] == ["daily"]
    assert "no deployments like that" in told("deployment", "ls", "--flow", "other")
    shown = told("deployment", "show", "etl/daily")
    for part in ("revision 2", "labels: gpu", "entrypoint: flows.py:etl", "cron=0 9 * * * timezone=Europe/Berlin"):
        assert part in shown
    assert listed("deployment", "show", "etl/daily")["schedules"][0]["slug"] == "morning"
    lines = [line.split() for line in told("deployment", "revisions", "etl/daily").splitlines()]
    assert [line[:1] + line[3:] for line in lines[1:]] == [["2", "ann", "parameters", "tags"], ["1"]]
    assert len(listed("deployment", "revisions", "etl/daily")["revisions"]) == 2
    told("deployment", "pause", "etl/daily")
    assert told("deployment", "ls").rstrip().endswith("paused")
    told("deployment", "resume", "etl/daily")
    told("deployment", "delete", "etl/daily")
    assert "no deployments" in told("deployment", "ls")


def service_time(service: Service) -> str:
    from anabranch.cli import record

    found = service.deployments.find("etl/daily")
    assert found is not None
    return record.when(found.updated).split()[0]


def test_schedules(service: Service) -> None:
    deployed(service, "morning", "noon")
    told("schedule", "pause", "etl/daily", "noon")
    assert [row.active for row in service.schedules.all()] == [True, False]
    assert [line.split() for line in told("schedule", "ls").splitlines()] == [
        ["deployment", "schedule", "when", "next"],
        ["etl/daily", "morning", "cron=0", "9", "*", "*", "*", "timezone=Europe/Berlin"],
        ["etl/daily", "noon", "cron=0", "9", "*", "*", "*", "timezone=Europe/Berlin", "paused"],
    ]
    told("schedule", "resume", "etl/daily", "noon")
    told("schedule", "delete", "etl/daily", "morning")
    told("schedule", "pause", "etl/daily")  # the only one needs no name
    assert [(row["slug"], row["user_active"]) for row in listed("schedule", "ls", "etl/daily")["schedules"]] == [
        ("noon", False)
    ]
    told("schedule", "delete", "etl/daily")
    assert "no schedules" in told("schedule", "ls")


def test_a_backfill_orders_each_tick_of_a_time_once(service: Service) -> None:
    deployed(service, "morning")
    words = ("schedule", "backfill", "etl/daily", "morning", "2026-01-30T00:00+01:00", "2026-02-01T09:00+01:00")
    assert "3 runs of etl/daily are ordered" in told(*words)
    assert "0 runs" in told(*words)
    days = [order.due / 86_400 for order in service.orders.all(deployment="etl/daily")]
    assert [day - days[0] for day in days] == [0, 1, 2]
    assert "1 runs" in told("schedule", "backfill", "etl/daily", "morning", "2026-02-03", "2026-02-03")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("pool show defalt", 1, "no pool 'defalt'; did you mean 'default'? (`anabranch pool ls` lists them)"),
        ("pool create default", 1, "there is a pool 'default' already"),
        ("pool create a --slots many", 2, "slots must be 0 or more, or none, got 'many'"),
        ("pool create a --set partition", 2, "a variable must be NAME=VALUE, got 'partition'"),
        ("queue pause default defalt", 1, "no queue 'defalt'; did you mean 'default'?"),
        ("queue create default default", 1, "there is a queue 'default' already"),
        ("project delete none", 1, "no project 'none'"),
        ("deployment show etl/dayly", 1, "no deployment 'etl/dayly'; did you mean 'etl/daily'?"),
        ("schedule ls etl/dayly", 1, "no deployment 'etl/dayly'; did you mean 'etl/daily'?"),
        ("schedule pause etl/daily nooon", 1, "no schedule 'nooon'; did you mean 'noon'?"),
        ("schedule backfill etl/daily noon 1.1.2026 now", 2, "a time must be like 2026-01-31"),
        ("schedule pause etl/daily", 2, "say which schedule of etl/daily: morning, noon"),
    ],
)
def test_a_name_that_is_not_known_gets_the_nearest(service: Service, words: str, code: int, said: str) -> None:
    deployed(service, "morning", "noon")
    assert said in told(*words.split(), code=code)


def test_explain_says_why_an_order_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANABRANCH_HOME", str(tmp_path))
    service = serving.opened(settings.load())
    try:
        deployed(service)
        run = service.orders.add([NewOrder("etl/daily")])[0].run
        service.claims.join(Agent("a1", "node-7", labels=("x86",)))
        why = "1 agent of pool default, and none has label gpu"
        assert told("explain", run).endswith(f"it waits: {why}\n")
        assert json.loads(told("explain", run, "--json"))["waits"] == why
        service.orders.cancel(run)
        assert "it waits" not in told("explain", run)
    finally:
        service.close()
