"""Drivers killed with -9: another one goes on; what was accepted stays, each item is accepted once."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from anabranch.core.states import COMPLETED
from anabranch.records.blocks import decode
from anabranch.records.sqlite import SqliteRecords

pytestmark = pytest.mark.sampled(5, "each has two drivers")
SCRIPT = Path(__file__).with_name("resumed_driver.py")
WAIT = 120.0
TURNS = pytest.mark.sampled(5, "two drivers, and an engine for each")
KINDS = [
    "thread",
    "process",
    pytest.param("dask", marks=[pytest.mark.dask, pytest.mark.timeout(180), TURNS]),
    pytest.param("ray", marks=[pytest.mark.ray, pytest.mark.timeout(240), TURNS]),
]


class Drivers:
    """Drivers of one run, one after another, with one record and one file of what ran."""

    def __init__(self, folder: Path, kind: str, items: int, seconds: float) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.ran = folder / "ran"
        self.ran.touch()
        self.arguments = [kind, str(items), str(seconds), str(self.ran)]
        self.run = ""
        self.last = folder / f"ran.hold-{items - 1}"  # while it is there, the last item does not end
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Begin the run, or go on with it."""
        env = {**os.environ, "ANABRANCH_HOME": str(self.folder / "home"), "ANABRANCH_LOG_LEVEL": "ERROR"}
        command = [sys.executable, str(SCRIPT), *self.arguments, *([self.run] if self.run else [])]
        self.process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True, start_new_session=True)
        assert self.process.stdout is not None
        name = self.process.stdout.readline().strip()
        assert name, "the driver did not begin"
        self.run = name

    def until(self, count: int) -> None:
        """Wait until so many items have run in all."""
        deadline = time.monotonic() + WAIT
        while self.ran.read_bytes().count(b"\n") < count:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def until_recorded(self) -> None:
        """Wait until something is recorded with its value: it will be, as the last item keeps the driver alive."""
        deadline = time.monotonic() + WAIT
        while not self.recorded():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def recorded(self) -> set[int]:
        """Items of the map that the record has with a value."""
        with SqliteRecords(self.folder / "home" / "records.db") as records:
            run = records.flow_run(self.run)
            assert run is not None
            maps = [row for row in records.maps(run.id) if row.kind == "map"]
            return {item for map in maps for row in records.stored(map.id) for item in row.items}

    def kill(self) -> None:
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.communicate()

    def finish(self) -> str:
        """Wait for the driver's end, and return what it printed."""
        assert self.process is not None
        out, _ = self.process.communicate(timeout=WAIT)
        assert self.process.returncode == 0
        return out.strip()

    def noted(self) -> Counter[int]:
        return Counter(int(line) for line in self.ran.read_text().split())

    def check_file(self) -> None:
        with closing(sqlite3.connect(self.folder / "home" / "records.db")) as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)

    def accepted(self) -> Counter[int]:
        return accepted(self.folder / "home" / "records.db")


def accepted(records: Path) -> Counter[int]:
    """How often the record has each item of its maps as completed, block by block."""
    found: Counter[int] = Counter()
    with closing(sqlite3.connect(records)) as db:
        query = "SELECT data FROM item_blocks JOIN maps ON maps.id = map WHERE kind = 'map'"
        for (data,) in db.execute(query):
            pack = decode(data)
            codes = pack.codes or bytes([COMPLETED]) * pack.count
            at = 0
            for first, count in zip(pack.firsts, pack.counts, strict=True):
                found.update(first + n for n in range(count) if codes[at + n] == COMPLETED)
                at += count
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_driver_killed_at_half_is_followed_by_another(tmp_path: Path, kind: str) -> None:
    """Fault test 2: 10,000 items; what was recorded does not run again."""
    items = 10_000
    drivers = Drivers(tmp_path, kind, items, 0.0)
    drivers.last.touch()
    drivers.start()
    drivers.until(items // 2)
    drivers.until_recorded()
    drivers.kill()
    drivers.last.unlink()
    drivers.check_file()
    with SqliteRecords(tmp_path / "home" / "records.db") as records:
        (run,) = records.mark_dead()
    recorded, begun = drivers.recorded(), drivers.noted()
    assert recorded
    drivers.start()
    assert drivers.finish() == str(3 * sum(range(items)))
    noted = drivers.noted()
    assert set(noted) == set(range(items))
    assert not [item for item in recorded if noted[item] > 1]
    if kind == "thread":  # its workers died with it; those of others may begin one more item after it
        assert noted == begun + Counter(set(range(items)) - recorded)
    assert drivers.accepted() == Counter(range(items))
    with SqliteRecords(tmp_path / "home" / "records.db") as records:
        row = records.flow_run(run)
    assert row is not None
    assert (row.state_name, row.attempt) == ("Completed", 2)


def test_a_driver_killed_as_soon_as_its_name_is_seen_is_followed_by_another(tmp_path: Path) -> None:
    """A run is in the record before its function begins: nobody sees a name that cannot be gone on with."""
    for n in range(5):
        drivers = Drivers(tmp_path / str(n), "thread", 100, 0.0)
        drivers.last.touch()
        drivers.start()
        drivers.kill()
        drivers.last.unlink()
        drivers.start()
        assert drivers.finish() == str(3 * sum(range(100)))


@pytest.mark.nightly("twenty starts of a driver on each runner; the other tests here kill one at half and at once")
@pytest.mark.parametrize("kind", ["process", "thread"])
def test_twenty_deaths_of_one_run(tmp_path: Path, kind: str) -> None:
    """Fault test 3: 5,000 items; whatever the moments, each is accepted once, and the record stays whole.

    DEATHS_SEED=N kills the drivers after the same times again.
    """
    seed = int(os.environ.get("DEATHS_SEED") or random.randrange(1 << 32))
    print(f"seed {seed}")
    rng = random.Random(seed)
    items = 5_000
    drivers = Drivers(tmp_path, kind, items, 0.004)
    for _ in range(20):
        drivers.start()
        time.sleep(rng.uniform(0.0, 0.6))  # any moment will do: nothing is waited for
        drivers.kill()
        drivers.check_file()
    drivers.start()
    assert drivers.finish() == str(3 * sum(range(items)))
    assert drivers.accepted() == Counter(range(items))
    assert set(drivers.noted()) == set(range(items))
