"""Once a flow has returned, the record has all of it, whichever thread takes its last events in."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import flow, task
from anabranch import session as sessions
from anabranch.context import flow_run
from anabranch.driver.pump import Pump
from anabranch.driver.scope import Scope
from anabranch.runs.flow_world import World
from tests.acceptance.gates import until

if TYPE_CHECKING:
    from anabranch.core.states import State

MAIN = threading.main_thread()


@task
def same(x: int) -> int:
    return x


def waits_for_the_pump() -> bool:
    frame = sys._current_frames()[MAIN.ident or 0]
    return frame.f_code is Pump.flush.__code__


def test_counts_of_single_runs_are_there_when_the_flow_returns(
    threads: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread is in the midst of an event as the run ends, and takes the run's own along when it can."""
    pump = sessions.current().pump
    inside, returned = threading.Event(), threading.Event()
    ids: list[str] = []

    def block() -> None:
        inside.set()
        until(lambda: waits_for_the_pump() or returned.is_set(), "the end of the flow")

    def close(scope: Scope) -> None:
        threading.Thread(target=pump.call_locked, args=(block,), daemon=True).start()
        assert inside.wait(30)
        closes(scope)

    closes = Scope.close
    monkeypatch.setattr(Scope, "close", close)

    @flow
    def main() -> Any:
        ids.append(flow_run().id)
        return [same.submit(n).result() for n in range(3)]

    assert main() == [0, 1, 2]
    counts = [map.counts for map in sessions.current().records.maps(ids[0])]
    returned.set()
    assert counts == [{"Completed": 3}]


def test_a_run_that_a_signal_ends_while_its_value_is_kept_has_completed(
    threads: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its recorded end cannot come later: the values for another attempt are deleted, which would do all anew."""
    ids: list[str] = []

    def told(world: World, state: State) -> None:
        if state.is_completed():
            raise KeyboardInterrupt

    monkeypatch.setattr(World, "_kept_result", told)

    @flow
    def main() -> int:
        ids.append(flow_run().id)
        return 1

    with pytest.raises(KeyboardInterrupt):
        main()
    records = sessions.current().records
    records.flush()
    row = records.flow_run(ids[0])
    assert row is not None
    assert row.state_name == "Completed"
    assert row.ended is not None
