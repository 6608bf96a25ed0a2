"""Fault test 8: another process holds the record's write lock while a flow runs; the flow does not notice."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import TYPE_CHECKING

from anabranch import ThreadRunner, flow, task
from anabranch import session as sessions
from anabranch.records.sqlite import SqliteRecords
from anabranch.session import Session
from anabranch.settings import Settings
from tests.faults.workers import until

if TYPE_CHECKING:
    from pathlib import Path


ITEMS = 2_000
HOLDER = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
db.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.readline()
db.execute("COMMIT")
"""


ended: list[int] = []


@task
def double(x: int) -> int:
    ended.append(x)
    return 2 * x


@flow(runner=ThreadRunner(max_workers=2))
def doubles() -> int:
    return sum(double.map(range(ITEMS)).result())


def test_a_flow_runs_on_while_somebody_holds_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "records.db"
    SqliteRecords(path).close()
    before = sessions.use(mine := Session(Settings(home=tmp_path, progress=False)))
    try:
        with subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as holder:
            assert holder.stdout is not None
            assert holder.stdin is not None
            assert holder.stdout.readline() == "locked\n"
            released = threading.Event()

            def let_go() -> None:
                until(lambda: len(ended) == ITEMS)  # the items did not wait
                released.set()
                holder.stdin.close()

            release = threading.Thread(target=let_go)
            release.start()
            assert doubles() == 2 * sum(range(ITEMS))
            assert released.is_set()  # its end did: what it tells of is committed
            release.join()
            [run] = mine.records.flow_runs()
            assert run.state_name == "Completed"
            [map] = mine.records.maps(run.id)
            assert len(mine.records.items(map.id, limit=2 * ITEMS, states=["Completed"])) == ITEMS
    finally:
        sessions.use(before)
        mine.close()
