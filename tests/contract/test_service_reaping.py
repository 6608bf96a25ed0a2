"""What any service does about the lost: dead drivers, false ones, late runs; two at once change nothing twice."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from anabranch.core.errors import RunTakenError
from anabranch.core.orders import Kill, NewOrder, OrderState
from anabranch.core.recovery import BACK_OFF, LONGEST_SILENCE, SILENCE
from anabranch.core.states import CRASHED, FAILED, SUSPENDED
from tests.contract.ordering import agent, beat, begin, begun, deploy, hold, order, row_of, states, write
from tests.contract.services import NOW, Place, place, service

if TYPE_CHECKING:
    from anabranch.core.orders import Order
    from anabranch.core.service import Service

__all__ = ["place", "service"]


def found(service: Service, run: str) -> Order:
    one = service.orders.find(run)
    assert one is not None
    return one


def test_a_silent_driver_is_dead_and_its_run_is_ordered_again(service: Service, place: Place) -> None:
    claim = begun(service, place)
    run = claim.order.run
    place.clock.advance(SILENCE - 1)
    assert service.upkeep.reap().recovered == []
    beat(place, run)
    place.clock.advance(SILENCE - 1)
    assert service.upkeep.reap().recovered == [], "it spoke a minute ago"
    place.clock.advance(2)
    assert service.upkeep.reap().recovered == [run]
    assert service.upkeep.reap().recovered == []
    mine, row = found(service, run), row_of(place, run)
    assert (mine.state, mine.recoveries) == (OrderState.WAITING, 1)
    assert mine.due == place.clock.time() + BACK_OFF
    assert mine.reason.startswith("its driver is silent: 61 s since its last sign of life")
    assert (row.state_name, row.pid, row.message) == ("Scheduled", 0, mine.reason)
    assert states(place, run)[-1] == "Scheduled"
    service.claims.beat("one", [])
    assert service.claims.claim("one", 1) == []
    place.clock.advance(BACK_OFF)
    [second] = service.claims.claim("one", 1)
    assert second.order.token > claim.order.token
    begin(service, second, 2)


def test_a_driver_that_never_beat_is_dead_a_while_after_it_began(service: Service, place: Place) -> None:
    claim = begun(service, place)
    place.clock.advance(SILENCE + 1)
    assert service.upkeep.reap().recovered == [claim.order.run]


def test_a_silent_driver_is_not_dead_while_its_kind_says_that_it_runs(service: Service, place: Place) -> None:
    """Fault 41: a driver that computes for long without a sign of life."""
    claim = begun(service, place)
    while place.clock.time() < NOW + LONGEST_SILENCE:
        service.claims.beat("one", [hold(claim, "running")])
        assert service.upkeep.reap().recovered == []
        place.clock.advance(20)
    service.claims.beat("one", [hold(claim, "running")])
    place.clock.advance(1)
    assert service.upkeep.reap().recovered == [claim.order.run]


def test_nobody_is_dead_for_what_could_not_be_heard(service: Service, place: Place) -> None:
    """After a restart of the server drivers and agents have a minute to be heard, however long it was away."""
    claim = begun(service, place)
    place.clock.advance(LONGEST_SILENCE + 100)
    back = place.clock.time()
    assert service.upkeep.reap(back).recovered == []
    place.clock.advance(SILENCE)
    assert service.upkeep.reap(back).recovered == []
    place.clock.advance(1)
    assert service.upkeep.reap(back).recovered == [claim.order.run]
    assert found(service, claim.order.run).reason == "its driver is silent: 61 s since signs of life are heard again"


def test_a_driver_of_whose_job_nobody_can_tell_lives_by_its_own_signs(service: Service, place: Place) -> None:
    claim = begun(service, place)
    for _ in range(4):
        place.clock.advance(SILENCE - 1)
        beat(place, claim.order.run)
        assert service.claims.beat("one", [hold(claim, "unknown", reason="it started anew")]).drop == []
        assert service.upkeep.reap().recovered == []
    place.clock.advance(SILENCE + 1)
    assert service.claims.beat("one", [hold(claim, "unknown")]).drop == []
    assert service.upkeep.reap().recovered == [claim.order.run]


def test_a_claim_of_whose_job_nobody_can_tell_is_given_to_another_in_time(service: Service, place: Place) -> None:
    deploy(service)
    [run] = order(service, "f/daily")
    agent(service)
    [claim] = service.claims.claim("one", 1)
    place.clock.advance(SILENCE - 1)
    assert service.claims.beat("one", [hold(claim, "unknown")]).drop == []
    assert found(service, run).state is OrderState.CLAIMED
    place.clock.advance(2)
    assert [one.run for one in service.claims.beat("one", [hold(claim, "unknown", reason="it is")]).drop] == [run]
    assert found(service, run).reason == "its job is out of sight before its flow began: it is"


def test_the_word_of_an_agent_that_is_gone_counts_no_more(service: Service, place: Place) -> None:
    claim = begun(service, place)
    service.claims.beat("one", [hold(claim, "running")])
    place.clock.advance(SILENCE + 1)
    assert service.upkeep.reap().recovered == [claim.order.run]


def test_a_zombie_that_wakes_is_fenced(service: Service, place: Place) -> None:
    """Fault 42: what it writes is refused, its job is ended, and its run goes on elsewhere."""
    claim = begun(service, place)
    run, token = claim.order.run, claim.order.token
    place.clock.advance(SILENCE + 1)
    service.upkeep.reap()
    write(place, run, token, FAILED, message="written by a zombie")
    assert row_of(place, run).state_name == "Scheduled"
    with pytest.raises(RunTakenError):
        begin(service, claim)
    assert service.claims.beat("one", [hold(claim, "running")]).drop == [Kill(run, token)]
    place.clock.advance(BACK_OFF)
    [second] = service.claims.claim("one", 1)
    begin(service, second, 2)
    write(place, run, token, FAILED, message="written by a zombie")
    assert row_of(place, run).state_name == "Scheduled"
    assert found(service, run).state is OrderState.BEGUN


def test_evidence_of_the_kind_counts_at_once(service: Service, place: Place) -> None:
    claim = begun(service, place)
    heard = service.claims.beat("one", [hold(claim, "ended", code=-9, reason="killed (SIGKILL)", last=("a", "b"))])
    assert heard.drop == [Kill(claim.order.run, claim.order.token)]
    mine = found(service, claim.order.run)
    assert (mine.state, mine.recoveries) == (OrderState.WAITING, 1)
    assert mine.reason == "its job ended: killed (SIGKILL); its last lines:\na\nb"


def test_a_driver_that_ended_well_may_have_rows_under_way(service: Service, place: Place) -> None:
    claim = begun(service, place)
    ended = hold(claim, "ended", code=0)
    for phase in (ended, hold(claim, "gone")):
        assert service.claims.beat("one", [phase]).drop == []
    assert service.claims.beat("one", []).adopt == []
    assert service.upkeep.reap().recovered == []
    write(place, claim.order.run, claim.order.token)
    assert found(service, claim.order.run).state is OrderState.DONE
    assert row_of(place, claim.order.run).state_name == "Completed"


def test_rows_that_never_came_are_missed_after_a_while(service: Service, place: Place) -> None:
    claim = begun(service, place)
    service.claims.beat("one", [hold(claim, "ended", code=0)])
    place.clock.advance(SILENCE + 1)
    service.claims.beat("one", [])
    assert service.upkeep.reap().recovered == [claim.order.run]
    assert found(service, claim.order.run).reason.startswith("its job ended with exit code 0, and its driver is silent")


def test_three_recoveries_and_then_it_is_given_up(service: Service, place: Place) -> None:
    """Fault 43."""
    claim = begun(service, place)
    run, pauses = claim.order.run, []
    for pid in range(2, 5):
        service.claims.beat("one", [hold(claim, "gone", reason="its node went away")])
        mine = found(service, run)
        pauses.append(mine.due - place.clock.time())
        place.clock.advance(pauses[-1])
        [claim] = service.claims.claim("one", 1)
        begin(service, claim, pid)
        assert mine.recoveries == pid - 1
    assert pauses == [BACK_OFF, 2 * BACK_OFF, 4 * BACK_OFF]
    service.claims.beat("one", [hold(claim, "gone", reason="its node went away")])
    assert found(service, run).state is OrderState.DONE
    row = row_of(place, run)
    assert (row.state_name, row.message) == (
        "Crashed",
        "gave up after 3 recoveries: its job is gone: its node went away",
    )
    assert row.ended == place.clock.time()
    assert states(place, run)[-1] == "Crashed"


def test_a_deployment_that_is_not_to_be_recovered_crashes(service: Service, place: Place) -> None:
    claim = begun(service, place, recover="no")
    service.claims.beat("one", [hold(claim, "gone")])
    assert row_of(place, claim.order.run).state_name == "Crashed"


@pytest.mark.parametrize(("code", "state"), [(-15, OrderState.WAITING), (127, OrderState.DONE)])
def test_a_job_that_ended_before_its_flow_began(service: Service, place: Place, code: int, state: OrderState) -> None:
    """One that somebody killed may begin elsewhere; one that has failed would fail again."""
    deploy(service)
    run = order(service, "f/daily")[0]
    agent(service)
    [claim] = service.claims.claim("one", 1)
    heard = service.claims.beat("one", [hold(claim, "ended", code=code)])
    assert [one.run for one in heard.drop] == [run]
    assert found(service, run).state is state


def test_a_failure_of_the_users_code_is_an_end(service: Service, place: Place) -> None:
    claim = begun(service, place)
    write(place, claim.order.run, claim.order.token, FAILED)
    assert [one.run for one in service.claims.beat("one", [hold(claim, "ended", code=1)]).drop] == [claim.order.run]
    place.clock.advance(1000)
    done = service.upkeep.reap()
    assert (done.recovered, done.crashed) == ([], [])
    assert found(service, claim.order.run).state is OrderState.DONE


def test_another_program_does_not_bury_an_ordered_run(service: Service, place: Place) -> None:
    """The driver's process may be gone and its last rows on their way: its agent knows, other programs do not."""
    claim = begun(service, place)
    run = row_of(place, claim.order.run)
    assert not place.records.end(run, CRASHED, "its driver process 7 on here is gone")  # type: ignore[attr-defined]
    assert service.upkeep.reap().recovered == []
    assert row_of(place, run.id).ended is None


def test_a_run_that_an_older_program_has_buried_is_recovered(service: Service, place: Place) -> None:
    claim = begun(service, place)
    run = row_of(place, claim.order.run)
    with place.records.database.opened() as db:  # type: ignore[attr-defined]
        words = f"state = {CRASHED}, state_name = 'Crashed', message = 'its driver is gone', ended = 1"
        db.execute(f"UPDATE flow_runs SET {words} WHERE id = '{run.id}'")
    assert service.upkeep.reap().recovered == [run.id]
    assert found(service, run.id).reason == "its driver is gone"
    assert row_of(place, run.id).state_name == "Scheduled"
    assert row_of(place, run.id).ended is None


def test_a_suspended_run_goes_on_and_that_is_no_recovery(service: Service, place: Place) -> None:
    claim = begun(service, place)
    run = claim.order.run
    for pid in range(2, 7):
        write(place, run, claim.order.token, SUSPENDED, started=NOW, attempt=pid - 1)
        assert service.upkeep.reap().recovered == [run]
        mine = found(service, run)
        assert (mine.state, mine.recoveries) == (OrderState.WAITING, 0)
        [claim] = service.claims.claim("one", 1)
        again = begin(service, claim, pid)
        assert (again.again, again.attempt) == (True, pid - 1)


def test_two_reapers_change_nothing_twice(place: Place) -> None:
    service = place.opened()
    deploy(service)
    runs = order(service, "f/daily", 30)
    agent(service)
    for claim in service.claims.claim("one", 20)[:10]:
        begin(service, claim)
    service.claims.leave("one")
    place.clock.advance(SILENCE + 1)
    reapers = [place.opened() for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda one: one.upkeep.reap(), reapers))
    for what in ("returned", "recovered", "late", "crashed", "expired"):
        told = [run for one in answers for run in getattr(one, what)]
        assert len(told) == len(set(told)), what
    recovered = [run for one in answers for run in one.recovered]
    assert len(recovered) == 10
    for run in runs:
        seen = states(place, run)
        assert seen.count("Late") <= 1
        assert seen.count("Scheduled") == 1 + (run in recovered)


def test_one_bad_row_does_not_stop_what_is_done_for_the_others(
    service: Service, place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    deploy(service)
    bad, good = order(service, "f/daily", 2)
    agent(service)
    for claim in service.claims.claim("one", 2):
        begin(service, claim)
    late = order(service, "f/daily")[0]
    with place.records.database.opened() as db:  # type: ignore[attr-defined]
        db.execute(f"UPDATE flow_runs SET token = {(1 << 63) - 1} WHERE id = '{bad}'")  # no token comes after it
    place.clock.advance(SILENCE + 1)
    done = service.upkeep.reap()
    assert (done.recovered, done.late) == ([good], [late])
    assert f"the order of run {bad} cannot be mended" in caplog.text
    assert found(service, good).state is OrderState.WAITING


def test_what_a_cancelled_flow_run_ordered_is_cancelled_too(service: Service, place: Place) -> None:
    """Whether the flow waited for it or not, and also where its driver is gone."""
    deploy(service)
    parent, other = order(service, "f/daily", 2)
    waiting, under_way = order(service, "f/daily", 2, parent_run=parent, priority=1)
    [grandchild] = order(service, "f/daily", parent_run=waiting)
    [stays] = order(service, "f/daily", parent_run=other)
    agent(service)
    claims = {claim.order.run: claim for claim in service.claims.claim("one", 2)}
    begin(service, claims[under_way])
    assert service.upkeep.reap().cancelled == []
    assert service.orders.cancel(parent)
    assert service.upkeep.reap().cancelled == [waiting, grandchild] or service.upkeep.reap().cancelled == [grandchild]
    assert row_of(place, waiting).state_name == row_of(place, grandchild).state_name == "Cancelled"
    assert row_of(place, waiting).message == "cancelled with the flow run that ordered it"
    assert row_of(place, under_way).state_name == "Cancelling"
    assert service.upkeep.reap().cancelled == []
    assert found(service, stays).state is OrderState.WAITING


def test_what_a_failed_flow_run_ordered_goes_on(service: Service, place: Place) -> None:
    claim = begun(service, place)
    [child] = order(service, "f/daily", parent_run=claim.order.run)
    write(place, claim.order.run, claim.order.token, FAILED)
    assert service.upkeep.reap().cancelled == []
    assert found(service, child).state is OrderState.WAITING


# -- waiting too long --------------------------------------------------------------------------------


def test_an_order_that_waits_is_late_and_it_is_said_why(service: Service, place: Place) -> None:
    run = order(service, deploy(service, labels=("gpu",)), due=NOW)[0]
    agent(service)
    place.clock.advance(14)
    assert service.upkeep.reap().late == []
    place.clock.advance(2)
    assert service.upkeep.reap().late == [run]
    assert service.upkeep.reap().late == []
    row = row_of(place, run)
    assert (row.state_name, row.message) == ("Late", "1 agent of pool default, and none has label gpu")
    assert states(place, run) == ["Scheduled", "Late"]
    agent(service, labels=("gpu",))
    [claim] = service.claims.claim("one", 1)
    begin(service, claim)
    assert found(service, run).state is OrderState.BEGUN


def test_an_order_that_is_too_late_expires(service: Service, place: Place) -> None:
    row = deploy(service, expire_after=100.0)
    run, later = order(service, row, due=NOW)[0], order(service, row, due=NOW + 50)[0]
    place.clock.advance(99)
    assert service.upkeep.reap().expired == []
    place.clock.advance(2)
    assert service.upkeep.reap().expired == [run]
    assert service.upkeep.reap().expired == []
    assert row_of(place, run).state_name == "Cancelled"
    assert row_of(place, run).message == (
        "Expired: it waited longer than its 100 s; no agent of pool default is there"
    )
    agent(service)
    [claim] = service.claims.claim("one", 5)
    assert claim.order.run == later
    place.clock.advance(1000)
    service.claims.beat("one", [hold(claim, "pending")])
    assert service.upkeep.reap().expired == [], "a claimed one does not expire"


def test_a_claim_of_a_deleted_deployment_is_cancelled_when_it_is_lost(service: Service, place: Place) -> None:
    run = order(service, deploy(service))[0]
    agent(service)
    service.claims.claim("one", 1)
    service.deployments.delete("f/daily")
    place.clock.advance(31)
    service.upkeep.reap()
    assert row_of(place, run).state_name == "Cancelled"
    assert found(service, run).state is OrderState.DONE


def test_a_lease_is_held_by_one_at_a_time(service: Service, place: Place) -> None:
    assert service.upkeep.lease("services", "a", 10)
    assert not service.upkeep.lease("services", "b", 10)
    place.clock.advance(9)
    assert service.upkeep.lease("services", "a", 10)
    place.clock.advance(9)
    assert not service.upkeep.lease("services", "b", 10)
    place.clock.advance(2)
    assert service.upkeep.lease("services", "b", 10)
    assert not service.upkeep.lease("services", "a", 10)
    assert service.upkeep.lease("other", "a", 10)


def test_the_service_has_the_time(service: Service) -> None:
    assert service.upkeep.now() == NOW
    assert service.orders.add([NewOrder(deploy(service).id)])[0].new
