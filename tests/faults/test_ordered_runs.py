"""Drivers of orders as processes: killed, told to end, too late; the record, the order and the next driver agree."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import serving
from anabranch.core.deployments import DeploymentRow
from anabranch.core.orders import Agent, Hold, NewOrder, OrderState
from anabranch.records.sqlite import SqliteRecords
from anabranch.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from anabranch.core.deployments import Recover
    from anabranch.core.orders import Claim
    from anabranch.core.runs import FlowRunRow

pytestmark = pytest.mark.sampled(5, "each starts drivers of an order")
WAIT = 60.0
FLOWS = """
import time
from pathlib import Path
from anabranch import ProcessRunner, flow, task

Path("loaded").touch()

@task(chunk=1)
def gated(x):
    with open("began", "a") as file:
        file.write(f"{x}\\n")
    while x >= 2 and not Path("open").exists():
        time.sleep(0.01)
    return 2 * x

@flow(runner=ProcessRunner(max_workers=2))  # a cancel ends its items, which on threads it could not
def doubled(count):
    return gated.map(range(count))
"""


class Desk:
    """A record with one deployment, its agent, and drivers as an agent would start them."""

    def __init__(self, folder: Path, recover: Recover = "resume") -> None:
        self.folder = folder
        home = folder / "home"
        self.environment = {**os.environ, "ANABRANCH_HOME": str(home), "ANABRANCH_SHUTDOWN_GRACE": "0"}
        self.environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        (folder / "flows.py").write_text(FLOWS)
        self.settings = Settings(home=home)
        self.records = SqliteRecords(self.settings.records_place)
        self.service = serving.opened(self.settings)
        document = {"entrypoint": "flows.py:doubled", "path": str(folder), "parameters": {"count": 4}}
        self.deployment = self.service.deployments.apply(
            DeploymentRow("", "doubled", "daily", recover=recover, document=document)
        )
        self.agent = self.service.claims.join(Agent("", "tester", capacity=1))
        self.run = self.service.orders.add([NewOrder("doubled/daily", tags=("mine",))])[0].run

    def claim(self) -> Claim:
        [claim] = self.service.claims.claim(self.agent.id, 1)
        return claim

    @contextmanager
    def driver(self, token: int) -> Iterator[subprocess.Popen[str]]:
        words = [sys.executable, "-P", "-m", "anabranch", "drive", self.run, "--token", str(token)]
        started = subprocess.Popen(
            words, cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            yield started
        finally:
            if started.poll() is None:
                started.kill()
            started.communicate()

    def command(self, *words: str) -> str:
        run = [sys.executable, "-P", "-m", "anabranch", *words]
        return subprocess.run(run, env=self.environment, capture_output=True, text=True, check=True).stdout

    def began(self) -> list[str]:
        file = self.folder / "began"
        return sorted(file.read_text().split()) if file.exists() else []

    def until(self, holds: Callable[[], Any], driver: subprocess.Popen[str]) -> None:
        end = time.monotonic() + WAIT
        while not holds():
            ended = driver.poll() is not None
            assert not ended or holds(), driver.stderr.read() if driver.stderr else ""
            assert time.monotonic() < end, "it did not come to pass"
            time.sleep(0.02)

    def half_way(self, driver: subprocess.Popen[str]) -> None:
        """Wait until two items have ended, in the record too, and two are held at the gate."""
        self.until(lambda: self.began() == ["0", "1", "2", "3"], driver)
        self.until(lambda: self.completed() == 2, driver)

    def completed(self) -> int:
        return sum(
            view.state == "Completed"
            for map in self.records.maps(self.run)
            if not map.superseded
            for view in self.records.items(map.id)
        )

    def open(self) -> None:
        (self.folder / "open").touch()

    def row(self) -> FlowRunRow:
        found = self.records.flow_run(self.run)
        assert found is not None
        return found

    def stands(self) -> tuple[str, OrderState]:
        order = self.service.orders.find(self.run)
        assert order is not None
        return self.row().state_name, order.state

    def close(self) -> None:
        self.records.close()
        self.service.close()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.close()


def test_a_killed_driver_is_followed_by_one_that_repeats_no_finished_item(desk: Desk) -> None:
    first = desk.claim()
    with desk.driver(first.order.token) as driver:
        desk.half_way(driver)
        driver.kill()
        driver.wait(WAIT)
    assert desk.records.mark_dead() == []  # it is not for any program to end
    heard = desk.service.claims.beat(
        desk.agent.id, [Hold(desk.run, first.order.token, phase="ended", reason="killed", code=-9)]
    )
    assert heard.launch == []
    assert desk.stands() == ("Scheduled", OrderState.WAITING)
    desk.service.claims.leave(desk.agent.id)
    second = claimed_again(desk)
    assert second.order.token > first.order.token
    desk.open()
    with desk.driver(first.order.token) as late:  # started twice, or late: nothing of the user's is loaded
        (desk.folder / "loaded").unlink()
        _, told = late.communicate(timeout=WAIT)
        assert (late.returncode, "was claimed again" in told) == (0, True), told
        assert not (desk.folder / "loaded").exists()
    with desk.driver(second.order.token) as driver:
        _, told = driver.communicate(timeout=WAIT)
        assert driver.returncode == 0, told
    assert desk.stands() == ("Completed", OrderState.DONE)
    assert desk.began() == ["0", "1", "2", "2", "3", "3"]
    assert set(desk.row().tags) == {"mine"}


def claimed_again(desk: Desk) -> Claim:
    """Claim an order that is to wait a while before its next driver: here it need not."""
    with desk.records.database.opened() as db, desk.records.database.transaction(db):
        db.execute("UPDATE orders SET due = 1")
    desk.agent = desk.service.claims.join(Agent("", "tester again", capacity=1))
    return desk.claim()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_driver_that_is_told_to_end_ends_the_order(desk: Desk, number: signal.Signals, code: int) -> None:
    with desk.driver(desk.claim().order.token) as driver:
        desk.half_way(driver)
        driver.send_signal(number)
        desk.until(lambda: desk.row().state_name == "Cancelled", driver)
        desk.open()
        _, told = driver.communicate(timeout=WAIT)
    assert driver.returncode == code, told
    assert desk.stands() == ("Cancelled", OrderState.DONE)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_driver_that_is_told_to_end_while_its_flow_loads_ends_the_order(
    desk: Desk, number: signal.Signals, code: int
) -> None:
    (desk.folder / "flows.py").write_text(f"open('loads', 'w').close()\nimport time\ntime.sleep({2 * WAIT})\n" + FLOWS)
    with desk.driver(desk.claim().order.token) as driver:
        desk.until((desk.folder / "loads").exists, driver)
        driver.send_signal(number)
        _, told = driver.communicate(timeout=WAIT)
    assert driver.returncode == code, told
    assert desk.stands() == ("Cancelled", OrderState.DONE)
    assert desk.began() == []


def test_a_driver_hears_of_a_cancel(desk: Desk) -> None:
    with desk.driver(desk.claim().order.token) as driver:
        desk.half_way(driver)
        assert "is cancelled" in desk.command("run", "cancel", desk.run)
        desk.until(lambda: desk.row().state_name == "Cancelled", driver)
        desk.open()
        _, told = driver.communicate(timeout=WAIT)
    assert driver.returncode == 1, told
    assert desk.stands() == ("Cancelled", OrderState.DONE)


def test_an_order_that_waits_is_cancelled_at_once(desk: Desk) -> None:
    assert "is cancelled" in desk.command("run", "cancel", desk.run)
    assert desk.stands() == ("Cancelled", OrderState.DONE)


def test_what_does_not_load_ends_as_failed_with_its_trace(desk: Desk) -> None:
    (desk.folder / "flows.py").write_text("import absent_library_of_nobody\n")
    with desk.driver(desk.claim().order.token) as driver:
        _, told = driver.communicate(timeout=WAIT)
    assert driver.returncode == 1
    assert "absent_library_of_nobody" in told
    assert desk.stands() == ("Failed", OrderState.DONE)
    assert "No module named 'absent_library_of_nobody'" in desk.row().message
