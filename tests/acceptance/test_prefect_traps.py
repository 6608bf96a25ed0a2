"""Traps of Prefect that anabranch does not have: failed upstreams and arguments.

Each docstring names the trap and where it was noted: a row of our notes on Prefect, or Prefect's issue number.
More of them: options, hooks, states and caching in `test_prefect_traps_options.py`, slots and ends of runs in
`..._runs.py`, what is of threads or of the driver alone in `..._here.py`, what is of other processes in
`..._workers.py`, coroutines and generators in `..._async.py`.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from anabranch import allow_failure, flow, quote, state, task, unmapped
from anabranch.core.errors import CancelledRun, OptionError, ParameterBindError, UpstreamError
from tests.acceptance.ways import WAYS, result_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.acceptance.conftest import Marks
    from tests.acceptance.gates import Gate


@task
def boom(x: object = None) -> None:
    raise ValueError("boom")


@task
def same(x: Any) -> Any:
    return x


# -- failed upstreams ----------------------------------------------------------------------------


def test_a_call_with_a_failed_future_raises(runner: str) -> None:
    """Row 24: `t(failed_future)` gave None to its caller, without any exception."""

    @flow
    def main() -> str:
        failed = boom.submit()
        with pytest.raises(UpstreamError, match="boom") as raised:
            same(failed)
        assert isinstance(raised.value.__cause__, ValueError)
        return "data"

    assert main() == "data"


def test_a_run_behind_a_failed_one_ends(runner: str) -> None:
    """Row 24: it stayed Pending for ever ("NotReady") and `result()` raised UnfinishedRun, naming nobody."""

    @flow
    def main() -> str:
        last = same.submit(same.submit(boom.submit()))
        assert isinstance(last.wait(), state.TriggerFailed)
        with pytest.raises(UpstreamError, match="same"):
            last.result()
        return "data"

    assert main() == "data"


def test_allow_failure_admits_cancelled_upstreams(beside: str, gates: Callable[[str], Gate]) -> None:
    """Row 21: `allow_failure` did not let Crashed and Cancelled through."""
    begun, gate = gates("begun"), gates("gate")

    @task
    def gated() -> None:
        begun.open()
        gate.pass_through()

    @flow
    def main() -> str:
        upstream = same.submit(gated.submit())
        assert begun.wait()
        assert upstream.cancel()
        got = same.submit(allow_failure(upstream))
        gate.open()
        assert isinstance(got.result(), CancelledRun)
        return "data"

    assert main() == "data"


def test_annotations_nest(runner: str) -> None:
    """Row 21: only the innermost of nested annotations counted."""

    @task
    def kinds(x: int, given: Any) -> str:
        return type(given).__name__

    @flow
    def main() -> Any:
        failed = boom.submit()
        return kinds.map([1, 2], unmapped(allow_failure(failed))), kinds.map([1], allow_failure(unmapped(failed)))

    assert main() == (["ValueError", "ValueError"], ["ValueError"])


def test_a_failed_item_admitted_in_a_map(runner: str) -> None:
    """#22918, row 21: what `allow_failure` round a map's futures lets through is each item's own exception."""

    @task
    def odd(x: int) -> int:
        if x % 2 == 0:
            raise ValueError(x)
        return x

    found = same.map(allow_failure(odd.map([1, 2, 3]))).result()
    assert (found[0], str(found[1]), found[2]) == (1, "2", 3)


# -- arguments -----------------------------------------------------------------------------------


@dataclass
class Box:
    content: Any


class Pair(NamedTuple):
    left: Any
    right: Any


@pytest.mark.parametrize("way", WAYS)
def test_futures_at_any_depth_of_containers(runner: str, way: str) -> None:
    """Rows 19 and 23, PR 11075: containers keep their type, and the caller's own objects stay as they were."""
    future = same.submit(7)
    given: dict[str, Any] = {"list": [1, {"deep": (future,)}], "box": Box([future]), "pair": Pair(future, {future: 0})}
    got = result_of(way, same, given)
    assert got == {"list": [1, {"deep": (7,)}], "box": Box([7]), "pair": Pair(7, {7: 0})}
    assert type(got["pair"]) is Pair
    assert given["box"].content == [future]


class Untouchable(list[int]):
    """May be sent, and have its length taken, but nobody may go over its elements."""

    def __iter__(self) -> Any:
        raise AssertionError("walked")

    def __reduce__(self) -> Any:
        return Untouchable, (self.copy(),)


def test_a_quoted_value_is_not_searched(runner: str) -> None:
    """#9934, row 21: big arguments were walked element by element, twice; `quote` spares one that."""
    given = Untouchable([1, 2])
    assert same.submit(quote(given)).result().copy() == [1, 2]


def test_a_quoted_value_is_the_same_object(threads: str) -> None:
    """#9934: where all is one process, what is quoted is not copied either."""
    given = Untouchable([1, 2])
    assert same.submit(quote(given)).result() is given


class Unhashable:
    """Cannot be hashed or compared."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, content: int = 0) -> None:
        self.content = content

    def __eq__(self, other: object) -> bool:
        raise AssertionError("compared")


class Unpicklable(Unhashable):
    """Cannot be hashed, compared or pickled."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise AssertionError("pickled")


@pytest.mark.parametrize("way", WAYS)
def test_inputs_are_not_hashed_unasked(runner: str, way: str) -> None:
    """Row 44, section 2.4: inputs were hashed for a cache, and for Dask's keys, that nobody had asked for."""
    assert result_of(way, same, Unhashable(7)).content == 7


@pytest.mark.parametrize("way", WAYS)
def test_inputs_are_not_pickled_unasked(threads: str, way: str) -> None:
    """Row 44: for such a hash they were pickled, where nothing has to travel."""
    given = Unpicklable()
    assert result_of(way, same, given) is given


def test_equal_calls_run_each(runner: str, marks: Marks) -> None:
    """Section 2.4, `pure=True`: equal arguments are no reason to run once."""

    @task
    def told(x: int) -> int:
        marks.add(x)
        return x

    assert [f.result() for f in [told.submit(1) for _ in range(3)]] == [1, 1, 1]
    assert told.map([1, 1]).result() == [1, 1]
    assert marks.read() == ["1"] * 5


def test_a_list_that_is_changed_after_map(beside: str, gates: Callable[[str], Gate]) -> None:
    """Row 20: a map goes over what its list held when it was called, whatever happens to the list later."""
    gate = gates("gate")
    xs = [1, 2, 3]
    futures = same.map(xs, wait_for=[task(gate.pass_through).submit()])
    xs.clear()
    gate.open()
    assert futures.result() == [1, 2, 3]


def test_defaults_are_never_mapped(runner: str) -> None:
    """Row 20: a mutable default is a constant, one object for all items, as in plain Python."""

    @task
    def pick(x: int, of: list[int] = [1, 2, 3]) -> Any:  # noqa: B006 - that it is mutable is what this is about
        return of, id(of)

    (one, first), (other, second) = pick.map([0, 1], chunk=2).result()  # one chunk: one worker, so one process
    assert one == other == [1, 2, 3]
    assert first == second


def test_defaults_are_not_copied(threads: str) -> None:
    """Row 20: where all is one process, a default is the caller's own object."""
    default = [1, 2, 3]

    @task
    def pick(x: int, of: list[int] = default) -> Any:
        return of

    assert all(got is default for got in pick.map([0, 1]).result())


def test_a_generator_is_no_list_first(runner: str) -> None:
    """Row 20: `map` listed generators before the first item ran; here they are pulled as the reader goes."""
    stream = same.map(itertools.count()).results()
    assert list(itertools.islice(stream, 5)) == [0, 1, 2, 3, 4]
    stream.close()


def test_a_generator_as_an_argument_is_left_alone(threads: str) -> None:
    """Row 23: looking for futures must not use a generator up."""
    assert task(sum).submit(x for x in range(4)).result() == 6


def test_an_iterator_as_an_argument_is_left_alone(runner: str) -> None:
    """Row 23: nor any other iterator, which may travel as it is."""
    assert task(sum).submit(iter([0, 1, 2, 3])).result() == 6


@pytest.mark.parametrize("name", ["return_state", "wait_for"])
def test_reserved_parameter_names_are_refused(name: str) -> None:
    """Row 1: a parameter with the name of an engine's keyword would silently get nothing."""
    namespace: dict[str, Any] = {}
    exec(f"def work({name}): ...", namespace)
    with pytest.raises(OptionError, match=name):
        task(namespace["work"])


def test_parameters_may_be_called_like_map_options(runner: str) -> None:
    """Row 1: `chunk` is a parameter here and no option of the map."""

    @task
    def work(x: int, chunk: str) -> str:
        return f"{x}{chunk}"

    assert work.map([1, 2], chunk=unmapped("a")).result() == ["1a", "2a"]


def test_arguments_are_bound_before_a_run_exists(runner: str) -> None:
    """Row 5: a wrong call is the caller's error at once, by `submit` and `map` too."""
    with pytest.raises(ParameterBindError, match="did you mean 'x'"):
        same.submit(xx=1)
    with pytest.raises(ParameterBindError):
        same.map([1], [2])
