"""Traps of Prefect that anabranch does not have: arguments, options, states, hooks, caching.

Each docstring names the trap and where it was noted: a row of our notes on Prefect, or Prefect's issue number.
What runs do to threads, workers and memory is in `test_prefect_traps_runs.py`.
"""

from __future__ import annotations

import itertools
import threading
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest

from anabranch import allow_failure, cache_policies, flow, quote, state, tags, task, unmapped
from anabranch.core.errors import CancelledRun, OptionError, ParameterBindError, UpstreamError
from tests.acceptance.ways import WAYS, result_of

pytestmark = pytest.mark.usefixtures("threads")


@task
def boom(x: object = None) -> None:
    raise ValueError("boom")


@task
def same(x: Any) -> Any:
    return x


# -- failed upstreams ----------------------------------------------------------------------------


def test_a_call_with_a_failed_future_raises() -> None:
    """Row 24: `t(failed_future)` gave None to its caller, without any exception."""

    @flow
    def main() -> str:
        failed = boom.submit()
        with pytest.raises(UpstreamError, match="boom") as raised:
            same(failed)
        assert isinstance(raised.value.__cause__, ValueError)
        return "data"

    assert main() == "data"


def test_a_run_behind_a_failed_one_ends() -> None:
    """Row 24: it stayed Pending for ever ("NotReady") and `result()` raised UnfinishedRun, naming nobody."""

    @flow
    def main() -> str:
        last = same.submit(same.submit(boom.submit()))
        assert isinstance(last.wait(), state.TriggerFailed)
        with pytest.raises(UpstreamError, match="same"):
            last.result()
        return "data"

    assert main() == "data"


def test_allow_failure_admits_cancelled_upstreams() -> None:
    """Row 21: `allow_failure` did not let Crashed and Cancelled through."""
    begun, gate = threading.Event(), threading.Event()

    @task
    def gated() -> None:
        begun.set()
        gate.wait(10)

    @flow
    def main() -> str:
        upstream = same.submit(gated.submit())
        begun.wait(10)
        upstream.cancel()
        got = same.submit(allow_failure(upstream))
        gate.set()
        assert isinstance(got.result(), CancelledRun)
        return "data"

    assert main() == "data"


def test_annotations_nest() -> None:
    """Row 21: only the innermost of nested annotations counted."""

    @task
    def kinds(x: int, given: Any) -> str:
        return type(given).__name__

    @flow
    def main() -> Any:
        failed = boom.submit()
        return kinds.map([1, 2], unmapped(allow_failure(failed))), kinds.map([1], allow_failure(unmapped(failed)))

    assert main() == (["ValueError", "ValueError"], ["ValueError"])


def test_a_failed_item_admitted_in_a_map() -> None:
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
def test_futures_at_any_depth_of_containers(way: str) -> None:
    """Rows 19 and 23, PR 11075: containers keep their type, and the caller's own objects stay as they were."""
    future = same.submit(7)
    given: dict[str, Any] = {"list": [1, {"deep": (future,)}], "box": Box([future]), "pair": Pair(future, {future: 0})}
    got = result_of(way, same, given)
    assert got == {"list": [1, {"deep": (7,)}], "box": Box([7]), "pair": Pair(7, {7: 0})}
    assert type(got["pair"]) is Pair
    assert given["box"].content == [future]


def test_a_quoted_value_is_not_searched() -> None:
    """#9934, row 21: big arguments were walked element by element, twice; `quote` spares one that."""

    class Untouchable(list[int]):
        def __iter__(self) -> Any:
            raise AssertionError("walked")

    given = Untouchable([1, 2])
    assert same.submit(quote(given)).result() is given


class Unhashable:
    """Cannot be hashed, compared or pickled."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise AssertionError("compared")

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise AssertionError("pickled")


@pytest.mark.parametrize("way", WAYS)
def test_inputs_are_not_hashed_unasked(way: str) -> None:
    """Row 44, section 2.4: inputs were hashed for a cache, and for Dask's keys, that nobody had asked for."""
    given = Unhashable()
    assert result_of(way, same, given) is given


def test_equal_calls_run_each(runner: str, marks: Any) -> None:
    """Section 2.4, `pure=True`: equal arguments are no reason to run once."""

    @task
    def told(x: int) -> int:
        marks.add(x)
        return x

    assert [f.result() for f in [told.submit(1) for _ in range(3)]] == [1, 1, 1]
    assert told.map([1, 1]).result() == [1, 1]
    assert marks.read() == ["1"] * 5


def test_a_list_that_is_changed_after_map() -> None:
    """Row 20: a map goes over what its list held when it was called, whatever happens to the list later."""
    gate = threading.Event()
    xs = [1, 2, 3]
    futures = same.map(xs, wait_for=[task(gate.wait).submit(10)])
    xs.clear()
    gate.set()
    assert futures.result() == [1, 2, 3]


def test_defaults_are_never_mapped() -> None:
    """Row 20: a mutable default is a constant, one object for all items, as in plain Python."""
    default = [1, 2, 3]

    @task
    def pick(x: int, of: list[int] = default) -> Any:
        return of

    assert all(got is default for got in pick.map([0, 1]).result())


def test_a_generator_is_no_list_first() -> None:
    """Row 20: `map` listed generators before the first item ran; here they are pulled as the reader goes."""
    stream = same.map(itertools.count()).results()
    assert list(itertools.islice(stream, 5)) == [0, 1, 2, 3, 4]
    stream.close()


def test_a_generator_as_an_argument_is_left_alone() -> None:
    """Row 23: looking for futures must not use a generator up."""
    assert task(sum).submit(x for x in range(4)).result() == 6


@pytest.mark.parametrize("name", ["return_state", "wait_for"])
def test_reserved_parameter_names_are_refused(name: str) -> None:
    """Row 1: a parameter with the name of an engine's keyword would silently get nothing."""
    namespace: dict[str, Any] = {}
    exec(f"def work({name}): ...", namespace)
    with pytest.raises(OptionError, match=name):
        task(namespace["work"])


def test_parameters_may_be_called_like_map_options() -> None:
    """Row 1: `chunk` is a parameter here and no option of the map."""

    @task
    def work(x: int, chunk: str) -> str:
        return f"{x}{chunk}"

    assert work.map([1, 2], chunk=unmapped("a")).result() == ["1a", "2a"]


def test_arguments_are_bound_before_a_run_exists() -> None:
    """Row 5: a wrong call is the caller's error at once, by `submit` and `map` too."""
    with pytest.raises(ParameterBindError, match="did you mean 'x'"):
        same.submit(xx=1)
    with pytest.raises(ParameterBindError):
        same.map([1], [2])


# -- options and names ---------------------------------------------------------------------------


def test_with_options_loses_none_and_takes_falsy_ones() -> None:
    """Row 2: `with_options` dropped hooks, and falsy values were taken as not given."""
    hook = print
    full = task(
        description="text", retries=3, retry_delay_seconds=5, cache_expiration=60, tags=["a"],
        on_completion=[hook], on_retry=[hook], on_crashed=[hook], state_handlers=[hook], trigger=all, cpus=2,
    )(lambda: None)  # fmt: skip
    new = full.with_options(description="", retries=0, retry_delay_seconds=0, cache_expiration=0)
    kept = new.options
    assert (kept.description, kept.retries, kept.retry_delay_seconds, kept.cache_expiration) == ("", 0, 0.0, 0.0)
    assert (kept.on_completion, kept.on_retry, kept.on_crashed, kept.state_handlers) == ((hook,),) * 4
    assert (kept.trigger, kept.cpus, kept.tags) == (all, 2.0, ("a",))
    assert full.options.retries == 3


def test_a_misspelt_option_is_an_error() -> None:
    """Rows 44 and 70: options that do not exist were ignored or refused without a hint."""
    with pytest.raises(OptionError, match="retry_delay_seconds"):
        task(retry_delay_second=1)(lambda: None)


@pytest.mark.parametrize("way", ["submit", "map"])
@pytest.mark.parametrize("given", ["run-{x}", lambda parameters: f"run-{parameters['x']}"])
def test_names_are_made_from_the_inputs_values(way: str, given: Any) -> None:
    """Row 7: a name template sees values, not futures; a callable may take the parameters."""
    names: list[str] = []
    named = task(task_run_name=given, on_completion=lambda task, run, ended: names.append(run.name))(lambda x: x)
    upstream = same.submit(5)
    named.submit(upstream).wait() if way == "submit" else named.map([upstream]).wait()
    assert names == ["run-5"]


def test_a_called_run_is_named_from_its_parameters() -> None:
    """Row 7: the same name callable for calls as for submits."""
    names: list[str] = []
    named = task(
        task_run_name=lambda parameters: f"run-{parameters['x']}",
        on_completion=lambda task, run, ended: names.append(run.name),
    )(lambda x: x)
    assert named(5) == 5
    assert names == ["run-5"]


def test_a_flow_run_name_that_is_no_text() -> None:
    """Row 7: a name callable that gives no string is told by name."""
    with pytest.raises(OptionError, match="flow_run_name"):
        flow(name="named", flow_run_name=lambda: 5)(lambda: 1)()


@pytest.mark.parametrize("way", WAYS)
def test_tags_are_those_around_each_submit(way: str) -> None:
    """Row 8, section 2.3: the context was taken once per runner; later submits ran with the first one's tags."""
    assert _tags_of(way) == [("first",), ("second",)]


def test_tags_in_other_processes(processes: str) -> None:
    """Section 2.3: two submits under `tags("first")` and `tags("second")` both ran with `first`."""
    assert _tags_of("submit") == [("first",), ("second",)]


def _tags_of(way: str) -> list[tuple[str, ...]]:
    @task
    def seen(x: int) -> tuple[str, ...]:
        from anabranch.core import context

        here = context.current_task.get()
        assert here is not None
        return here.run.tags

    found = []
    for name in ("first", "second"):
        with tags(name):
            found.append(result_of(way, seen, 1))
    return found


def test_jitter_is_applied() -> None:
    """Row 40: `retry_jitter_factor` was accepted and then not applied to task retries."""
    dues: list[float] = []

    def note(task: Any, old: state.State, new: state.State) -> None:
        if isinstance(new, state.AwaitingRetry):
            dues.append((new.start_time or 0.0) - new.timestamp)

    slow = task(retries=1, retry_delay_seconds=0.01, retry_jitter_factor=100, state_handlers=[note])(boom.fn)
    slow.map(range(8)).wait()
    assert len(dues) == 8
    assert max(dues) > 0.02
    assert len({round(due, 6) for due in dues}) > 1


def test_retry_conditions() -> None:
    """Row 42: there is no `retry_on` any more, and a condition that raises must not lose the run."""

    def condition(task: Any, run: Any, ended: state.State) -> bool:
        raise RuntimeError("the condition is broken")

    runs: list[str] = []

    def work(name: str) -> None:
        runs.append(name)
        raise ValueError(name)

    assert task(retries=2, retry_on=KeyError)(work).submit("other").wait().is_failed()
    assert task(retries=2, retry_condition_fn=condition)(work).submit("broken").wait().is_failed()
    assert task(retries=2, retry_on=(KeyError, ValueError))(work).submit("retried").wait().is_failed()
    assert runs == ["other", "broken", *["retried"] * 3]


# -- hooks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_a_hook_that_raises_changes_nothing(way: str) -> None:
    """Row 38: its exception is logged, the next hook still runs, and so does the task."""
    seen: list[str] = []

    def broken(*_: Any) -> None:
        raise RuntimeError("hook")

    def note(task: Any, run: Any, ended: state.State) -> None:
        seen.append(ended.name)

    work = task(on_running=[broken, note], on_completion=[broken, note])(lambda x: x)
    assert result_of(way, work, 1) == 1
    assert seen == ["Running", "Completed"]


def test_tasks_have_hooks_for_retry_and_cancellation() -> None:
    """Row 38: tasks had no on_retry, no on_cancellation and no on_crashed."""
    cancelled, gate = threading.Event(), threading.Event()
    retried: list[str] = []
    assert task(retries=2, on_retry=lambda t, r, s: retried.append(s.name))(boom.fn).submit().wait().is_failed()
    assert retried == ["AwaitingRetry"] * 2

    doomed = task(on_cancellation=lambda t, r, s: cancelled.set())(lambda: None)
    future = doomed.submit(wait_for=[task(gate.wait).submit(10)])
    assert future.cancel()
    gate.set()
    assert cancelled.wait(10)


# -- states and results --------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["submit", "call"])
def test_a_result_of_none_is_a_result(way: str) -> None:
    """Row 31: a completed run whose data is None raised MissingResult when its state was asked."""
    nothing = task(lambda: None)
    ended = nothing.submit(return_state=True) if way == "submit" else nothing(return_state=True)
    assert ended.is_completed()
    assert ended.result() is None


WRAPS: dict[str, Any] = {
    "dict": lambda f: {"a": f},
    "mixed": lambda f: [1, f],
    "list": lambda f: [f],
    "bare": lambda f: f,
}


@pytest.mark.parametrize("wrap", list(WRAPS))
def test_a_failed_future_in_what_a_flow_returns(wrap: str) -> None:
    """Row 32: in a dict, or beside data, a failed future made a Completed flow."""
    ended = flow(name="main")(lambda: WRAPS[wrap](boom.submit()))(return_state=True)
    assert ended.is_failed()
    with pytest.raises(ValueError, match="boom"):
        ended.result()


def test_a_flow_gives_values_not_states() -> None:
    """Row 33: a flow that returned futures gave its caller States in their place."""

    @flow
    def main(nested: bool) -> Any:
        return {"a": same.submit(1), "b": [same.map([2, 3])]} if nested else same.map([1, 2])

    assert main(False) == [1, 2]
    assert main(True) == {"a": 1, "b": [[2, 3]]}


def test_a_flow_without_value_fails_with_its_tasks() -> None:
    """Rows 32 and 49: a flow returned None and was Completed, whatever had become of what it had submitted."""

    @flow
    def main() -> None:
        boom.submit()

    with pytest.raises(ValueError, match="boom"):
        main()


def test_a_users_timeout_error_is_no_time_out() -> None:
    """Row 18: the user's own TimeoutError was taken for that of the wait, or of the engine."""

    @task(timeout_seconds=10)
    def work() -> None:
        raise TimeoutError("mine")

    future = work.submit()
    assert future.wait().name == "Failed"
    with pytest.raises(TimeoutError, match="mine"):
        future.result(timeout=5)


def test_a_returned_failed_state_is_retried() -> None:
    """Row 40: a returned state decides, so a Failed one is retried like an exception."""
    runs: list[int] = []

    @task(retries=1)
    def work() -> Any:
        runs.append(1)
        return state.Failed("not yet") if len(runs) < 2 else state.Completed(data="done")

    assert work.submit().result() == "done"


# -- caching -------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [5, None])
def test_failures_are_not_cached_and_values_are(value: Any) -> None:
    """Rows 31 and 44: a failure is no value to keep; None is one."""
    runs: list[int] = []

    @task(cache_policy=cache_policies.INPUTS)
    def work(key: str) -> Any:
        runs.append(1)
        if len(runs) == 1:
            raise ValueError("once")
        return value

    key = f"failures-{value}"
    assert [work.submit(key).wait().name for _ in range(3)] == ["Failed", "Completed", "Cached"]
    assert work.submit(key).result() == value
    assert len(runs) == 2
