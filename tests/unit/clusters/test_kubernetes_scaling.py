"""The workers of a cluster of pods, in virtual time: how many, which go, and that the operator never chooses."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anabranch.clusters.kubernetes.scaling import KEPT_SECONDS, NUDGES, SLOW_SECONDS, Group, Seat
from anabranch.clusters.wants import Wants
from anabranch.core.clusters import Demand

if TYPE_CHECKING:
    from collections.abc import Callable

NOTHING = Demand()
MUCH = Demand(slots=10_000, seconds=1e6)


class Place:
    """An operator and pods in virtual time, around one group; retired workers leave after `drain` seconds.

    Args:
        slow: seconds until the operator acts on a change of `replicas`.
        wait: seconds until a worker joins.
    """

    def __init__(self, minimum: int, maximum: int, *, slow: float = 1.0, wait: float = 3.0, drain: float = 2.0) -> None:
        self.group = Group(Wants(1, minimum, maximum, 60.0, 10.0), minimum)
        self.slow, self.wait, self.drain = slow, wait, drain
        self.now = 0.0
        self.replicas = minimum
        self.changed: float | None = 0.0  # when `replicas` was changed, and the operator has not acted
        self.made: dict[str, float] = {}
        self.busy: set[str] = set()
        self.going: dict[str, float] = {}
        self.gone: list[str] = []
        self.demand: Callable[[], Demand] = lambda: NOTHING
        self.stuck = False
        self._number = 0

    def seats(self) -> list[Seat]:
        joined = {name for name, at in self.made.items() if self.now - at >= self.wait}
        return [Seat(name, name in joined, name in self.busy & joined) for name in self.made]

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self._operate()
            self._leave()
            plan = self.group.step(self.now, self.seats(), [self.demand()])
            if plan.more:
                self._scale(max(self.group.asked, len(self.made)) + plan.more)
            self.going |= dict.fromkeys(plan.retire, self.now)
            self.now += 1.0

    def _operate(self) -> None:
        if self.changed is None or self.now - self.changed < self.slow or self.stuck:
            return
        self.changed = None
        assert self.replicas >= len(self.made), "the operator would choose which go"
        for _ in range(self.replicas - len(self.made)):
            self._number += 1
            self.made[f"w{self._number}"] = self.now

    def _leave(self) -> None:
        """As `Leaving` does: only once all are made that were asked for."""
        for name, since in list(self.going.items()):
            if self.now - since >= self.drain and len(self.made) >= self.group.asked:
                del self.made[name], self.going[name]
                self.gone.append(name)
                self._scale(len(self.made))

    def _scale(self, replicas: int) -> None:
        self.group.asked = replicas
        if replicas != self.replicas:
            self.replicas = replicas
            self.changed = self.now if self.changed is None else self.changed


def test_it_grows_with_the_work_and_shrinks_a_minute_after_it() -> None:
    here = Place(0, 3)
    here.run(5)
    assert here.made == {}
    here.demand = lambda: MUCH
    here.run(10)
    assert len(here.made) == 3
    here.demand = lambda: NOTHING
    here.run(50)
    assert len(here.made) == 3
    here.run(30)
    assert here.made == {}
    assert here.replicas == 0


def test_little_work_asks_for_few_pods() -> None:
    here = Place(0, 10)
    here.demand = lambda: Demand(slots=100, seconds=25.0)
    here.run(10)
    assert len(here.made) == 3, "ten seconds of work for each"


def test_those_without_a_worker_go_first_then_idle_ones() -> None:
    here = Place(4, 4)
    here.run(10)
    here.wait = math.inf
    here.made |= {"late": here.now}
    here.busy = {"w4", "w3"}
    here.wait = 3.0
    here.group.want(2, 2)
    here.group.asked = 5
    plan = here.group.step(here.now, here.seats(), [NOTHING])
    assert plan.retire == ("late", "w2", "w1")


def test_a_busy_worker_goes_only_where_the_user_has_said_so() -> None:
    here = Place(0, 3)
    here.demand = lambda: MUCH
    here.run(10)
    here.busy = {"w1", "w2", "w3"}
    here.demand = lambda: NOTHING
    here.run(100)
    assert len(here.made) == 3
    here.group.want(0, 1)
    here.run(10)
    assert len(here.made) == 0, "no work: the minimum"


def test_nothing_goes_while_the_operator_has_some_to_make() -> None:
    here = Place(2, 2)
    here.run(10)
    here.slow = 8.0
    here.group.want(5, 5)
    here.run(2)
    here.group.want(1, 1)
    here.run(4)
    assert len(here.made) == 2, "three more are to come"
    here.run(20)
    assert len(here.made) == 1
    assert here.replicas == 1


def test_what_another_has_deleted_comes_back() -> None:
    """The operator does not look by itself."""
    here = Place(3, 3)
    here.run(10)
    del here.made["w1"]
    here.run(SLOW_SECONDS - 5)
    assert len(here.made) == 2
    here.run(15)
    assert len(here.made) == 3, "one more than asked for was made, and one has gone"


def test_an_operator_that_has_stopped_is_told_few_times_and_named() -> None:
    here = Place(0, 3)
    here.stuck = True
    here.demand = lambda: MUCH
    here.run(SLOW_SECONDS * 10)
    assert here.group.asked == 3 + NUDGES
    assert "the Dask operator has made 0 of 6 workers" in here.group.trouble(here.now, here.seats())


def test_a_worker_with_values_that_find_no_room_is_asked_again_later() -> None:
    here = Place(2, 2)
    here.run(10)
    here.group.want(1, 1)
    assert here.group.step(here.now, here.seats(), [NOTHING]).retire == ("w2",)
    here.group.keep("w2", here.now)
    assert here.group.step(here.now, here.seats(), [NOTHING]).retire == ("w1",)
    here.group.keep("w1", here.now)
    assert here.group.step(here.now, here.seats(), [NOTHING]).retire == ()
    assert here.group.step(here.now + KEPT_SECONDS, here.seats(), [NOTHING]).retire == ("w2",)


def test_trouble_is_told_when_none_can_start_and_when_patience_ends() -> None:
    group = Group(Wants(1, 1, 1, 60.0), 1, patience=20.0)
    bad = [Seat("w1", reason="image I cannot be had", hopeless=True)]
    group.step(0.0, bad, [MUCH])
    assert group.trouble(0.0, bad) == "no worker can start: image I cannot be had"
    waits = [Seat("w1", reason="no node fits: 0/2 nodes")]
    assert group.trouble(0.0, waits) == ""
    group.step(20.0, waits, [MUCH])
    assert group.trouble(20.0, waits) == "no worker came within 20 s: no node fits: 0/2 nodes"
    assert group.why(waits) == "0 of 1 workers are there: no node fits: 0/2 nodes"
    there = [Seat("w1", joined=True)]
    group.step(21.0, there, [MUCH])
    assert group.trouble(100.0, there) == ""
    assert group.why(there) == ""


@settings(max_examples=2 * settings.default.max_examples)
@given(
    st.lists(
        st.tuples(st.integers(0, 6), st.integers(0, 6), st.sampled_from([NOTHING, MUCH]), st.integers(1, 40)),
        min_size=1, max_size=8,
    ),
    st.floats(0.0, 9.0), st.floats(0.0, 9.0),
)  # fmt: skip
def test_the_operator_never_has_to_choose(
    orders: list[tuple[int, int, Demand, int]], slow: float, drain: float
) -> None:
    """Whatever is wished, and however slow the operator is: `replicas` is never below what is there when it looks."""
    here = Place(1, 3, slow=slow, drain=drain)
    for low, high, demand, seconds in orders:
        here.group.want(min(low, high), max(low, high, 1))
        here.demand = lambda demand=demand: demand  # type: ignore[misc]
        here.run(seconds)
    here.run(200)
    assert len(here.made) == here.replicas == here.group.wants.target


@pytest.mark.parametrize("seats", [[], [Seat("w1", reason="its pod starts on node-1")]])
def test_why_names_the_reason_of_a_pod_or_the_operator(seats: list[Seat]) -> None:
    group = Group(Wants(1, 1, 1, 60.0), 1)
    said = group.why(seats)
    assert said.startswith("0 of 1 workers are there: ")
    assert ("its pod starts on node-1" if seats else "has made 0 of 1 workers") in said


def test_a_worker_that_gets_no_work_does_not_count_and_goes() -> None:
    """Kept as one that works, it held its seat: a flow waited for it without an end."""
    group = Group(Wants(1, 1, 1, 60.0), 1, patience=20.0)
    seats = [Seat("w1", joined=True, closing=True)]
    plan = group.step(0.0, seats, [MUCH])
    assert (plan.more, plan.retire) == (1, ("w1",))
    assert group.step(1.0, seats, [MUCH]).retire == (), "it has been told"
    assert group.why(seats).startswith("0 of 1 workers are there")
    group.step(20.0, seats, [MUCH])
    assert "no worker came within 20 s" in group.trouble(20.0, seats)


def test_a_worker_that_was_just_kept_has_time_to_say_that_it_works() -> None:
    group = Group(Wants(1, 1, 1, 60.0), 1)
    group.keep("w1", 0.0)
    seats = [Seat("w1", joined=True, closing=True)]
    assert group.step(1.0, seats, [MUCH]) == (0, ())
    assert group.step(KEPT_SECONDS + 1.0, seats, [MUCH]).retire == ("w1",)
