"""Failed items of real runs are explained and called again from what their workers stored, on every runner."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from anabranch import context, explain, flow, replay, task
from anabranch import session as sessions
from tests.acceptance.sessions import over

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass
class Row:
    n: int


def failed_run(work: Any) -> str:
    state = work(return_state=True)
    assert state.is_failed()
    run: str = state.run_id
    return run


def test_failed_items_of_a_map_and_of_submits(runner: str, tmp_path: Path) -> None:
    mended = tmp_path / "mended"

    @task
    def load(row: Row, base: int, scale: int = 1) -> int:
        if row.n % 3 == 2 and not mended.exists():
            raise ValueError(f"{row.n} cannot be had")
        return base + row.n * scale

    @task
    def next_one(x: int) -> int:
        return x + 1

    @task
    def last(x: int) -> int:
        if mended.exists():
            return -x
        raise KeyError(x)

    @flow(resumable=True)
    def main() -> None:
        rows = load.map([Row(n) for n in range(9)], base=100)
        next_one.map(rows)
        load.submit(Row(11), 1000, scale=2)
        last.submit(next_one.submit(next_one.submit(1)))  # travels behind what it reads
        last.submit(x=7)

    run = failed_run(main)
    groups = sorted((g.task, g.reason, g.count) for g in explain(run).groups)
    assert groups == [
        ("last", "budget/user", 2), ("load", "budget/user", 1), ("load", "budget/user", 3), ("next_one", "upstream", 3)
    ]  # fmt: skip
    assert explain(run, "next_one#1[2]").details["upstream"] == "load[2]"
    assert "ValueError: 5 cannot be had" in explain(run, "load#1[5]").sentence
    for index in (2, 5, 8):
        with pytest.raises(ValueError, match=f"{index} cannot be had"):
            replay(run, f"load#1[{index}]")
    with pytest.raises(ValueError, match="11 cannot be had"):
        replay(run, "load#2", 0)
    mended.touch()
    assert replay(run, "load#1", 5) == 105
    assert replay(run, "load#2[0]") == 1022
    assert replay(run, "last", 0) == -3
    assert replay(run, "last", 1) == -7
    records = sessions.current().records
    row = records.flow_run(run)
    assert row is not None
    assert row.state_name == "Failed"  # nothing of a replay is recorded


def test_items_that_were_stopped_at_their_time(beside: str, tmp_path: Path) -> None:
    """The inline runner stops nobody: it looks at the time of an item when that has ended."""
    mended = tmp_path / "mended"

    @task
    def one_more(x: int) -> int:
        return x + 1

    @task(timeout_seconds=0.5)
    def slow(x: int, y: int, plus: int = 0) -> int:
        while x == 3 and not mended.exists():
            threading.Event().wait(0.05)
        return x * y + plus

    @flow(resumable=True)
    def main() -> None:
        slow.map(one_more.map(range(4)), range(10, 14), plus=1000)
        slow.submit(one_more.submit(2), 5)

    run = failed_run(main)
    for which in ("slow#1[2]", "slow#2[0]"):
        assert explain(run, which).reason == "timeout"
        assert explain(run, which).details == {"spent": 0, "of": 0, "seconds": 0.5}
    mended.touch()
    assert replay(run, "slow#1[2]") == 1036
    assert replay(run, "slow#2[0]") == 15


def test_an_item_that_kills_its_workers(apart: str, tmp_path: Path) -> None:
    mended = tmp_path / "mended"

    @task(crash_retries=2)
    def deadly(x: int, base: int) -> int:
        if x == 3 and not mended.exists():
            os._exit(3)
        return base + x

    @flow(resumable=True)
    def main() -> None:
        deadly.map(range(6), base=100)

    run = failed_run(main)
    found = explain(run, "deadly[3]")
    assert (found.reason, found.details) == ("poison", {"cause": "worker-lost", "spent": 2})
    mended.touch()
    assert replay(run, "deadly[3]") == 103


FLOW = '''
import asyncio
from dataclasses import dataclass
from anabranch import flow, task

@dataclass
class Row:
    n: int

@task(retries=1)
def load(row, plus):
    assert isinstance(row, Row)
    if row.n == 17:
        raise ValueError(f"row {row.n} is bad")
    return row.n + plus

@flow
def main():
    load.map([Row(n) for n in range(100)], plus=1)
'''


@pytest.mark.timeout(600)  # a dozen programs, each with a cluster or an interpreter to start
@pytest.mark.parametrize("kind", over("thread", "process", "dask", "ray"))
def test_a_flow_from_a_file_days_later(tmp_path: Path, kind: str) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANABRANCH_")}
    environ = {**kept, "ANABRANCH_HOME": str(tmp_path / "home"), "PYTHONPATH": str(REPOSITORY)}
    file = tmp_path / "code" / "nightly.py"
    file.parent.mkdir()
    file.write_text(FLOW)

    def command(*args: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        main = [sys.executable, "-c", "from anabranch.cli import main; main()", *args]
        done = subprocess.run(main, env=environ, capture_output=True, text=True, timeout=300, cwd=tmp_path)
        assert done.returncode == code, done.stdout + done.stderr
        return done

    command("run", str(file), "--runner", kind, code=1)
    [run] = json.loads(command("runs", "--json").stdout)["runs"]
    shown = json.loads(command("explain", run["id"], "load[17]", "--json").stdout)
    [group] = shown["groups"]
    assert (group["reason"], group["attempt"], group["details"]) == ("budget/user", 2, {"spent": 1, "of": 1})
    assert "load[17]: Failed [budget/user]" in command("explain", run["id"]).stdout
    assert "Traceback" in (trace := command("replay", run["id"], "load[17]", code=1).stderr)
    assert "ValueError: row 17 is bad" in trace
    file.write_text(FLOW.replace("row.n == 17", "False"))
    assert command("replay", run["id"], "load[17]").stdout == "18\n"
    assert "row 17 is bad" in command("replay", run["id"], "load[17]", "--recorded", code=1).stderr
    there = file.rename(tmp_path / file.name)  # as on another machine: it is called from that folder
    done = command("replay", run["id"], "load[17]")
    assert done.stdout == "18\n"
    assert f"calling the task as it is in {there}" in done.stderr
    there.unlink()
    told = command("replay", run["id"], "load[17]", code=1).stderr
    if kind in ("thread", "process"):
        assert "have the modules that its values come from" in told
    else:  # what went to other machines, and what came of it, needs no module of this program
        assert "calling the task as it was recorded" in told
        assert "ValueError: row 17 is bad" in told


# -- a flow that completes although items failed ------------------------------------------------------------


@pytest.mark.parametrize("below", [False, True])
def test_what_failed_in_a_completed_run_is_replayed_and_run_again(runner: str, tmp_path: Path, below: bool) -> None:
    mended, ran = tmp_path / "mended", tmp_path / "ran"

    @task
    def load(n: int) -> int:
        with ran.open("a") as file:
            file.write(f"{n}\n")
        if n % 3 == 2 and not mended.exists():
            raise ValueError(f"{n} cannot be had")
        return n

    def loaded() -> tuple[str, list[int]]:
        rows = load.map(range(6))
        rows.wait()
        return context.flow_run().id, rows.failed()

    inner = flow(name="inner")(loaded)

    @flow(resumable=True)
    def main() -> tuple[str, list[int]]:
        return inner() if below else loaded()

    state = main(return_state=True)
    run, failed = state.result()
    assert (state.is_completed(), failed) == (True, [2, 5])
    mended.touch()
    assert replay(run, "load[2]") == 2
    if not below:
        ran.unlink()
        assert main.resume(run) == (run, [])
        assert sorted(ran.read_text().split()) == ["2", "5"]
