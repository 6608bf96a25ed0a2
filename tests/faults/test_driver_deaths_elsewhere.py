"""A driver killed with -9 whose records lie on a server, or in a folder that machines share: another one goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from anabranch.records import open_records

pytestmark = pytest.mark.sampled(2, "each has two drivers")
SCRIPT = Path(__file__).with_name("resumed_driver.py")
MAIN = "from anabranch.cli import main; main()"
ITEMS = 4_000
WAIT = 60.0


@pytest.mark.parametrize("kind", ["union", pytest.param("postgres", marks=pytest.mark.postgres)])
def test_a_driver_killed_in_the_middle_is_followed_by_another(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, ran = tmp_path / "home", tmp_path / "ran"
    where, shared = str(home / "records.db"), "true"
    if kind == "postgres":
        where, shared = request.getfixturevalue("postgres_address"), "auto"
    settings = {"HOME": str(home), "RECORDS": where, "RECORDS_SHARED": shared, "LOG_LEVEL": "ERROR", "PROGRESS": "0"}
    for name, value in settings.items():
        monkeypatch.setenv(f"ANABRANCH_{name}", value)
    ran.touch()
    last = tmp_path / f"ran.hold-{ITEMS - 1}"
    last.touch()
    script = [sys.executable, str(SCRIPT), "thread", str(ITEMS), "0.001", str(ran)]
    with subprocess.Popen(script, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        run = first.stdout.readline().strip()
        deadline = time.monotonic() + WAIT
        while ran.read_bytes().count(b"\n") < ITEMS // 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.kill(first.pid, signal.SIGKILL)
    last.unlink()
    with open_records(where, shared=shared) as records:
        (id,) = records.mark_dead()
        (map,) = [row for row in records.maps(id) if row.kind == "map"]
        recorded = {item for row in records.stored(map.id) for item in row.items}
    assert recorded
    second = subprocess.run([*script, run], stdout=subprocess.PIPE, text=True, timeout=WAIT, check=True)
    assert second.stdout.split()[-1] == str(3 * sum(range(ITEMS)))
    noted = Counter(int(line) for line in ran.read_text().split())
    assert set(noted) == set(range(ITEMS))
    assert not [item for item in recorded if noted[item] > 1]
    [row] = json.loads(subprocess.check_output([sys.executable, "-c", MAIN, "runs", "--json"], text=True))["runs"]
    assert (row["id"], row["state"], row["attempt"], row["token"]) == (id, "Completed", 2, 1)
    with open_records(where, shared=shared) as records:
        assert len(records.items(map.id, limit=2 * ITEMS, states=["Completed"])) == ITEMS
        assert [t.state_name for t in records.transitions(id) if t.state_name in ("Crashed", "Completed")] == [
            "Crashed", "Completed",
        ]  # fmt: skip
        assert records.check() == []
