"""The lines of a run as they come: of a job's log, and of a run that was begun where it was typed."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from anabranch.cli.follow import new_lines, new_rows
from anabranch.core import states
from anabranch.core.runs import FlowRunRow, LogRow
from anabranch.records.sqlite import SqliteRecords

if TYPE_CHECKING:
    import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
FLOW = """
from anabranch import flow, get_run_logger

@flow(runner="inline", log_prints=True)
def gated(gate: str):
    print("before")
    get_run_logger().debug("a detail")
    print(open(gate).read())
"""


def test_lines_of_a_log_come_whole_and_once(tmp_path: Path) -> None:
    log, lines = tmp_path / "log", new_lines(tmp_path)
    assert next(lines) == []  # there is none yet
    log.write_bytes(b"one\ntw")
    assert next(lines) == ["one"]
    with log.open("ab") as file:
        file.write(b"o \xc3")  # half of a letter
    assert next(lines) == []
    with log.open("ab") as file:
        file.write(b"\xbc\nthree\n")
    assert next(lines) == ["two ü", "three"]
    assert next(lines) == []


def test_rows_of_a_run_come_once_and_from_a_level_on(tmp_path: Path) -> None:
    row = FlowRunRow("run", "etl", "calm-otter", states.RUNNING)
    with SqliteRecords(tmp_path / "records.db") as records:
        lines = new_rows(records, row, 20)
        assert next(lines) == []
        for when, level in ((1.0, 10), (2.0, 20), (3.0, 30)):
            records.append([LogRow(when, level, "my", f"line {level}", "run")])
        records.flush()
        assert [line.rpartition(" - ")[2] for line in next(lines)] == ["line 20", "line 30"]
        assert next(lines) == []
        records.append([LogRow(4.0, 40, "my", "line 40", "run"), LogRow(4.0, 40, "my", "another", "other")])
        records.flush()
        assert [line.rpartition(" - ")[2] for line in next(lines)] == ["line 40"]


def test_a_run_without_a_job_is_followed_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in os.environ if n.startswith("ANABRANCH_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ANABRANCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    (tmp_path / "flows.py").write_text(FLOW)
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    main = [sys.executable, "-P", "-m", "anabranch"]
    words = [*main, "run", str(tmp_path / "flows.py"), "-p", f"gate={gate}"]
    with (
        subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as running,
        ExitStack() as stack,
    ):
        stack.callback(running.kill)  # else a failure here would wait for its end
        assert running.stderr is not None
        assert any("before" in line for line in running.stderr)  # it runs, and is in the record
        listed = subprocess.run([*main, "runs"], capture_output=True, text=True, check=True).stdout
        name = listed.splitlines()[1].split()[0]
        follow = [*main, "run", "logs", "-f", name, "--level", "INFO"]
        with subprocess.Popen(follow, stdout=subprocess.PIPE, text=True) as follower:
            stack.callback(follower.kill)
            assert follower.stdout is not None
            assert any("before" in line for line in follower.stdout)
            gate.write_text("after")
            running.stderr.read()
            rest = follower.stdout.read()
            assert "after" in rest
            assert "a detail" not in rest
            assert follower.wait(50) == 0
