"""Fault test 13: of 100,000 items 5 % fail every time, with two retries each; counts are exact, memory stays flat."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import flow, task
from anabranch import session as sessions
from anabranch.records.sqlite import SqliteRecords
from anabranch.session import Session
from anabranch.settings import Settings
from tests.faults.resumed_driver import RUNNERS

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.sampled(4, "100,000 failures")
ITEMS, EVERY, RETRIES = 100_000, 20, 2
NIGHT = pytest.mark.nightly("what is counted and shown lives in the driver")
MOST = 200 << 20  # bytes that the driver may grow by
needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="there is no /proc here")


def resident() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) << 10
    raise AssertionError("no VmRSS")


@pytest.fixture
def recorded(tmp_path: Path) -> Iterator[Session]:
    """A session with a real record, which the suite's own has not."""
    settings = Settings(home=tmp_path, progress=False, log_level="CRITICAL")
    mine = Session(settings, records=SqliteRecords(tmp_path / "records.db"))
    before = sessions.use(mine)
    yield mine
    mine.close()
    sessions.use(before)


@task(retries=RETRIES)
def shaky(x: int) -> int:
    if x % EVERY == 0:
        raise ValueError("every twentieth") if x % (2 * EVERY) else KeyError("every fortieth")
    return x


@needs_proc
@pytest.mark.parametrize(
    "kind",
    [
        "thread",
        "process",
        pytest.param("dask", marks=[pytest.mark.dask, NIGHT]),
        pytest.param("ray", marks=[pytest.mark.ray, pytest.mark.timeout(240), NIGHT]),
    ],
)
def test_failures_are_counted_exactly_and_shown_in_groups(recorded: Session, kind: str) -> None:
    runner: Any = RUNNERS[kind]()
    found: dict[str, Any] = {}

    @flow(runner=runner)
    def main() -> str:
        shaky.map([1, 2, 3]).wait()
        before = resident()
        futures = shaky.map(range(ITEMS))
        futures.wait()
        found["grown"] = resident() - before
        found["failed"] = futures.failed()
        found["attempts"] = {futures._map.attempt(i) for i in found["failed"]}
        found["sum"] = sum(futures.result(raise_on_failure=False)[1::EVERY])
        return "looked at"

    state = main(return_state=True)
    assert found["failed"] == list(range(0, ITEMS, EVERY))
    assert found["attempts"] == {1 + RETRIES}
    assert found["sum"] == sum(range(1, ITEMS, EVERY))
    assert found["grown"] <= MOST, f"the driver grew by {found['grown'] >> 20} MB"
    records = recorded.records
    (map,) = [row for row in records.maps(state.run_id) if row.length == ITEMS]
    failed = ITEMS // EVERY
    assert map.counts == {"Completed": ITEMS - failed, "Failed": failed}
    groups = records.failures(state.run_id)
    assert [(kind, count, first) for _, kind, _, count, first in groups] == [
        ("KeyError", failed // 2, 0), ("ValueError", failed // 2, EVERY)
    ]  # fmt: skip
    views = records.items(map.id, limit=ITEMS)
    assert sum(view.state == "Completed" and view.attempt == 1 for view in views) == ITEMS - failed
    assert sum(view.state == "Failed" and view.attempt == 1 + RETRIES for view in views) == failed
    print(f"{kind}: the driver grew by {found['grown'] >> 20} MB")
