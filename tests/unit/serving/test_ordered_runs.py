"""A run that was ordered, as its program waits for it: the record may be away for a while."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.core import states
from anabranch.core.deployments import DeploymentRow
from anabranch.core.errors import RecordRefused, RecordsError, UnreachableError
from anabranch.core.runs import FlowRunRow
from anabranch.serving import ordered_runs
from anabranch.serving.ordered_runs import PATIENCE, OrderedRun
from anabranch.testing import ManualClock

if TYPE_CHECKING:
    from collections.abc import Callable

RUNNING = FlowRunRow("r", "f", "calm-owl", states.RUNNING)
DONE = FlowRunRow("r", "f", "calm-owl", states.COMPLETED)


class Looks:
    """Stands for the record: the answers of one look after another; the last one stays."""

    def __init__(self, *answers: FlowRunRow | Exception) -> None:
        self.answers = list(answers)

    def flow_run(self, _: str) -> FlowRunRow:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., OrderedRun]:
    def made(*answers: FlowRunRow | Exception) -> OrderedRun:
        program = SimpleNamespace(records=Looks(*answers))
        monkeypatch.setattr(ordered_runs.sessions, "current", lambda: program)
        service: Any = None
        return OrderedRun(service, DeploymentRow("d", "f", "d"), "r", clock=ManualClock())

    return made


@pytest.mark.parametrize("away", [RecordsError("no answer"), UnreachableError("no answer")])
def test_a_look_that_fails_counts_as_not_yet(run: Any, away: Exception) -> None:
    assert run(away, RUNNING, away, away, DONE).wait().is_completed()
    assert run(RUNNING, away).wait(timeout=5).is_running()  # as it was seen last


def test_a_record_that_stays_away_is_told(run: Any) -> None:
    with pytest.raises(RecordsError, match="no answer"):
        run(RecordsError("no answer")).wait(timeout=5)
    one = run(RUNNING, RecordsError("no answer"))
    with pytest.raises(RecordsError, match="no answer"):
        one.wait()
    assert PATIENCE < one._clock.monotonic() < 2 * PATIENCE


def test_a_refusal_is_told_at_once(run: Any) -> None:
    one = run(RUNNING, RecordRefused("the key of run a does not read what is of r"))
    with pytest.raises(RecordRefused, match="does not read"):
        one.wait()
    assert one._clock.monotonic() < 1
