"""What any `LimitStore` does: one suite over the one in the SQLite file and its twin in memory."""

from __future__ import annotations

import importlib
import itertools
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.core.limits import AHEAD_SECONDS, LEASE_SECONDS, Ask, Holder, Limit, LimitStore
from anabranch.core.processes import host_name, process_started
from anabranch.records.memory import MemoryRecords
from anabranch.records.sqlite import SqliteRecords

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from anabranch.core.runs import Records


class TwoClocks:
    """Wall time and the time that nobody sets; both stand until they are moved."""

    def __init__(self) -> None:
        self.wall = 1_800_000_000.0
        self.ticks = 5_000.0

    def time(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.ticks

    def sleep(self, seconds: float) -> None:
        raise AssertionError("records do not sleep on the clock they were given")

    def advance(self, seconds: float) -> None:
        self.wall += seconds
        self.ticks += seconds


@pytest.fixture
def time() -> TwoClocks:
    return TwoClocks()


@pytest.fixture(params=["sqlite", "memory", pytest.param("postgres", marks=pytest.mark.postgres)])
def records(request: pytest.FixtureRequest, tmp_path: Path, time: TwoClocks) -> Iterator[Records]:
    """The records whose limits are tried; another kind needs a line here."""
    makers: dict[str, Callable[[], Records]] = {
        "sqlite": lambda: SqliteRecords(tmp_path / "runs.db", clock=time),
        "memory": lambda: MemoryRecords(clock=time),
        "postgres": lambda: importlib.import_module("anabranch.records.postgres").PostgresRecords(
            request.getfixturevalue("postgres_address"), clock=time
        ),
    }
    made = makers[request.param]()
    yield made
    made.close()


@pytest.fixture
def store(records: Records) -> LimitStore:
    records.limits.set(Limit("db", slots=4))
    return records.limits


def here(token: str) -> Holder:
    """A program in this process, which lives."""
    return Holder(token, host_name(), os.getpid(), process_started(os.getpid()))


def elsewhere(token: str) -> Holder:
    return Holder(token, "another-host", 4711, 12.5)


A, B, C = here("a"), here("b"), here("c")


def one(name: str = "db", times: int = 1, count: int = 1) -> list[Ask]:
    return [Ask({name: count}, times)]


def held(store: LimitStore, name: str = "db") -> dict[str, int]:
    return {lease.holder.token: lease.slots for lease in store.leases(name)}


def wanted(store: LimitStore, name: str = "db") -> dict[str, int]:
    return {lease.holder.token: lease.wanted for lease in store.leases(name)}


# -- limits ----------------------------------------------------------------------------------------


def test_limits_are_set_changed_and_deleted(store: LimitStore) -> None:
    store.set(Limit("api", slots=None, rate=2.5))
    store.set(Limit("db", slots=1, active=False))
    assert store.limits() == [Limit("api", None, 2.5), Limit("db", 1, None, False)]
    assert store.delete("db")
    assert not store.delete("db")
    assert store.limits() == [Limit("api", None, 2.5)]


def test_a_deleted_limit_takes_its_leases_along(store: LimitStore) -> None:
    store.acquire(A, one(times=3))
    store.delete("db")
    store.set(Limit("db", slots=4))
    assert store.acquire(B, one(times=9)) == [4]


# -- taking and giving back --------------------------------------------------------------------------


def test_slots_are_taken_up_to_the_limit(store: LimitStore) -> None:
    assert store.acquire(A, one(times=3)) == [3]
    assert store.acquire(B, one(times=3)) == [1]
    assert held(store) == {"a": 3, "b": 1}
    store.release(A, {"db": 2})
    assert store.acquire(B, one(times=2)) == [2]
    assert held(store) == {"a": 1, "b": 3}


def test_slots_of_several_limits_are_had_together_or_not_at_all(store: LimitStore) -> None:
    store.set(Limit("api", slots=1))
    both = [Ask({"db": 1, "api": 1}, 3)]
    assert store.acquire(A, both) == [1]
    assert store.acquire(B, both) == [0]
    assert (held(store), held(store, "api")) == ({"a": 1}, {"a": 1, "b": 0})


def test_who_waits_for_two_limits_keeps_nobody_from_the_free_one(store: LimitStore) -> None:
    store.set(Limit("api", slots=1))
    store.acquire(A, one("api"))
    store.acquire(B, [Ask({"db": 1, "api": 1}, 9)])
    assert store.acquire(C, one(times=4)) == [4]


def test_several_slots_at_a_time(store: LimitStore) -> None:
    assert store.acquire(A, one(count=3, times=2)) == [1]
    assert held(store) == {"a": 3}


def test_several_asks_in_turn(store: LimitStore) -> None:
    assert store.acquire(A, [Ask({"db": 3}), Ask({"db": 2}), Ask({"db": 1}, 5)]) == [1, 0, 1]


def test_what_is_missing_is_waited_for_until_it_is_not_asked_for(store: LimitStore, time: TwoClocks) -> None:
    store.acquire(A, one(times=4))
    store.acquire(B, one(times=2))
    assert wanted(store) == {"a": 0, "b": 2}
    began = store.leases("db")[-1].since
    time.advance(1)
    store.acquire(B, one(times=3))
    assert (wanted(store)["b"], store.leases("db")[-1].since) == (3, began)
    store.acquire(B, [])
    assert held(store) == {"a": 4}


def test_who_gives_back_waits_no_more(store: LimitStore) -> None:
    store.acquire(A, one(times=4))
    store.acquire(B, one(times=2))
    store.release(B, {"db": 0})
    assert wanted(store) == {"a": 0}


@pytest.mark.parametrize("limit", [None, Limit("free", 1, active=False), Limit("free", None, 5.0)])
def test_a_limit_that_does_not_hold_has_room_for_all(store: LimitStore, limit: Limit | None) -> None:
    if limit is not None:
        store.set(limit)
    assert store.acquire(A, one("free", times=100)) == [100]


def test_a_lowered_limit_takes_nothing_away_but_tells(store: LimitStore) -> None:
    store.acquire(A, one(times=4))
    store.set(Limit("db", slots=1))
    assert store.standing(A) == {"db": (4, 1)}
    store.release(A, {"db": 3})
    assert store.acquire(B, one()) == [0]
    store.set(Limit("db", slots=2))
    assert store.acquire(B, one()) == [1]


def test_all_is_left_at_the_end(store: LimitStore) -> None:
    store.set(Limit("api", slots=1))
    store.acquire(A, [Ask({"db": 2, "api": 1})])
    store.acquire(B, one())
    store.leave(A)
    assert (held(store), held(store, "api")) == ({"b": 1}, {})


def test_slots_are_freed_by_hand(store: LimitStore) -> None:
    store.acquire(A, one(times=3))
    store.acquire(B, one())
    assert store.free("db", "a") == 3
    assert store.standing(A) == {}
    store.release(A, {"db": 3})  # it has not heard of it
    assert held(store) == {"b": 1}
    assert store.free("db") == 1
    assert held(store) == {}


@pytest.mark.sampled(3, "many threads at once")
def test_never_more_than_the_limit_however_many_ask_at_once(store: LimitStore) -> None:
    lock, now, most = threading.Lock(), [0], [0]
    failed: list[BaseException] = []

    def work(n: int) -> None:
        holder, done = here(f"w{n}"), 0
        try:
            while done < 25:
                if store.acquire(holder, one()) != [1]:
                    continue
                with lock:
                    now[0] += 1
                    most[0] = max(most[0], now[0])
                done += 1
                with lock:
                    now[0] -= 1
                store.release(holder, {"db": 1})
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(50)
    assert failed == []
    assert most[0] <= 4
    assert held(store) == {}


# -- leases ----------------------------------------------------------------------------------------


def test_slots_of_an_ended_process_come_back_at_once(store: LimitStore) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    holder = Holder("child", host_name(), child.pid, process_started(child.pid))
    assert store.acquire(holder, one(times=4)) == [4]
    assert store.acquire(A, one()) == [0]
    child.kill()
    child.communicate()
    assert store.acquire(A, one(times=4)) == [4]
    assert store.standing(holder) == {}


def test_a_pid_of_another_process_by_now_is_a_dead_holder(store: LimitStore) -> None:
    before = Holder("before", host_name(), os.getpid(), process_started(os.getpid()) - 50)
    store.acquire(before, one(times=4))
    assert store.acquire(A, one(times=4)) == [4]


def test_a_holder_in_another_container_of_this_name_is_not_judged_by_its_pid(store: LimitStore) -> None:
    store.acquire(Holder("there", f"{host_name()}/0other00", 2**30, 0.0), one(times=4))
    assert store.acquire(A, one()) == [0]


@pytest.mark.parametrize("holder", [here("late"), elsewhere("late")])
def test_a_lease_runs_out_unless_it_is_renewed(store: LimitStore, time: TwoClocks, holder: Holder) -> None:
    store.acquire(holder, one(times=4))
    time.advance(LEASE_SECONDS - 1)
    store.renew(holder)
    time.advance(LEASE_SECONDS - 1)
    assert store.acquire(A, one()) == [0]
    assert store.standing(holder) == {"db": (4, 2)}
    time.advance(2)
    assert store.acquire(A, one(times=4)) == [4]
    assert store.standing(holder) == {}, "it finds out"
    store.renew(holder)
    assert held(store) == {"a": 4}


def test_who_waits_and_is_gone_is_not_waited_for(store: LimitStore, time: TwoClocks) -> None:
    store.acquire(A, one(times=4))
    store.acquire(elsewhere("gone"), one(times=4))
    time.advance(LEASE_SECONDS - 5)
    store.renew(A)
    time.advance(6)
    assert store.standing(A) == {"db": (4, 4)}


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
def test_no_lease_of_this_host_ends_with_a_jump_of_the_clock(store: LimitStore, time: TwoClocks, jump: float) -> None:
    store.acquire(A, one(times=4))
    time.wall += jump
    assert store.acquire(B, one()) == [0]
    time.ticks += LEASE_SECONDS  # and none is held for ever because of one
    assert store.acquire(B, one()) == [1]


# -- sharing ---------------------------------------------------------------------------------------


def test_alone_a_holder_keeps_all_and_when_others_wait_its_share(store: LimitStore) -> None:
    store.acquire(A, one(times=4))
    assert store.standing(A) == {"db": (4, 4)}
    store.acquire(B, one(times=4))
    assert store.standing(A) == {"db": (4, 2)}
    store.acquire(C, one(times=1))
    assert store.standing(A) == {"db": (4, 1)}


def test_who_has_its_share_is_not_hungry(store: LimitStore) -> None:
    store.acquire(A, one(times=2))
    store.acquire(B, one(times=9))
    store.acquire(A, one(times=9))
    assert store.standing(A)["db"] == store.standing(B)["db"] == (2, 2)


def test_what_is_given_back_is_for_those_who_wait(store: LimitStore, time: TwoClocks) -> None:
    store.acquire(A, one(times=4))
    store.acquire(B, one(times=4))
    time.advance(1)
    store.release(A, {"db": 2})
    assert store.acquire(A, one(times=2)) == [0]
    assert store.acquire(B, one(times=4)) == [2]


def test_slots_go_round_when_there_are_fewer_than_holders(store: LimitStore, time: TwoClocks) -> None:
    store.set(Limit("db", slots=1))
    order, waiting = [], [A, B, C]
    for turn in range(9):
        got = [holder.token for holder in waiting if store.acquire(holder, one()) == [1]]
        assert len(got) == 1
        order += got
        mine = next(holder for holder in waiting if holder.token == got[0])
        time.advance(1)
        assert store.standing(mine) == {"db": (1, 0)}, f"turn {turn}"
        store.release(mine, {"db": 1})
        waiting.reverse()
    assert sorted(order[:3]) == sorted(order[3:6]) == sorted(order[6:]) == ["a", "b", "c"]


def test_who_wants_many_at_once_is_not_starved_by_small_ones(store: LimitStore, time: TwoClocks) -> None:
    store.acquire(A, one(times=4))
    store.acquire(B, one(count=3))
    assert store.standing(A) == {"db": (4, 1)}
    for _ in range(3):
        time.advance(1)
        store.release(A, {"db": 1})
        got = store.acquire(B, one(count=3))
        assert store.acquire(A, one()) == [0]
    assert got == [1]


# -- rates -----------------------------------------------------------------------------------------


def spread(store: LimitStore, time: TwoClocks, count: int, seconds: float, step: float = 0.01) -> list[float]:
    """All starts that so many greedy programs get in a while."""
    found: list[float] = []
    for _ in range(round(seconds / step)):
        for _ in range(count):
            found += store.start("api", 1000).times
        time.advance(step)
    return found


@pytest.mark.sampled(3, "it measures a pace")
def test_starts_keep_their_pace_over_all_programs(store: LimitStore, time: TwoClocks) -> None:
    store.set(Limit("api", rate=20.0))
    found = spread(store, time, 2, 5.0)
    assert len(found) == pytest.approx(20 * (5.0 + AHEAD_SECONDS), abs=2)
    assert min(b - a for a, b in itertools.pairwise(found)) == pytest.approx(0.05)


def test_starts_are_not_saved_up(store: LimitStore, time: TwoClocks) -> None:
    store.set(Limit("api", rate=20.0))
    store.start("api")
    time.advance(100)
    assert len(store.start("api", 100).times) in (5, 6)  # now, and what comes within a moment


def test_a_start_long_ahead_of_its_time_is_not_given_out(store: LimitStore, time: TwoClocks) -> None:
    store.set(Limit("api", rate=0.1))
    first = store.start("api", 5)
    assert first.times == [time.wall]
    assert first.again == pytest.approx(time.wall + 10 - AHEAD_SECONDS)
    assert store.start("api").times == []


def test_a_clock_set_back_does_not_stop_the_starts(store: LimitStore, time: TwoClocks) -> None:
    store.set(Limit("api", rate=20.0))
    store.start("api", 3)
    time.wall -= 3600
    assert store.start("api").times == [time.wall]


@pytest.mark.parametrize("limit", [None, Limit("api", 3), Limit("api", None, 1.0, False)])
def test_without_a_rate_all_may_start(store: LimitStore, time: TwoClocks, limit: Any) -> None:
    if limit is not None:
        store.set(limit)
    assert store.start("api", 50).times == [time.wall] * 50
