"""An agent's loop: what its state asks for is carried out beside each other, and an answer always comes."""

from __future__ import annotations

import errno
import threading
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.agents import holding
from anabranch.agents.job import OVER, Place
from anabranch.agents.loop import AgentLoop, discard
from anabranch.agents.state import AgentState
from anabranch.agents.words import End, NotEnded
from anabranch.core.deployments import DeploymentRow
from anabranch.core.errors import AccessError, LaunchError, RecordsError, ServiceError, UnreachableError
from anabranch.core.ids import Ids
from anabranch.core.launching import Phase, Reference, Sight
from anabranch.core.orders import Agent, Claim, Heard, Order
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from anabranch.core.launching import Job
    from anabranch.core.orders import Hold

DEADLINE = 30.0


class Claims:
    """Stands for the service's claims; `errors`: raised by the next calls of a method, one each."""

    def __init__(self) -> None:
        self.waiting: list[Claim] = []
        self.errors: dict[str, list[Exception]] = {}
        self.calls: list[str] = []
        self.holds: list[Sequence[Hold]] = []

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if self.errors.get(name):
            raise self.errors[name].pop(0)

    def join(self, agent: Agent) -> Agent:
        self._called("join")
        return agent

    def leave(self, agent: str) -> None:
        self._called("leave")

    def claim(self, agent: str, places: int, *, wait: float = 0.0) -> list[Claim]:
        self._called("claim")
        found, self.waiting = self.waiting[:places], self.waiting[places:]
        return found

    def beat(self, agent: str, holds: Sequence[Hold]) -> Heard:
        self._called("beat")
        self.holds.append(holds)
        return Heard()


class Service:
    def __init__(self) -> None:
        self.claims = Claims()


class FakeLauncher:
    """Starts nothing; a test says how jobs are seen."""

    kind = "process"

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self.sights: dict[str, Sight] = {}
        self.ended: list[tuple[str, str]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.errors: list[Exception] = []

    def render(self, job: Job) -> str:
        return ""

    def start(self, job: Job) -> Reference:
        assert self.gate.wait(DEADLINE)
        if self.errors:
            raise self.errors.pop()
        self.jobs.append(job)
        return Reference("process", job.name, job.name, str(job.folder))

    def look(self, references: Any) -> dict[Reference, Sight]:
        return {one: self.sights.get(one.name, Sight(Phase.RUNNING)) for one in references}

    def cancel(self, reference: Reference) -> None:
        self.ended.append(("cancel", reference.name))

    def kill(self, reference: Reference) -> None:
        self.ended.append(("kill", reference.name))
        self.sights[reference.name] = Sight(Phase.ENDED, "killed", -9)

    def logs(self, reference: Reference) -> Iterator[str]:
        return iter(())


class Running:
    """A loop in a thread."""

    def __init__(self, tmp_path: Path, **given: Any) -> None:
        self.service, self.launcher, self.told = Service(), FakeLauncher(), list[str]()
        state = AgentState(2, look=0.02, beat=0.05)
        place = Place(tmp_path, tmp_path)
        service: Any = self.service
        given.setdefault("tell", self.told.append)
        self.loop = AgentLoop(service, self.launcher, Agent("a", "a"), state, place, **given)
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self.loop.run()
        except BaseException as error:
            self.error = error

    def ended(self) -> bool:
        self.thread.join(DEADLINE)
        return not self.thread.is_alive()

    def phases(self) -> list[str]:
        return [hold.phase for hold in self.service.claims.holds[-1]] if self.service.claims.holds else []


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    one = Running(tmp_path)
    yield one
    one.launcher.gate.set()
    one.loop.stop()
    assert one.ended()


def claim() -> Claim:
    return Claim(Order(Ids().new(), "d", token=1), DeploymentRow("d", "flow", "d"), "calm-owl")


def test_a_claim_becomes_a_job_and_its_end_is_told(running: Running) -> None:
    one = claim()
    running.service.claims.waiting.append(one)
    running.thread.start()
    until(lambda: running.phases() == ["running"])
    (job,) = running.launcher.jobs
    assert job.name == f"{one.order.run}-1"
    running.launcher.sights[job.name] = Sight(Phase.ENDED, "exit 3", 3)
    until(lambda: running.phases() == ["ended"])
    until(lambda: running.phases() == [])
    running.loop.stop()
    assert running.ended()
    assert running.service.claims.calls[-1] == "leave"


def test_what_a_driver_left_is_sent_before_its_end_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holding, "_AGAIN", 0.01)
    errors: list[Exception] = [RecordsError("the record is locked"), UnreachableError("no answer")]
    sent: list[tuple[str, str]] = []

    def send(run: str, folder: Path) -> None:
        if errors:
            assert "ended" not in running.phases()
            raise errors.pop()
        sent.append((run, folder.name))

    running, one = Running(tmp_path, send=send), claim()
    (tmp_path / "jobs" / f"{one.order.run}-1").mkdir(parents=True)
    running.service.claims.waiting.append(one)
    running.thread.start()
    until(lambda: running.launcher.jobs)
    running.launcher.sights[f"{one.order.run}-1"] = Sight(Phase.ENDED, "exit 3", 3)
    until(lambda: any(hold.phase == "ended" for holds in running.service.claims.holds for hold in holds))
    assert sent == [(one.order.run, f"{one.order.run}-1")]
    assert errors == []
    assert len([text for text in running.told if "could not be sent" in text]) == 2
    until((tmp_path / "jobs" / f"{one.order.run}-1" / OVER).exists)
    running.loop.stop()
    assert running.ended()


def test_a_slow_launcher_delays_no_beat(running: Running) -> None:
    running.launcher.gate.clear()
    running.service.claims.waiting.append(claim())
    running.thread.start()
    until(lambda: running.phases() == [""])
    beats = len(running.service.claims.holds)
    until(lambda: len(running.service.claims.holds) >= beats + 3)
    assert running.launcher.jobs == []
    running.launcher.gate.set()
    until(lambda: running.phases() == ["running"])


@pytest.mark.parametrize("error", [LaunchError("no space left on device"), RuntimeError("a defect")])
def test_a_job_that_cannot_be_started_is_told_of(running: Running, error: Exception) -> None:
    running.launcher.errors.append(error)
    running.service.claims.waiting.append(claim())
    running.thread.start()
    until(lambda: any(str(error) in hold.reason for holds in running.service.claims.holds for hold in holds))


def test_an_unknown_job_variable_is_told_of(running: Running) -> None:
    one = claim()
    one.order.job = {"imag": "x"}
    running.service.claims.waiting.append(one)
    running.thread.start()
    until(lambda: any("'imag'" in hold.reason for holds in running.service.claims.holds for hold in holds))
    assert running.launcher.jobs == []


def test_a_service_that_is_away_is_asked_again_and_a_person_told_once(running: Running) -> None:
    running.service.claims.errors["join"] = [UnreachableError("no answer"), RuntimeError("no answer")]
    running.thread.start()
    until(lambda: running.service.claims.calls.count("join") == 2)
    running.service.claims.errors.clear()
    until(lambda: running.told and running.told[-1] == "the service answers again")
    assert running.told[0] == "no answer, tried again for as long as it takes: no answer"


def test_onlookers_that_fail_keep_no_answer_back(tmp_path: Path) -> None:
    def gone(_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    running = Running(tmp_path, tell=gone, watch=gone)
    calls = running.service.claims
    calls.errors = {"beat": [UnreachableError("no answer")], "join": [UnreachableError("no answer")]}
    running.thread.start()
    until(lambda: calls.calls.count("join") == 2 and calls.calls.count("beat") >= 2)
    calls.errors["leave"] = [UnreachableError("no answer")]
    running.loop.stop()
    assert running.ended()
    assert running.error is None


def test_a_job_that_could_not_be_ended_is_ended_again_where_nobody_can_be_told(tmp_path: Path) -> None:
    def gone(_: object) -> None:
        raise BrokenPipeError

    loop = Running(tmp_path, tell=gone).loop
    loop._launcher = broken = FakeLauncher()
    broken.kill = lambda _: gone(_)  # type: ignore[method-assign]
    job = Reference("process", "1", "job", "")
    loop._carry_out(End(job, at_once=True))
    assert loop._events.get(timeout=0) == NotEnded(job)


@pytest.mark.parametrize("method", ["claim", "beat"])
def test_an_agent_that_is_forgotten_joins_again(running: Running, method: str) -> None:
    running.service.claims.errors[method] = [ServiceError("agent a is not known")]
    running.thread.start()
    until(lambda: running.service.claims.calls.count("join") == 2)


@pytest.mark.parametrize(
    ("method", "error"), [("join", ServiceError("there is no pool 'gpus'")), ("claim", AccessError("the key is over"))]
)
def test_an_agent_that_is_refused_ends_with_the_reason(running: Running, method: str, error: Exception) -> None:
    running.service.claims.errors[method] = [error]
    running.thread.start()
    assert running.ended()
    assert running.error is error


def test_jobs_get_a_grace_and_are_killed_then(running: Running) -> None:
    running.service.claims.waiting.append(claim())
    running.thread.start()
    until(lambda: running.phases() == ["running"])
    running.loop.stop(grace=0.2)
    assert running.ended()
    (job,) = running.launcher.jobs
    assert running.launcher.ended == [("cancel", job.name), ("kill", job.name)]
    assert running.phases() == ["ended"]


def test_folders_of_other_kinds_are_not_discarded(tmp_path: Path) -> None:
    for name in ("mine", f"{Ids().new()}-1"):
        (tmp_path / name).mkdir()
        discard(tmp_path / name)
    assert [folder.name for folder in tmp_path.iterdir()] == ["mine"]
