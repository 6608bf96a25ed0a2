"""An agent's decisions, one by one; `test_worlds.py` plays them in generated worlds."""

from __future__ import annotations

from typing import Any

import pytest

from anabranch.agents.state import AgentState
from anabranch.agents.words import (
    Ask,
    Beat,
    Claimed,
    Discard,
    End,
    Failed,
    Join,
    Joined,
    Keep,
    Look,
    NotEnded,
    NotSent,
    NotStarted,
    Seen,
    Send,
    Sent,
    Start,
    Started,
    Stop,
    Tick,
    Told,
)
from anabranch.core.launching import Phase, Reference, Sight
from anabranch.core.orders import Claim, Heard, Kill, Order, OrderState
from anabranch.serving.kinds import kind_of
from tests.unit.agents.world import DEPLOYMENT

KEY = ("r", 1)
JOB = Reference("fake", "1", "r-1", "")
HANDLE = '{"kind": "fake", "id": "1", "name": "r-1", "folder": "", "cluster": ""}'


def test_an_agent_without_jobs_says_so_half_as_often_and_with_one_at_once() -> None:
    state = joined()
    assert of_kind(state.handle(Tick(), 9.9), Beat) == []
    assert of_kind(state.handle(Tick(), 10.0), Beat)
    state.handle(Told([], Heard()), 10.0)
    state.handle(Claimed([claim(*KEY)]), 11.0)
    assert of_kind(state.handle(Started(KEY, JOB), 11.5), Beat)
    state.handle(Told([], Heard()), 11.5)
    assert of_kind(state.handle(Tick(), 16.4), Beat) == []
    assert of_kind(state.handle(Tick(), 16.5), Beat)


def claim(run: str = "r", token: int = 1) -> Claim:
    return Claim(Order(run, "d", token=token), DEPLOYMENT, run)


def joined(**given: Any) -> AgentState:
    """Return an agent that has joined and waits for its first claims."""
    state = AgentState(given.pop("capacity", 1), **given)
    assert state.handle(Tick(), 0.0) == [Join()]
    assert state.handle(Joined(), 0.0) == [Beat([]), Ask(state.capacity, wait=not given.get("once"))]
    state.handle(Told([], Heard()), 0.0)
    return state


def running() -> AgentState:
    state = joined()
    assert [type(one) for one in state.handle(Claimed([claim()]), 1.0)] == [Start]
    look, beat = state.handle(Started(KEY, JOB), 1.0)
    assert isinstance(beat, Beat)
    assert beat.holds[0].handle == HANDLE
    assert look == Look([JOB])
    state.handle(Told(beat.holds, Heard()), 1.0)
    assert state.handle(Seen({JOB: Sight(Phase.RUNNING)}), 2.0) == []
    return state


def of_kind(found: list[Any], kind: type) -> list[Any]:
    return [one for one in found if isinstance(one, kind)]


def test_an_end_is_told_at_once_until_it_is_heard() -> None:
    state = running()
    state.handle(Tick(), 3.0)
    found = state.handle(Seen({JOB: Sight(Phase.ENDED, "exit 3", 3, ("oops",))}), 3.0)
    assert of_kind(found, Ask) == [Ask(1, wait=True)]  # its place is free
    (beat,) = of_kind(state.handle(Sent(KEY), 3.0), Beat)
    assert (beat.holds[0].phase, beat.holds[0].code, beat.holds[0].last) == ("ended", 3, ("oops",))
    assert state.handle(Failed(Beat), 3.0) == []
    (again,) = state.handle(Tick(), 4.0)
    assert again == beat
    state.handle(Told(again.holds, Heard()), 4.0)
    assert state.held == {}


def test_an_end_is_told_once_the_rows_of_its_driver_are_sent() -> None:
    state = running()
    found = state.handle(Seen({JOB: Sight(Phase.ENDED, "exit 1", 1)}), 10.0)
    assert of_kind(found, Send) == [Send(KEY, JOB)]
    (beat,) = of_kind(found, Beat)
    assert (beat.holds[0].phase, beat.holds[0].code) == ("running", None)
    assert of_kind(found, Look) == []
    assert of_kind(state.handle(NotSent(KEY, away=True), 11.0), Send) == []
    assert state.wake() <= 16.0
    assert of_kind(state.handle(Tick(), 16.0), Send) == [Send(KEY, JOB)]
    assert of_kind(state.handle(Tick(), 17.0), Send) == []
    state.handle(Told(beat.holds, Heard()), 18.0)
    assert KEY in state.held
    (beat,) = of_kind(state.handle(Sent(KEY), 18.0), Beat)
    assert (beat.holds[0].phase, beat.holds[0].code) == ("ended", 1)
    state.handle(Told(beat.holds, Heard()), 18.0)
    assert state.held == {}


def test_a_server_that_is_away_is_waited_for_and_one_that_refuses_rows_is_told_without_them() -> None:
    state, now = running(), 3.0
    state.handle(Seen({JOB: Sight(Phase.ENDED, "exit 1", 1)}), now)
    for away in (*[True] * 100, *[False] * 9):
        state.handle(NotSent(KEY, away=away), now)
        assert state.held[KEY].hold().phase == "running"
        now += 5.0
        assert of_kind(state.handle(Tick(), now), Send) == [Send(KEY, JOB)]
    state.handle(NotSent(KEY, away=False), now)
    assert state.held[KEY].hold().phase == "ended"


def test_a_folder_of_a_job_that_ended_well_is_discarded_and_any_other_is_noted() -> None:
    for code, left in ((0, [Discard(JOB)]), (1, [Keep(JOB)])):
        state = running()
        state.handle(Tick(), 3.0)
        state.handle(Seen({JOB: Sight(Phase.ENDED, "", code)}), 3.0)
        (beat,) = of_kind(state.handle(Sent(KEY), 3.0), Beat)
        found = state.handle(Told(beat.holds, Heard()), 3.0)
        assert of_kind(found, Discard) + of_kind(found, Keep) == left


def test_a_job_that_could_not_be_started_has_ended() -> None:
    state = joined()
    state.handle(Claimed([claim()]), 1.0)
    (beat,) = of_kind(state.handle(NotStarted(KEY, "no space left"), 1.0), Beat)
    assert (beat.holds[0].phase, beat.holds[0].reason, beat.holds[0].handle) == ("ended", "no space left", "")


def test_a_claim_that_is_named_late_or_twice_is_started_once() -> None:
    state = running()
    assert of_kind(state.handle(Claimed([claim()]), 3.0), Start) == []
    state.handle(Seen({JOB: Sight(Phase.ENDED, "", 0)}), 3.0)
    state.handle(Sent(KEY), 3.0)
    state.handle(Told([state.held[KEY].hold()], Heard()), 3.0)
    assert state.held == {}
    assert of_kind(state.handle(Told([], Heard(launch=[claim()])), 4.0), Start) == []
    assert of_kind(state.handle(Told([], Heard(launch=[claim(token=2)])), 4.0), Start) != []


def test_a_kill_with_a_grace_asks_first() -> None:
    state = running()
    assert of_kind(state.handle(Told([], Heard(kill=[Kill("r", 1, 10.0)])), 3.0), End) == [End(JOB, at_once=False)]
    assert of_kind(state.handle(Told([], Heard(kill=[Kill("r", 1, 60.0)])), 4.0), End) == []  # the first grace counts
    assert state.wake() <= 13.0
    assert of_kind(state.handle(Tick(), 12.9), End) == []
    assert of_kind(state.handle(Tick(), 13.0), End) == [End(JOB, at_once=True)]
    assert of_kind(state.handle(NotEnded(JOB), 14.0), End) == []
    assert of_kind(state.handle(Tick(), 20.0), End) == [End(JOB, at_once=True)]


def test_what_is_not_ours_any_more_is_ended_and_not_told_of() -> None:
    state = running()
    found = state.handle(Told([], Heard(drop=[Kill("r", 1)])), 3.0)
    assert of_kind(found, End) == [End(JOB, at_once=True)]
    (beat,) = of_kind(state.handle(Tick(), 8.0), Beat)
    assert beat.holds == []
    state.handle(Seen({JOB: Sight(Phase.ENDED, "", -9)}), 9.0)
    assert state.held == {}


def test_a_job_of_which_nobody_can_tell_is_no_end() -> None:
    """The service judges by its driver's signs of life; what it gives to another is let go, for nobody can end it."""
    state = running()
    found = state.handle(Seen({JOB: Sight(Phase.UNKNOWN, "the machine started anew")}), 10.0)
    assert of_kind(found, Send) == []
    (beat,) = of_kind(found, Beat)
    assert (beat.holds[0].phase, beat.holds[0].reason) == ("unknown", "the machine started anew")
    state.handle(Told(beat.holds, Heard()), 10.0)
    assert KEY in state.held
    state.handle(Told([], Heard(drop=[Kill("r", 1)])), 15.0)
    assert state.held == {}


def test_a_driver_whose_run_has_ended_ends_by_itself() -> None:
    state = running()
    assert of_kind(state.handle(Told([], Heard(drop=[Kill("r", 1, 30.0)])), 3.0), End) == []
    assert of_kind(state.handle(Tick(), 32.9), End) == []
    assert of_kind(state.handle(Tick(), 33.0), End) == [End(JOB, at_once=True)]


def test_a_claim_that_is_killed_before_its_start_is_not_started() -> None:
    state = joined()
    state.handle(Claimed([claim(), claim("s")]), 1.0)  # more than there is room for
    found = state.handle(Told([], Heard(kill=[Kill("s", 1, 10.0)])), 2.0)
    assert of_kind(found, Start) == []
    told = {hold.run: hold.phase for beat in of_kind(found, Beat) for hold in beat.holds}
    assert told["s"] == "ended"


def test_a_lost_agents_job_is_adopted_where_it_can_be_seen() -> None:
    lost = Order("r", "d", token=1, handle=HANDLE, state=OrderState.BEGUN)
    state = joined()
    assert of_kind(state.handle(Told([], Heard(adopt=[lost])), 1.0), Look) == [Look([JOB])]
    state = joined(reaches=lambda reference: reference.id != "1")
    assert state.handle(Told([], Heard(adopt=[lost])), 1.0) == []


@pytest.mark.parametrize(
    "handle",
    [
        '{"of": "another version"}',
        '{"kind": "process", "id": "x", "name": "n", "folder": "/x"}',
        '{"kind": "process", "id": 7, "name": "n", "folder": "/x"}',
        '{"kind": "process", "id": "h:1:1.0", "name": "n", "folder": ["/x"]}',
    ],
)
def test_a_job_whose_handle_cannot_be_read_is_not_adopted(handle: str) -> None:
    state = joined(reaches=kind_of("process").reaches)
    broken = Order("r", "d", token=1, handle=handle, state=OrderState.BEGUN)
    assert state.handle(Told([], Heard(adopt=[broken])), 1.0) == []
    assert state.held == {}


def test_an_agent_that_is_not_known_joins_again_and_keeps_what_it_has() -> None:
    state = running()
    assert of_kind(state.handle(Tick(), 6.0), Beat)
    assert state.handle(Failed(Beat, unknown=True), 6.0) == [Join()]
    (beat, *_) = of_kind(state.handle(Joined(), 6.0), Beat) or of_kind(state.handle(Tick(), 7.0), Beat)
    assert [hold.run for hold in beat.holds] == ["r"]


def test_an_unreachable_service_is_asked_later_and_later_but_for_ever() -> None:
    state = AgentState(1)
    assert state.handle(Tick(), 0.0) == [Join()]
    now, waits = 0.0, []
    for _ in range(8):
        assert state.handle(Failed(Join), now) == []
        waits.append(state.wake() - now)
        now = state.wake()
        assert state.handle(Tick(), now) == [Join()]
    assert waits == [1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0, 15.0]


def test_once_takes_what_waits_and_leaves_when_it_has_ended() -> None:
    state = joined(once=True, capacity=2)
    assert of_kind(state.handle(Claimed([claim()]), 1.0), Ask) == [Ask(1, wait=False)]
    state.handle(Claimed([]), 1.6)
    assert not state.finished(1.6)
    state.handle(NotStarted(KEY, "no"), 2.0)
    state.handle(Told([state.held[KEY].hold()], Heard()), 2.0)
    assert state.finished(2.0)


def test_an_agent_that_stops_without_a_grace_leaves_its_jobs_alone() -> None:
    state = running()
    assert of_kind(state.handle(Stop(), 3.0), End) == []
    assert state.finished(3.0)


def test_an_agent_that_waits_for_an_answer_needs_no_clock() -> None:
    state = joined()
    assert state.wake() == 10.0  # the next beat of an agent without jobs; the claim waits at the service
    state.handle(Tick(), 10.0)
    assert state.wake() == float("inf")


def test_an_order_that_lends_its_slots_leaves_its_place_to_another() -> None:
    state = running()
    assert of_kind(state.handle(Tick(), 2.0), Ask) == []
    found = state.handle(Told([], Heard(lent=["r"])), 3.0)
    assert of_kind(found, Ask) == [Ask(1, wait=False)]
    assert len(of_kind(state.handle(Claimed([claim("child")]), 3.5), Start)) == 1
    assert of_kind(state.handle(Tick(), 4.0), Ask) == []
    state.handle(Told([], Heard()), 9.0)  # it goes on: one more than there are places
    state.handle(NotStarted(("child", 1), "no"), 9.5)
    assert of_kind(state.handle(Tick(), 10.0), Ask) == []


def test_no_question_for_a_lent_place_outlives_the_lending() -> None:
    """An order that came later would be this agent's, which has no place for it, though others are free."""
    state = running()
    assert of_kind(state.handle(Told([], Heard(lent=["r"])), 3.0), Ask) == [Ask(1, wait=False)]
    assert of_kind(state.handle(Claimed([]), 3.1), Ask) == []
    assert of_kind(state.handle(Tick(), 4.1), Ask) == [Ask(1, wait=False)]
    state.handle(Claimed([]), 4.2)
    state.handle(Told([], Heard()), 5.0)
    assert of_kind(state.handle(Tick(), 9.0), Ask) == []


def test_an_order_for_a_place_that_was_taken_back_meanwhile_starts() -> None:
    state = running()
    state.handle(Told([], Heard(lent=["r"])), 3.0)
    state.handle(Told([], Heard()), 8.0)
    assert len(of_kind(state.handle(Claimed([claim("other")]), 8.1), Start)) == 1
    assert of_kind(state.handle(Tick(), 9.0), Ask) == []


def test_once_takes_what_its_own_orders_wait_for() -> None:
    state = joined(once=True)
    state.handle(Claimed([claim()]), 1.0)
    state.handle(Started(KEY, JOB), 1.5)
    assert of_kind(state.handle(Told([], Heard(lent=["r"])), 3.0), Ask) == [Ask(1, wait=False)]
