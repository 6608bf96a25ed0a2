"""`@task(concurrency_limit=...)`: how many runs of one task are really under way at once, counted where they run."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import ProcessRunner, ThreadRunner, flow, settings, task
from anabranch import session as sessions
from anabranch.records.memory import MemoryRecords

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SLOTS = 4
SOON = 30.0


@pytest.fixture(scope="module", params=["thread", "process"])
def roomy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[sessions.Session]:
    made = ThreadRunner(max_workers=SLOTS) if request.param == "thread" else ProcessRunner(max_workers=SLOTS)
    chosen = settings.load({}, home=tmp_path_factory.mktemp("home"), runner=made, progress=False)
    session = sessions.Session(chosen, records=MemoryRecords())
    yield session
    session.close()


@pytest.fixture
def wide(roomy: sessions.Session) -> Iterator[None]:
    """A session whose runner has room for more than any limit here."""
    before = sessions.use(roomy)
    yield
    sessions.use(before)


class Room:
    """Who is inside at once, as files in a folder: workers may be other processes."""

    def __init__(self, path: Path, wanted: int) -> None:
        self.path, self.wanted = str(path), wanted
        os.mkdir(path)

    def visit(self, who: object) -> int:
        """Stay until as many as are wanted were there together, or came and went; how many were seen at once."""
        mine = os.path.join(self.path, f"in-{who}")
        open(mine, "w").close()
        most, deadline = 0, time.monotonic() + SOON
        while not self.met and time.monotonic() < deadline:
            most = max(most, self.inside())
            if most >= self.wanted:
                open(os.path.join(self.path, "met"), "w").close()
            time.sleep(0.002)
        most = max(most, self.inside())
        os.unlink(mine)
        return most

    @property
    def met(self) -> bool:
        return os.path.exists(os.path.join(self.path, "met"))

    def inside(self) -> int:
        return sum(name.startswith("in-") for name in os.listdir(self.path))


@pytest.mark.parametrize("limit", [1, 2, None])
@pytest.mark.parametrize("how", ["map", "submit"])
def test_so_many_run_at_once_and_no_more(wide: None, tmp_path: Path, limit: int | None, how: str) -> None:
    """They wait for each other until the limit is reached: were it lower in truth, they would wait in vain."""
    room = Room(tmp_path / "room", limit or SLOTS)

    @task(concurrency_limit=limit)
    def work(n: int) -> int:
        return room.visit(n)

    @flow
    def main() -> list[int]:
        if how == "map":
            return list(work.map(range(10), chunk=1).result())
        return [future.result() for future in [work.submit(n) for n in range(10)]]

    assert max(main()) == (limit or SLOTS)
    assert room.met


def test_a_limit_is_one_for_all_runs_of_the_task(wide: None, tmp_path: Path) -> None:
    """Those of two maps and of submits count together; another task's runs do not."""
    room = Room(tmp_path / "room", 2)
    outside = Room(tmp_path / "outside", 3)

    @task(concurrency_limit=2)
    def work(n: int) -> int:
        seen = room.visit(n)
        outside.visit(n)
        return seen

    @task
    def other(n: int) -> int:
        return outside.visit(n)

    @flow
    def main() -> tuple[list[int], list[int]]:
        mine = [work.map(range(3), chunk=1), work.map(range(10, 13), chunk=1)]
        single = [work.submit(n) for n in (20, 21)]
        others = other.map(range(30, 34), chunk=1)
        return [*mine[0].result(), *mine[1].result(), *(f.result() for f in single)], others.result()

    seen, others = main()
    assert max(seen) == 2
    assert max(others) >= 3, "who is not under the limit runs beside those who are"


def test_who_waits_for_a_place_takes_no_slot(wide: None, tmp_path: Path) -> None:
    gate = str(tmp_path / "gate")

    @task(concurrency_limit=1)
    def work(n: int) -> int:
        deadline = time.monotonic() + SOON
        while not os.path.exists(gate):
            assert time.monotonic() < deadline
            time.sleep(0.005)
        return n

    @task
    def other(n: int) -> int:
        return n

    @flow
    def main() -> Any:
        waiting = [work.submit(n) for n in range(2 * SLOTS)]
        try:
            assert other.map(range(SLOTS)).result() == list(range(SLOTS))
            assert not any(future.done() for future in waiting)
        finally:
            open(gate, "w").close()
        return waiting

    assert main() == list(range(2 * SLOTS))
