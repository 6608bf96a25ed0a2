"""Task runs under limits of the record within one program: who is under them, what they cost, how waiting shows."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import InlineRunner, flow, rate_limit, tags, task
from anabranch.core.limits import Ask, Limit
from anabranch.driver.keeper import HEARTBEAT_SECONDS
from tests.integration import test_limits
from tests.integration.shared_limits.here import WAIT, Here, until

if TYPE_CHECKING:
    from collections.abc import Callable


# -- what it costs ---------------------------------------------------------------------------------


def test_without_limits_nothing_is_asked(here: Here) -> None:
    @task(tags=["db"])
    def work(x: int) -> int:
        return x

    @flow
    def main() -> int:
        return int(sum(work.map(range(2000)).result()) + sum(work(n) + work.submit(n).result() for n in range(50)))

    began = time.monotonic()
    assert main() == 1_999_000 + 2 * 1225
    allowed = 1 + int((time.monotonic() - began) / HEARTBEAT_SECONDS) + 1
    assert set(here.asked.calls) == {"limits"}
    assert len(here.asked.calls) <= allowed
    assert not [t for t in threading.enumerate() if t.name == "anabranch-limits"]


def test_many_tiny_runs_under_a_limit_share_few_transactions(here: Here) -> None:
    here.limit("tag:db", slots=4)

    @task(tags=["db"])
    def work(x: int) -> int:
        return x

    @flow
    def main() -> int:
        return int(sum(work.map(range(500), chunk=1).result()))

    assert main() == 124_750
    assert here.asked.calls.count("acquire") <= 25
    assert here.asked.calls.count("release") <= 10
    until(lambda: not here.limits.leases("tag:db"))


def test_a_limit_of_others_costs_this_program_nothing(here: Here) -> None:
    here.limit("tag:others", slots=1)
    here.take("tag:others")

    @task(tags=["mine"])
    def work(x: int) -> int:
        return x

    assert work.map(range(100)).result() == list(range(100))
    assert "acquire" not in here.asked.calls


# -- who is under a limit --------------------------------------------------------------------------


def ways() -> dict[str, Callable[[Any], Any]]:
    return {
        "map": lambda work: work.map(range(12), chunk=1).result(),
        "chunks": lambda work: work.map(range(12)).result(),
        "submit": lambda work: [f.result() for f in [work.submit(n) for n in range(12)]],
    }


@pytest.mark.parametrize("way", ways())
@pytest.mark.parametrize("name", ["tag:db", "task:work"])
def test_never_more_than_the_limit(here: Here, name: str, way: str) -> None:
    crowd = test_limits.Crowd()
    here.limit(name, slots=2)

    @task(tags=["db"])
    def work(x: int) -> int:
        crowd.visit()
        return x

    @flow
    def main() -> Any:
        return ways()[way](work)

    assert main() == list(range(12))
    assert crowd.most <= 2
    assert here.held(name) <= 2
    until(lambda: here.held(name) == 0)


def test_items_of_async_tasks_count_each(here: Here) -> None:
    crowd = test_limits.Crowd()
    here.limit("tag:db", slots=3)

    @task(tags=["db"])
    async def work(x: int) -> int:
        crowd.now += 1
        crowd.most = max(crowd.most, crowd.now)
        await asyncio.sleep(0.01)
        crowd.now -= 1
        return x

    assert work.map(range(20)).result() == list(range(20))
    assert 2 <= crowd.most <= 3


def test_tags_around_and_a_limit_set_while_a_map_runs(here: Here) -> None:
    gate, begun = threading.Event(), threading.Semaphore(0)
    here.limit("tag:late", slots=6)

    @task
    def work(x: int) -> int:
        begun.release()
        gate.wait(WAIT)
        return x

    @flow
    def main() -> Any:
        with tags("late"):
            found = work.map(range(9), chunk=1)
        for _ in range(6):
            assert begun.acquire(timeout=WAIT)
        here.limit("tag:late", slots=1)
        gate.set()
        return found.result()

    assert main() == list(range(9))


def test_plain_calls_take_a_slot_and_those_within_use_it(here: Here) -> None:
    here.limit("tag:db", slots=1)

    @task(tags=["db"])
    def inner(x: int) -> int:
        assert here.held("tag:db") == 1
        return x + 1

    @task(tags=["db"])
    def outer(x: int) -> int:
        return int(inner(x)) + 1

    @task(tags=["db"])
    async def later(x: int) -> int:
        assert here.held("tag:db") == 1
        return x

    assert outer(1) == 3
    assert asyncio.run(later(7)) == 7
    until(lambda: here.held("tag:db") == 0)


def test_inline_runs_take_slots_too(on: Callable[..., Here]) -> None:
    here = on(InlineRunner())
    here.limit("tag:db", slots=1)

    @task(tags=["db"])
    def work(x: int) -> int:
        assert here.held("tag:db") == 1
        return x

    assert work.map(range(5)).result() == list(range(5))


def test_two_limits_at_once(here: Here) -> None:
    here.limit("tag:a", slots=1)
    here.limit("tag:b", slots=1)
    crowd = test_limits.Crowd()

    @task(tags=["a", "b"])
    def both(x: int) -> int:
        crowd.visit()
        return x

    @task(tags=["b"])
    def one(x: int) -> int:
        crowd.visit()
        return x

    @flow
    def main() -> Any:
        first, second = both.map(range(4), chunk=1), one.map(range(4), chunk=1)
        return first.result(), second.result()

    assert main() == (list(range(4)), list(range(4)))
    assert crowd.most == 1


@pytest.mark.parametrize("change", ["delete", "off", "raise"])
def test_a_limit_that_goes_lets_those_go_who_wait(here: Here, change: str) -> None:
    here.limit("tag:db", slots=1)
    here.take("tag:db")

    @task(tags=["db"])
    def work(x: int) -> int:
        return x

    future = work.submit(1)
    until(lambda: here.waits("tag:db"))
    if change == "delete":
        here.limits.delete("tag:db")
    else:
        here.limits.set(Limit("tag:db", slots=1 if change == "off" else 2, active=change != "off"))
    here.session.limits.refresh()
    assert future.result(timeout=WAIT) == 1


@pytest.mark.parametrize("change", ["delete", "off", "raise"])
def test_a_rate_that_goes_lets_those_go_who_wait(here: Here, change: str) -> None:
    here.limit("api", rate=0.01)
    rate_limit("api")
    thread = threading.Thread(target=rate_limit, args=("api",))
    thread.start()
    thread.join(0.1)
    assert thread.is_alive()
    if change == "delete":
        here.limits.delete("api")
    else:
        here.limits.set(Limit("api", rate=0.01 if change == "off" else 1e6, active=change != "off"))
    here.session.limits.refresh()
    thread.join(WAIT)
    assert not thread.is_alive()


# -- how waiting shows -----------------------------------------------------------------------------


def test_waiting_runs_name_their_limit(here: Here) -> None:
    here.limit("tag:db", slots=1)
    here.take("tag:db")

    @task(tags=["db"])
    def work(x: int) -> int:
        return x

    future = work.submit(1)
    until(lambda: here.waits("tag:db"))
    state = future.state
    assert (state.name, state.type) == ("AwaitingConcurrencySlot", "SCHEDULED")
    assert "'tag:db'" in state.message
    here.give("tag:db")
    assert future.wait(WAIT).name == "Completed"


def test_what_others_hold_and_free_is_taken_over(here: Here) -> None:
    here.limit("tag:db", slots=2)
    here.take("tag:db", 2)

    @task(tags=["db"])
    def work(x: int) -> int:
        return x

    futures = work.map(range(10))
    until(lambda: here.waits("tag:db"))
    assert futures._map.done == 0
    here.give("tag:db", 1)
    assert futures.result() == list(range(10))


def test_slots_are_given_to_those_who_wait_while_there_is_work(here: Here) -> None:
    here.limit("tag:db", slots=2)
    stop = threading.Event()

    @task(tags=["db"])
    def work(x: int) -> int:
        stop.wait(0.01)
        return x

    futures = work.map(range(1000), chunk=1)
    until(lambda: here.held("tag:db") == 2)
    assert here.limits.acquire(here.other, [Ask({"tag:db": 1}, 2)]) == [0]
    until(lambda: here.limits.acquire(here.other, [Ask({"tag:db": 1}, 2)]) == [1])
    assert here.held("tag:db") == 1
    stop.set()
    assert len(futures.result()) == 1000


def test_slots_taken_away_are_told_of(here: Here, capfd: pytest.CaptureFixture[str]) -> None:
    here.limit("tag:db", slots=2)
    gate = threading.Event()

    @task(tags=["db"])
    def work(x: int) -> int:
        gate.wait(WAIT)
        return x

    futures = work.map(range(3), chunk=1)
    until(lambda: here.held("tag:db") == 2)
    assert here.limits.free("tag:db") == 2
    here.take("tag:db", 2)
    heard: list[str] = []

    def told() -> bool:
        heard.append(capfd.readouterr().err)
        return "lost 2 slots of the limit 'tag:db' (freed by hand)" in "".join(heard)

    until(told)
    gate.set()
    until(lambda: futures._map.done == 2)
    here.give("tag:db", 2)
    assert futures.result() == [0, 1, 2]
