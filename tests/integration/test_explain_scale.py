"""A recorded run of many items is explained at once: in this process and by the command."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from anabranch.diagnosis import from_record
from anabranch.records.sqlite import SqliteRecords
from benchmarks.subjects.explain import COMMAND, fill, least

REPOSITORY = Path(__file__).resolve().parents[2]
MANY = [100_000, pytest.param(1_000_000, marks=pytest.mark.nightly("it takes half a minute to write them"))]
SLOWER = 8  # than the bars: machines that tests run on may be busy


@pytest.fixture(scope="module", params=MANY)
def items(request: pytest.FixtureRequest) -> int:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def home(items: int, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many")
    records = SqliteRecords(folder / "records.db")
    fill(records, items)
    records.close()
    return folder


def test_many_items_in_this_process(home: Path, items: int) -> None:
    records = SqliteRecords(home / "records.db")
    try:
        found = from_record.explain(records, "run-1")
        groups = {(g.state, g.reason): (g.count, g.index) for g in found.groups}
        assert groups == {("Failed", "budget/user"): (items // 40, 20), ("Completed", "budget/user"): (items // 40, 0)}
        one = from_record.explain(records, "run-1", f"load[{items - 20}]")
        assert one.sentence == f"attempt 1 ended with ValueError: row {items - 20} is bad; it has no retries"
        run_ms = least(3, lambda: from_record.explain(records, "run-1"))
        item_ms = least(3, lambda: from_record.explain(records, "run-1", f"load[{items - 20}]"))
        print(f"explain of a run of {items}: {run_ms:.0f} ms, of one of its items: {item_ms:.0f} ms")
        assert run_ms < 200 * SLOWER
        assert item_ms < 200 * SLOWER
    finally:
        records.close()


def test_many_items_by_the_command(home: Path, items: int) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANABRANCH_")}
    environ = {**kept, "ANABRANCH_HOME": str(home), "PYTHONPATH": str(REPOSITORY)}
    shown: list[str] = []

    def ask() -> None:
        done = subprocess.run(COMMAND, env=environ, capture_output=True, text=True, timeout=60, check=True)
        shown.append(done.stdout)

    command_ms = least(3, ask)
    assert [group["count"] for group in json.loads(shown[0])["groups"]] == [items // 40] * 2
    print(f"`anabranch explain` of a run of {items}: {command_ms:.0f} ms")
    assert command_ms < 500 * SLOWER
