"""`@task(concurrency_limit=...)`: how many runs of one task are really under way at once, counted where they run."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import ProcessRunner, flow, task
from tests.acceptance.gates import SOON, Gate
from tests.acceptance.sessions import made, over, placed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from anabranch.session import Session

SLOTS = {"thread": 4, "process": 4, "dask": 2, "ray": 2}


@pytest.fixture(scope="module")
def four_processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    with made(ProcessRunner(max_workers=SLOTS["process"]), tmp_path_factory.mktemp("home")) as session:
        yield session


@pytest.fixture(params=over(*SLOTS))
def slots(request: pytest.FixtureRequest, pool: Callable[[str], Session]) -> Iterator[int]:
    """How much room the runner has, of which each limit here takes a part."""
    kind = request.param
    session = request.getfixturevalue("four_processes") if kind == "process" else pool(kind)
    with placed(session):
        yield SLOTS[kind]


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

    def stay(self, who: object, gate: Gate) -> None:
        """Stay until the gate is open."""
        mine = os.path.join(self.path, f"in-{who}")
        open(mine, "w").close()
        gate.pass_through()
        os.unlink(mine)

    @property
    def met(self) -> bool:
        return os.path.exists(os.path.join(self.path, "met"))

    def inside(self) -> int:
        return sum(name.startswith("in-") for name in os.listdir(self.path))


@pytest.mark.parametrize("limit", [1, 2, None])
@pytest.mark.parametrize("how", ["map", "submit"])
def test_so_many_run_at_once_and_no_more(slots: int, tmp_path: Path, limit: int | None, how: str) -> None:
    """They wait for each other until the limit is reached: were it lower in truth, they would wait in vain."""
    room = Room(tmp_path / "room", limit or slots)

    @task(concurrency_limit=limit)
    def work(n: int) -> int:
        return room.visit(n)

    @flow
    def main() -> list[int]:
        if how == "map":
            return list(work.map(range(10), chunk=1).result())
        return [future.result() for future in [work.submit(n) for n in range(10)]]

    assert max(main()) == (limit or slots)
    assert room.met


def test_a_limit_is_one_for_all_runs_of_the_task(slots: int, tmp_path: Path) -> None:
    """Those of two maps and of submits count together; another task's runs do not."""
    limit = slots // 2
    room = Room(tmp_path / "room", limit)
    outside = Room(tmp_path / "outside", limit + 1)

    @task(concurrency_limit=limit)
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
    assert max(seen) == limit
    assert max(others) >= limit + 1, "who is not under the limit runs beside those who are"


@pytest.mark.parametrize("how", ["map", "submit"])
def test_who_waits_for_a_place_takes_no_slot(
    slots: int, tmp_path: Path, gates: Callable[[str], Gate], how: str
) -> None:
    """One slot stays free of them, however many there are; and while they stay, no other one of them begins."""
    gate, room, limit = gates("go on"), Room(tmp_path / "room", 0), slots - 1

    @task(concurrency_limit=limit)
    def work(n: int) -> int:
        room.stay(n, gate)
        return n

    @task
    def other(n: int) -> int:
        return n

    found: list[int] = []

    @flow
    def main() -> Any:
        count = 2 * slots
        waiting = work.map(range(count), chunk=1) if how == "map" else [work.submit(n) for n in range(count)]
        try:
            assert other.map(range(slots), chunk=1).result(timeout=SOON) == list(range(slots))
            found.append(room.inside())
            assert not any(future.done() for future in waiting)
        finally:
            gate.open()
        return waiting

    assert main() == list(range(2 * slots))
    assert found[0] <= limit
