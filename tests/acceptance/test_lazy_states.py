"""What a map gives of a million items is one object each: its states, the sets of `wait`, futures as they end."""

from __future__ import annotations

import pickle
import tracemalloc
from collections.abc import MutableSet, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import Future, State, as_completed, flow, task, unmapped, wait
from tests.acceptance.gates import SOON, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.acceptance.gates import Gate

MANY = 20_000
EACH = 24  # bytes an item, at most, for what is asked of a map of many


@task
def odd_ones_fail(n: int) -> int:
    if n % 2:
        raise ValueError(f"{n} is odd")
    return n


@task
def same(x: Any) -> Any:
    return x


@task
def one_fails(n: int) -> int:
    return 1 // (n - 7)


@task
def gated(gate: Gate, x: Any) -> Any:
    """Ends when the test lets it."""
    gate.pass_through()
    return same.fn(x)


@task
def gated_if_late(gate: Gate, x: int) -> int:
    """Those above 1 end when the test lets them; 1 fails."""
    if x > 1:
        gate.pass_through()
    return odd_ones_fail.fn(x)


# -- states --------------------------------------------------------------------------------------


def test_states_are_a_sequence(runner: str) -> None:
    several = odd_ones_fail.map(range(6))
    states = several.wait()
    assert isinstance(states, Sequence)
    assert len(states) == 6
    assert [state.name for state in states] == ["Completed", "Failed"] * 3
    assert isinstance(states[1], State)
    assert states[-2].result() == 4
    assert [state.name for state in states[1:4]] == ["Failed", "Completed", "Failed"]
    assert [state.is_failed() for state in reversed(states[::2])] == [False] * 3
    assert type(states[3].exception()) is ValueError
    with pytest.raises(IndexError):
        states[6]
    assert [state.result() for state in same.map([], return_state=True)] == []


def test_states_go_for_a_list_of_them(threads: str) -> None:
    several, others = odd_ones_fail.map(range(4)), same.map(range(2))
    states, more = several.wait(), others.wait()
    listed = list(states)
    assert states == listed
    assert listed == states
    assert states == several.states
    assert states[:2] == listed[:2]
    assert states != listed[:3]
    assert states != more
    assert (states[2] in states, listed[3] in states, more[0] in states) == (True, True, False)
    assert listed[3] not in states[:3]
    assert "Failed" not in states  # type: ignore[comparison-overlap]
    assert states + more == listed + list(more)
    assert [1, 2] + states[2:] == [1, 2, *listed[2:]]  # noqa: RUF005
    assert (states.index(listed[2]), states.count(listed[1])) == (2, 1)
    assert repr(states) == "<States of 4: 2 Completed, 2 Failed; the first that did not complete is 1>"
    assert repr(more) == "<States of 2: 2 Completed>"


def test_states_are_pickled_as_a_list(threads: str) -> None:
    found = same.map([1, 2], return_state=True)
    for state in found:
        assert state.result() in (1, 2)
    kind, (given,) = found.__reduce__()
    assert kind is list
    for state in given:
        state.data = None
    assert pickle.loads(pickle.dumps(given)) == found


def test_states_stay_as_they_were_when_asked_for(beside: str, gates: Callable[[str], Gate]) -> None:
    several = gated.map(unmapped(gates("late")), range(3))
    before = several.states
    assert not any(state.is_final() for state in before)
    assert "3 unfinished" in repr(before)
    gates("late").open()
    after = several.wait(SOON)
    assert not any(state.is_final() for state in before)
    assert [state.result() for state in after] == [0, 1, 2]


def test_states_outlive_their_flow(runner: str) -> None:
    kept: list[Any] = []

    @flow
    def main() -> str:
        several = odd_ones_fail.map(range(4))
        kept.extend((several.wait(), several.release()))
        return "data"

    main()
    assert [state.name for state in kept[0]] == ["Completed", "Failed"] * 2
    assert str(kept[0][1].exception()) == "1 is odd"


@pytest.mark.parametrize("what", ["map", "states"])
def test_a_flow_may_return_them(runner: str, what: str) -> None:
    @flow
    def main(n: int) -> Any:
        several = odd_ones_fail.map(range(0, n, 2) if n else range(3))
        return several if what == "map" else several.wait()

    good, bad = main(6, return_state=True), main(0, return_state=True)
    assert (good.name, bad.name, bad.message) == ("Completed", "Failed", "1/3 states failed.")
    assert type(bad.exception()) is ValueError
    with pytest.raises(ValueError, match="1 is odd"):
        main(0)
    assert main(6) == [0, 2, 4]


@task
def total(*given: Any, **named: Any) -> int:
    return sum(sum(one) for one in (*given, *named.values()))


def test_as_arguments_they_are_the_values(runner: str) -> None:
    """As the lists and sets of states and futures that they stand for."""
    several = same.map(range(1, 4))
    states, done = several.wait(), wait(several).done
    assert total(states) == total.submit(states).result() == 6
    assert total.submit(done, given=[states[:2], {"x": 1}][0]).result() == 9
    assert total.submit([1], wait_for=[states, done]).result() == 1
    assert same.map(states).result() == same.map(states[::-1]).result()[::-1] == [1, 2, 3]
    assert sorted(same.map(done).result()) == [1, 2, 3]
    assert total.map([[1], [2]], unmapped(states)).result() == [7, 8]
    bad = odd_ones_fail.map(range(2)).wait()
    assert total.submit(bad).wait().name == "TriggerFailed"


# -- sets of futures -----------------------------------------------------------------------------


def test_wait_gives_sets_of_the_futures_of_lists(runner: str) -> None:
    several, others, one = same.map(range(3)), odd_ones_fail.map(range(2)), same.submit(7)
    done, not_done = wait([several, [others, one, several[1]]])
    assert (len(done), len(not_done), not_done) == (6, 0, set())
    assert isinstance(done, MutableSet)
    assert done == {*several, *others, one}
    assert {*several} < done
    assert done > {*several}
    assert (several[2] in done, one in done, several[2] in not_done, 3 in done) == (True, True, False, False)
    assert done - {*several} == {*others, one}
    assert {*several} | done == done
    assert {*several} & not_done == set()
    assert sorted(f.result() for f in done if f.state.is_completed()) == [0, 0, 1, 2, 7]
    assert done.isdisjoint(not_done)
    assert not done.isdisjoint({one})


def test_what_is_taken_out_of_such_a_set_is_out(threads: str) -> None:
    several, one = same.map(range(3)), same.submit(7)
    done = wait([several, one]).done
    first = done.pop()
    assert first not in done
    done.discard(several[0])
    done.discard(several[0])
    done.remove(one)
    assert done == {*several, one} - {first, several[0], one}
    done.add(several[0])
    done.add(one)
    assert len(done) == 4 - 1
    seen = set()
    while done:
        seen.add(done.pop())
    assert seen == {*several, one} - {first}
    with pytest.raises(KeyError):
        done.pop()


@pytest.mark.parametrize("return_when", ["FIRST_COMPLETED", "FIRST_EXCEPTION"])
def test_the_first_of_a_map(beside: str, gates: Callable[[str], Gate], return_when: str) -> None:
    several = gated_if_late.map(unmapped(gates("late")), range(4), chunk=1)
    done, not_done = wait(several, return_when=return_when, timeout=SOON)
    assert 0 < len(done) < 4
    assert len(not_done) == 4 - len(done)
    assert {several[2], several[3]} <= not_done
    assert return_when == "FIRST_COMPLETED" or several[1] in done
    gates("late").open()
    several.wait()


def test_waiting_on_for_those_that_are_left(beside: str, gates: Callable[[str], Gate]) -> None:
    """As with other libraries' sets: what has not ended is waited for again."""
    several = gated.map([gates(name) for name in "abc"], list("abc"), chunk=1, window=3)
    seen, opened, left = [], iter("abc"), wait(several, timeout=0).not_done
    assert len(left) == 3
    while left:
        gates(next(opened)).open()
        done, left = wait(left, return_when="FIRST_COMPLETED", timeout=SOON)
        seen.append(sorted(f.result() for f in done))
    assert seen == [["a"], ["b"], ["c"]]
    assert wait(left) == (set(), set())
    some = wait(several).done
    some.discard(several[1])
    assert sorted(f.result() for f in as_completed(some)) == ["a", "c"]
    assert len(wait([some, several]).done) == len(wait([some, several[1]]).done) == 3


def test_waiting_for_an_endless_map_ends_in_time(beside: str) -> None:
    def endless() -> Iterator[int]:
        n = 0
        while True:
            yield n
            n += 1

    several = same.map(endless(), window=4)
    done, _ = wait(several, return_when="FIRST_COMPLETED", timeout=SOON)
    assert done
    done, _ = wait(several, timeout=0.01)
    assert done
    several.cancel()


def test_several_maps_and_futures_as_they_complete(runner: str) -> None:
    several, others, one = same.map(range(3)), same.map(iter(range(10, 12))), same.submit(7)
    found = list(as_completed([others, several, one, several[1]], timeout=SOON))
    assert len(found) == len(set(found)) == 6
    assert sorted(f.result() for f in found) == [0, 1, 2, 7, 10, 11]


def test_as_completed_of_a_list_tells_how_many_were_late(beside: str, gates: Callable[[str], Gate]) -> None:
    several = gated.map([gates("late"), gates("first")], [0, 1], chunk=1)
    gates("first").open()
    found = as_completed([several], timeout=1.0)
    until(several[1].done, "the first one's end")
    assert next(found) == several[1]
    with pytest.raises(TimeoutError, match=r"1 \(of 2\) futures unfinished"):
        next(found)


# -- what they take ------------------------------------------------------------------------------

ASKED: dict[str, Callable[[Any], Any]] = {
    "list.wait": lambda several: several.wait(),
    "list.states": lambda several: several.states,
    "wait": wait,
    "first": lambda several: wait(several, return_when="FIRST_EXCEPTION"),
    "both": lambda several: wait([several, several[3]]),
    "as_completed": lambda several: sum(f.done() for f in as_completed(several)),
    "futures": lambda several: sum(f.done() for f in several),
    "states": lambda several: sum(s.is_completed() for s in several.states),
    "flow": lambda several: flow(name="gives-it")(lambda: several)(return_state=True),
}


@pytest.mark.parametrize("how", ASKED)
def test_what_is_asked_of_a_map_is_one_object(threads: str, how: str) -> None:
    several = one_fails.map(range(MANY))
    several.wait()
    tracemalloc.start()
    try:
        found = ASKED[how](several)
        took = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found
    assert took < MANY * EACH


def handles(several: Any) -> int:
    return len(several._map.scope.pump.inspect(lambda: several._map.consumers.future_refs))


def test_futures_on_the_way_leave_nothing_behind(threads: str) -> None:
    several = same.map(range(3000))
    assert sum(1 for _ in as_completed(several)) == sum(1 for _ in several) == sum(1 for _ in wait(several).done)
    assert handles(several) == 0
    for ask in as_completed, iter, lambda several: iter(wait(several).done):
        many = ask(several)
        kept = [next(many) for _ in range(3)]
        del many
        assert handles(several) == 3
        assert all(type(f) is Future for f in kept)
        del kept
        assert handles(several) == 0
    assert [state.result() for state in several.wait()[:10]] == list(range(10))
    assert handles(several) == 0
