"""What the record has, as a Prometheus server reads it: `anabranch metrics`."""

from __future__ import annotations

import re
import subprocess
import urllib.request
from typing import TYPE_CHECKING

from anabranch.core import states
from anabranch.core.runs import FlowRunRow, MapRow
from anabranch.display import recorded_metrics
from anabranch.records.memory import MemoryRecords
from anabranch.records.sqlite import SqliteRecords
from tests.integration.commands import MAIN, alone, run

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

ROWS = [
    FlowRunRow("1", 'etl "x"', "a", states.COMPLETED, "Completed", created=1.0, started=2.0, ended=4.5, runner="dask"),
    FlowRunRow("2", 'etl "x"', "b", states.COMPLETED, "Completed", created=2.0, started=3.0, ended=4.0, runner="dask"),
    FlowRunRow("3", "load", "c", states.FAILED, "Failed", created=3.0, started=3.0, ended=4.0, runner="thread"),
    FlowRunRow("4", "load", "d", states.RUNNING, "Running", created=4.0, started=10.0, runner="thread"),
    FlowRunRow("5", "load", "e", states.RUNNING, "Running", created=5.0, started=40.0, runner="thread"),
    MapRow("m", "4", "read", "map", 5, counts={"Completed": 2, "Failed": 1}),
    MapRow("n", "5", "read", "map", 5, counts={"Completed": 3}),
    MapRow("o", "5", "read", "map", 5, counts={"Completed": 9}, superseded="n"),
    MapRow("p", "3", "read", "map", 5, counts={"Completed": 9}),
]


def values(text: str) -> dict[str, float]:
    """The samples, by name and labels."""
    lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return {name.removeprefix("anabranch_"): float(value) for name, _, value in lines}


def test_runs_are_counted_with_the_age_and_the_tasks_of_open_ones() -> None:
    records = MemoryRecords()
    records.append(ROWS)
    assert values(recorded_metrics.text(records, now=100.0)) == {
        'recorded_flow_runs{flow="etl \\"x\\"",state="Completed",runner="dask"}': 2,
        'recorded_flow_runs{flow="load",state="Failed",runner="thread"}': 1,
        'recorded_flow_runs{flow="load",state="Running",runner="thread"}': 2,
        'recorded_flow_run_seconds{flow="etl \\"x\\"",runner="dask"}': 3.5,
        'recorded_flow_run_seconds{flow="load",runner="thread"}': 1,
        'open_flow_run_age_seconds{flow="load",runner="thread"}': 90,
        'open_task_runs{task="read",state="Completed"}': 5,
        'open_task_runs{task="read",state="Failed"}': 1,
    }
    newest = values(recorded_metrics.text(records, now=100.0, newest=1))
    assert newest['recorded_flow_runs{flow="load",state="Running",runner="thread"}'] == 1


def test_a_program_prints_it_or_answers_at_a_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = alone(tmp_path, monkeypatch)
    assert run("metrics").stdout == ""  # there is no record yet, and none is made
    assert not (home / "records.db").exists()
    home.mkdir(exist_ok=True)
    with SqliteRecords(home / "records.db") as records:
        records.append(ROWS[:3])
    told = run("metrics").stdout
    assert values(told)['recorded_flow_runs{flow="load",state="Failed",runner="thread"}'] == 1
    serving = subprocess.Popen([*MAIN, "metrics", "--port", "0"], stderr=subprocess.PIPE, text=True)
    try:
        assert serving.stderr is not None
        address = serving.stderr.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/metrics", address)
        with urllib.request.urlopen(address, timeout=60) as answer:
            assert answer.read().decode() == told
    finally:
        serving.terminate()
        serving.communicate()
