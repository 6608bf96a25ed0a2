"""`serve` on a bare file: a script becomes a schedule, and its runs end with it."""

from __future__ import annotations

import signal
import sys
import time
from typing import TYPE_CHECKING

import pytest

from anabranch.core import states
from anabranch.core.orders import NewOrder, OrderState
from tests.acceptance.serving_program import TICK, Program

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.timeout(200), pytest.mark.sampled(3, "programs and agents for each")]
UNGUARDED = """
import anabranch
from pathlib import Path

@anabranch.flow
def once(x: int):
    return x

@anabranch.flow(log_prints=True)
def waits(folder: str):
    import time
    print("waiting")
    (Path(folder) / "begun").touch()
    while True:
        time.sleep(0.02)

anabranch.serve(once.to_deployment("a"), waits.to_deployment("b"), limit=2)
"""


PREFECTS = """
from prefect import flow, serve
from prefect.schedules import Interval

@flow(log_prints=True)
def tick(word: str = "tock"):
    print("said", word)

if __name__ == "__main__":
    serve(tick.to_deployment("prefects", schedule=Interval(1), parameters={"word": "tick"}), limit=2)
"""


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    one = Program(tmp_path)
    yield one
    one.close()


@pytest.mark.parametrize("place", ["a file", "postgres", "a server"])
def test_a_script_becomes_a_schedule_and_ends_well(place: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """The first slice: three runs of an interval, then SIGTERM, and nothing is left open."""
    fixtures = {"postgres": "postgres_address", "a server": "address"}
    records = request.getfixturevalue(fixtures[place]) if place in fixtures else ""
    program = Program(tmp_path, records)
    try:
        program.start(TICK)
        program.until(lambda: len(program.runs("Completed")) >= 3)
        assert program.end(signal.SIGTERM) == 0
        assert program.open() == []
        assert {row.state_name for row in program.runs()} <= {"Completed", "Cancelled"}
        assert "tick/every-second: next run at" in program.out
        assert "said tick" in program.out
        due = [order.due for order in program.service.orders.all(open=False)]
        assert len(set(due)) == len(due), "every tick one run"
        [schedule] = program.service.schedules.all("tick/every-second")
        assert not schedule.active, "nobody serves it"
    finally:
        program.close()


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """The address of a server, a process of its own."""
    (tmp_path / "server").mkdir()
    server = Program(tmp_path / "server")
    server.command(sys.executable, "-m", "anabranch", "server", "start", "--port", "0")
    server.until(lambda: " at http://" in server.out)
    yield server.out.partition(" at ")[2].split()[0]
    server.end(signal.SIGTERM)


def test_a_program_of_prefect_is_served_as_it_is_written(program: Program) -> None:
    (program.folder / "script.py").write_text(PREFECTS)
    program.command(sys.executable, "-m", "anabranch.compat", "prefect", "script.py")
    assert program.service
    program.until(lambda: len(program.runs("Completed")) >= 2)
    assert program.end(signal.SIGTERM) == 0
    assert program.open() == []
    assert "said tick" in program.out


def test_ctrl_c_is_told_by_the_exit_code_and_the_next_serve_goes_on(program: Program) -> None:
    program.start(TICK)
    program.until(lambda: program.runs("Completed"))
    assert program.end(signal.SIGINT) == 130
    before = len(program.runs("Completed"))
    program.start(TICK)
    program.until(lambda: len(program.runs("Completed")) > before)
    [schedule] = program.service.schedules.all("tick/every-second")
    assert schedule.active
    assert program.end(signal.SIGTERM) == 0
    assert program.open() == []


def test_a_run_is_asked_for_and_one_that_runs_ends_with_its_program(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the script has no `if __name__ == "__main__"`: its drivers import it, and serve nothing."""
    monkeypatch.setenv("ANABRANCH_SHUTDOWN_GRACE", "1")  # the run that waits never ends by itself
    program.start(UNGUARDED)
    orders = program.service.orders
    [asked] = orders.add([NewOrder("once/a", parameters={"x": 7})])
    program.until(lambda: program.records.flow_run(asked.run).state_name == "Completed")  # type: ignore[union-attr]
    [waits] = orders.add([NewOrder("waits/b", parameters={"folder": str(tmp_path)})])
    program.until((tmp_path / "begun").exists)
    program.until(lambda: "waiting" in program.out)
    assert program.end(signal.SIGTERM) == 0
    row = program.records.flow_run(waits.run)
    assert row is not None
    assert states.is_final(row.state), row
    assert program.open() == []


def test_a_run_that_waits_for_its_agent_stays_when_nobody_scheduled_it(program: Program) -> None:
    program.start(UNGUARDED)
    [later] = program.service.orders.add([NewOrder("once/a", parameters={"x": 7}, due=time.time() + 3600)])
    assert program.end(signal.SIGTERM) == 0
    found = program.service.orders.find(later.run)
    assert found is not None
    assert found.state is OrderState.WAITING


def test_a_flow_is_served_from_the_command_line(program: Program) -> None:
    (program.folder / "flows.py").write_text(TICK)
    program.command(sys.executable, "-m", "anabranch", "serve", "flows.py:tick", "--interval", "1s", "-p", "word=hi")
    program.until(lambda: program.runs("Completed"))
    program.until(lambda: "said hi" in program.out)
    assert program.end(signal.SIGTERM) == 0
    assert program.open() == []
