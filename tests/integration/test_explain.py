"""`anabranch.explain`: live, while runs wait, and from the record once they have ended."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import ThreadRunner, cache_policies, explain, flow, settings, task
from anabranch import session as sessions
from anabranch.core import context
from anabranch.core.errors import OptionError, RecordsError
from anabranch.diagnosis import from_record
from anabranch.records.memory import MemoryRecords

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def session(tmp_path: Path) -> Iterator[sessions.Session]:
    chosen = settings.load({}, home=tmp_path, runner=ThreadRunner(max_workers=2), progress=False)
    made = sessions.Session(chosen, records=MemoryRecords())
    before = sessions.use(made)
    yield made
    sessions.use(before)
    made.close()


@task
def odd_fails(x: int) -> int:
    if x % 2:
        raise ValueError(f"{x} is odd")
    return x


@task
def after(x: int) -> int:
    return x


@task
def breaks(x: int) -> float:
    return 1 / (x % 3) if x % 4 else float("none")


def test_failures_of_one_reason_are_told_apart_by_their_exceptions() -> None:
    @flow
    def main() -> str:
        breaks.map(range(24)).wait()
        return "looked at"

    state = main(return_state=True)
    assert state.is_completed()
    found = explain(sessions.current().records.flow_runs()[0].id)
    assert [(one.count, one.index, one.reason) for one in found.groups] == [
        (6, 0, "budget/user"), (6, 3, "budget/user")
    ]  # fmt: skip
    assert "could not convert string to float" in found.groups[0].sentence
    assert "division by zero" in found.groups[1].sentence
    assert repr(found) == str(found)


def test_of_two_maps_of_a_task_each_has_its_own_groups() -> None:
    @flow
    def main() -> str:
        breaks.map(range(12)).wait()
        breaks.map(range(24)).wait()
        return "looked at"

    main(return_state=True)
    found = explain(sessions.current().records.flow_runs()[0].id)
    assert [(one.count, one.index) for one in found.groups] == [(6, 0), (6, 3), (3, 0), (3, 3)]
    assert len({one.map for one in found.groups[:2]}) == 1
    assert ["float" in one.sentence for one in found.groups] == [True, False, True, False]


def test_of_two_maps_with_very_many_failures_each_stays_one_group(monkeypatch: pytest.MonkeyPatch) -> None:
    @flow
    def main() -> str:
        breaks.map(range(12)).wait()
        breaks.map(range(24)).wait()
        return "looked at"

    main(return_state=True)
    monkeypatch.setattr(from_record, "READ", 7)
    found = explain(sessions.current().records.flow_runs()[0].id)
    assert [one.count for one in found.groups] == [12, 3, 3]


def test_what_is_not_told_in_groups_is_counted() -> None:
    """Live and from the record: groups, and the runs in them."""
    count = from_record.GROUPS + 10

    @flow
    def main() -> str:
        for n in range(count):
            task(name=f"fails-{n}")(odd_fails.fn).map([1] * (1 + n)).wait()
        found.append(explain(context.current_flow.get().id))
        return "looked at"

    found: list[Any] = []
    state = main(return_state=True)
    found.append(explain(state.run_id or sessions.current().records.flow_runs()[0].id))
    for one in found:
        assert (len(one.groups), one.left_out, one.left_out_runs) == (from_record.GROUPS, 10, sum(range(1, 11)))
        plain = one.plain()
        assert (plain["shown"], plain["total"], plain["left_out_runs"]) == (from_record.GROUPS, count, 55)
        assert str(one).endswith("and 55 runs in 10 other groups")


def test_a_map_that_ended_is_told_in_groups_and_item_by_item() -> None:
    first = odd_fails.map(range(1000))
    second = after.map(first)
    second.wait()
    found = explain(first)
    [group] = found.groups
    assert (group.reason, group.count, group.index, group.state) == ("budget/user", 500, 1, "Failed")
    assert str(found) == (
        "odd_fails: 500 x Failed [budget/user]: attempt 1 ended with ValueError: 1 is odd; it has no retries "
        "(first at item 1)"
    )
    one = explain(second[3])
    assert (one.reason, one.details["upstream"]) == ("upstream", "odd_fails[3]")
    assert one.sentence == "it did not start, because odd_fails[3] ended Failed"
    good = explain(first[2])
    assert (good.reason, good.sentence) == ("", "it completed at its first attempt")


def test_retried_and_then_completed() -> None:
    seen: list[int] = []

    @task(retries=2)
    def shaky(x: int) -> int:
        seen.append(x)
        if len(seen) == 1:
            raise OSError("no line")
        return x

    future = shaky.submit(7)
    assert future.result() == 7
    [one] = explain(future).groups
    assert (one.reason, one.state, one.attempt) == ("budget/user", "Completed", 2)
    assert one.sentence == "attempt 1 ended with OSError: no line; 1 of 2 retries is spent; a later attempt completed"


def test_a_plain_call_tells_its_attempts_too(session: sessions.Session) -> None:
    seen: list[int] = []

    @task(retries=1)
    def shaky() -> None:
        seen.append(1)
        if len(seen) == 1:
            raise OSError("no line")

    @flow
    def calling() -> None:
        shaky()

    calling()
    [run] = session.records.flow_runs()
    [one] = explain(run.id, "shaky[0]").groups
    assert (one.reason, one.state) == ("budget/user", "Completed")


def test_cached_runs_name_their_key() -> None:
    @task(cache_policy=cache_policies.INPUTS + cache_policies.RUN_ID)
    def cached(x: int) -> int:
        return x

    @flow
    def twice() -> Any:
        cached.submit(1).result()
        again = cached.submit(1)
        again.result()
        return explain(again)

    found = twice()
    assert found.reason == "cache-hit"
    assert found.details["parts"] == ["inputs", "run id"]
    assert found.details["key"] in found.sentence


def test_what_waits_is_told_live() -> None:
    gate = threading.Event()

    @task
    def held(x: int) -> int:
        gate.wait(20)
        return x

    @task(concurrency_limit=1)
    def one_at_a_time(x: int) -> int:
        gate.wait(20)
        return x

    first = held.map(range(50), chunk=1)
    second = after.map(first)
    limited = one_at_a_time.map(range(3), chunk=1)
    try:
        assert explain(first[0]).reason == "running"
        assert explain(first[49]).reason == "slots"
        assert explain(second[49]).details["upstream"] == "held[49]"
        assert {group.reason for group in explain(first).groups} == {"running", "slots"}
        assert sum(group.count for group in explain(first).groups) == 50
        assert explain(limited[2]).reason in ("limit", "slots")
    finally:
        gate.set()
    assert second.result() == list(range(50))
    limited.wait()
    assert explain(first).groups == ()
    assert str(explain(first)) == "no task run has failed, was retried or was cancelled"


def test_an_item_that_waits_for_its_retry_says_why_and_until_when() -> None:
    @task(retries=1, retry_delay_seconds=60)
    def fails() -> None:
        raise KeyError("k")

    @flow
    def waiting() -> Any:
        future = fails.submit()
        for _ in range(1000):
            if future.state.name == "AwaitingRetry":
                break
            threading.Event().wait(0.01)
        run: Any = context.current_flow.get()
        asked = [explain(future), explain(run), explain(run.id), explain(run.name, "fails[0]")]
        future.cancel()
        return [*asked, explain(future)]

    *asked, cancelled = waiting()
    for found in asked:
        [one] = found.groups
        assert (one.reason, one.state, one.count) == ("budget/user", "AwaitingRetry", 1)
        assert 50 < one.details["begins_in"] <= 60
        assert "attempt 1 ended with KeyError" in one.sentence
        assert "attempt 2 begins in" in one.sentence
    assert cancelled.reason == "cancelled/user"


def test_a_flow_that_cancels_at_its_end(session: sessions.Session) -> None:
    gate = threading.Event()

    @task
    def held(x: int) -> None:
        gate.wait(20)

    @flow(on_exit="cancel")
    def leaves() -> str:
        held.map(range(30), chunk=1)
        gate.set()
        return "done"

    assert leaves() == "done"
    [run] = session.records.flow_runs()
    words = {group.reason for group in explain(run.name).groups}
    assert words <= {"cancelled/flow-end"}


def test_many_that_are_cancelled_together_share_a_reason() -> None:
    gate = threading.Event()

    @task
    def held(x: int) -> None:
        gate.wait(20)

    futures = held.map(range(500), chunk=1)
    futures.cancel()
    gate.set()
    futures.wait()
    [group] = explain(futures).groups
    assert (group.reason, group.state, group.count, group.index) == ("cancelled/user", "Cancelled", 500, 0)
    one = explain(futures[321])
    assert str(one) == "held[321] Cancelled [cancelled/user]: it was cancelled by the program (`cancel()`)"


def test_a_flow_past_its_time(session: sessions.Session) -> None:
    gate = threading.Event()

    @task
    def held(x: int) -> None:
        gate.wait(20)

    @flow(timeout_seconds=0.2)
    def slow() -> None:
        held.map(range(30), chunk=1).wait()

    state = slow(return_state=True)
    gate.set()
    assert state.name == "TimedOut"
    [run] = session.records.flow_runs()
    assert {group.reason for group in explain(run.id).groups} == {"cancelled/flow-timeout"}


def test_questions_that_have_no_answer(session: sessions.Session) -> None:
    @flow
    def small() -> None:
        after.map(range(3)).wait()
        after.submit(1).wait()

    small()
    [run] = session.records.flow_runs()
    with pytest.raises(RecordsError, match="no flow run 'nobody'"):
        explain("nobody")
    with pytest.raises(RecordsError, match="no task 'before'; its tasks are: after"):
        explain(run.id, "before[0]")
    with pytest.raises(RecordsError, match=r"say which one: after#1 \(map, 3 runs\); after#2 \(submit, 1 runs\)"):
        explain(run.id, "after[0]")
    with pytest.raises(RecordsError, match=r"there is no after\[3\]"):
        explain(run.id, "after#1[3]")
    with pytest.raises(RecordsError, match="no after#3"):
        explain(run.id, "after#3[0]")
    assert explain(run.id, "after#2[0]").reason == ""
    with pytest.raises(OptionError, match=r"explain\(\) takes"):
        explain(17)
