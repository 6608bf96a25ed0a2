"""The same script as on a bare file, with `records` at a server: its schedule, its runs and their record are there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from anabranch import serving
from anabranch.core import states
from anabranch.records.sqlite import SqliteRecords
from anabranch.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[2]
WAIT = 100.0
pytestmark = pytest.mark.timeout(250)
SQUARES = """
from anabranch import flow, task

@task
def square(x):
    return x * x

@flow(log_prints=True)
def squares(n: int):
    print("sum", sum(square.map(range(n)).result()))

if __name__ == "__main__":
    squares.serve("every-second", interval=1, parameters={"n": 10})
"""


@contextmanager
def started(folder: Path, *words: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start a program in a folder, its output in the file `out` there; it is killed at the block's end."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ANABRANCH_")}
    environment = {**inherited, "PYTHONPATH": str(ROOT), "ANABRANCH_HOME": str(folder / "home"), **environment}
    folder.mkdir(exist_ok=True)
    with open(folder / "out", "ab") as out:
        process = subprocess.Popen([sys.executable, *words], cwd=folder, env=environment, stdout=out, stderr=out)
    try:
        yield process
    finally:
        process.kill()
        process.wait(WAIT)


def until(condition: Callable[[], object], *alive: subprocess.Popen[bytes], folder: Path) -> None:
    end = time.monotonic() + WAIT
    while not condition():
        said = "".join(out.read_text() for out in folder.glob("*/out"))
        assert time.monotonic() < end, said
        assert all(process.poll() is None for process in alive), said
        time.sleep(0.05)


def test_the_first_slice_against_a_server(tmp_path: Path) -> None:
    (tmp_path / "user").mkdir()
    (tmp_path / "user" / "script.py").write_text(SQUARES)
    home = tmp_path / "server" / "home"
    with started(tmp_path / "server", "-m", "anabranch", "server", "start", "--port", "0") as server:
        until((home / "server.json").exists, server, folder=tmp_path)
        address = json.loads((home / "server.json").read_text())["address"]
        with (
            started(tmp_path / "user", "script.py", ANABRANCH_RECORDS=address) as user,
            SqliteRecords(home / "records.db") as records,
        ):
            until(lambda: len(records.flow_runs(state="Completed")) >= 3, server, user, folder=tmp_path)
            user.send_signal(signal.SIGTERM)
            assert user.wait(WAIT) == 0
            runs = records.flow_runs(limit=200)
            assert [run for run in runs if not states.is_final(run.state)] == []
            for run in records.flow_runs(state="Completed"):
                assert [map.counts for map in records.maps(run.id)] == [{"Completed": 10}]
                assert "sum 285" in [line.message for line in records.logs(run.id)]
        service = serving.opened(Settings(home=home))
        try:
            assert service.orders.all() == []
            due = [order.due for order in service.orders.all(open=False)]
            assert len(set(due)) == len(due), "every tick one run"
        finally:
            service.close()
    assert not (tmp_path / "user" / "home" / "records.db").exists(), "the record is the server's"
