"""What goes wrong at the user's hands: each mistake gets a clear error, early, and costs nothing but itself."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

from anabranch import flow, task, unmapped
from anabranch.core import errors
from anabranch.core.errors import (
    ConfigurationError,
    MapError,
    MissingExtraError,
    OptionError,
    ParameterBindError,
    ParameterTypeError,
)
from tests.integration.arithmetic import add, double, same

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.conftest import Place

WAIT = 30.0
MANY = 10_000


# -- at decoration ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "word", "nearest"),
    [
        (task, "retrys", "retries"),
        (task, "timeout_second", "timeout_seconds"),
        (task, "cache_polcy", "cache_policy"),
        (task, "on_failed", "on_failure"),
        (flow, "task_runer", "task_runner"),
        (flow, "on_exits", "on_exit"),
        (double.with_options, "retry_delay_second", "retry_delay_seconds"),
    ],
)
def test_a_misspelt_option_is_answered_with_the_nearest(make: Any, word: str, nearest: str) -> None:
    with pytest.raises(OptionError, match=f"unknown option '{word}'; did you mean '{nearest}'"):
        make(**{word: 1})(lambda: None)


def test_a_word_like_no_option_gets_the_list() -> None:
    with pytest.raises(OptionError, match=r"unknown option 'zzz'; there are: .*retries"):
        task(zzz=1)(lambda: None)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("retries", -1), ("retries", 1.5), ("retries", True), ("retries", "3"),
        ("retry_delay_seconds", -0.1), ("retry_delay_seconds", [1] * 51), ("retry_delay_seconds", [1, -1]),
        ("retry_jitter_factor", -1), ("retry_on", "ValueError"), ("retry_on", [ValueError, 3]),
        ("retry_condition_fn", True), ("timeout_seconds", -1), ("timeout_seconds", "5"),
        ("timeout_seconds", float("nan")), ("concurrency_limit", 0), ("async_concurrency", 0), ("memory", "lots"),
        ("memory", -1), ("cpus", -1), ("cpus", "two"), ("resources", 3), ("priority", 0.5), ("cache_policy", "INPUTS"),
        ("cache_key_fn", "key"), ("cache_expiration", -1), ("crash_retries", -1), ("name", 7), ("tags", [1]),
        pytest.param("tags", 5), ("on_failure", 3), ("on_failure", [print, "x"]),
        ("log_prints", "yes"), ("persist_result", "always"), ("task_run_name", 3),
        ("trigger", "always"), ("state_handlers", "handler"),
    ],
)  # fmt: skip
def test_a_bad_value_names_its_option(option: str, value: Any) -> None:
    with pytest.raises(OptionError, match=rf"@task '?.*: {option} "):
        task(**{option: value})(lambda: None)


@pytest.mark.parametrize("value", [3, "text", None])
def test_only_functions_become_tasks(value: Any) -> None:
    with pytest.raises(OptionError, match="takes a function"):
        task()(value)
    with pytest.raises(OptionError, match="takes a function"):
        flow()(value)


def test_an_option_and_its_older_name_are_one_too_many() -> None:
    with pytest.raises(OptionError, match="'max_retries' is an older name of 'retries'"):
        task(retries=1, max_retries=2)(lambda: None)


def test_a_timeout_of_zero_is_none(threads: Place) -> None:
    assert same.with_options(timeout_seconds=0).submit(1).result(WAIT) == 1


# -- before a run exists ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "kwargs", "fault"),
    [((), {}, "'x'"), ((1, 2, 3), {}, "argument"), ((1,), {"z": 1}, "'z'"), ((1,), {"x": 1}, "'x'")],
)
@pytest.mark.parametrize("how", ["__call__", "submit", "map"])
def test_arguments_that_do_not_fit(untouched: Place, how: str, args: Any, kwargs: Any, fault: str) -> None:
    with pytest.raises(ParameterBindError, match=f"add.*{fault}"):
        getattr(add, how)(*args, **kwargs)


def test_arguments_that_do_not_fit_a_flow(untouched: Place) -> None:
    with pytest.raises(ParameterBindError, match="'y'"):
        flow(name="bad-input")(lambda x: x)(1, y=2)


@pytest.mark.parametrize("option", ["chunk", "window"])
@pytest.mark.parametrize("value", [0, -1, "x", 1.5, True])
def test_bad_chunk_and_window(untouched: Place, option: str, value: Any) -> None:
    with pytest.raises(OptionError, match=rf"double.map: {option} "):
        double.map([1, 2], **{option: value})


def test_bad_keep(untouched: Place) -> None:
    with pytest.raises(OptionError, match="keep must be one of 'values', 'none'"):
        double.map([1, 2], keep="all")


def test_unequal_lengths(untouched: Place) -> None:
    with pytest.raises(MapError, match=r"(?s)x.*3.*y.*2"):
        add.map([1, 2, 3], [1, 2])


@pytest.mark.parametrize("value", [7, None, "text", b"bytes", bytearray(b"x")])
def test_nothing_to_map_over(untouched: Place, value: Any) -> None:
    with pytest.raises(MapError, match="double"):
        double.map(value)


def test_all_unmapped(untouched: Place) -> None:
    with pytest.raises(MapError, match="double"):
        double.map(unmapped([1, 2]))


def test_an_unknown_runner_is_answered_with_the_known(untouched: Place) -> None:
    with pytest.raises(ConfigurationError, match="unknown runner 'threds'; known are: thread, process, inline, dask"):
        flow(runner="threds", name="f")(lambda: 1)()


def test_what_is_no_runner(untouched: Place) -> None:
    with pytest.raises(ConfigurationError, match="runner must be thread"):
        flow(runner=object(), name="f")(lambda: 1)()


def test_a_missing_extra_is_named(threads: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in sys.modules if n.partition(".")[0] in ("dask", "distributed")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.setitem(sys.modules, "dask", None)
    with pytest.raises(MissingExtraError, match=r"anabranch\[dask\]"):
        flow(runner="dask", name="f")(lambda: 1)()


def test_every_error_has_the_one_base() -> None:
    kinds = [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, Exception)]
    assert [e for e in kinds if not issubclass(e, errors.AnabranchError)] == []


class Size(BaseModel):
    width: int


def test_validation_names_the_parameter(threads: Place) -> None:
    @flow(name="sized")
    def sized(size: Size, count: int) -> int:
        raise AssertionError("never called")

    with pytest.raises(ParameterTypeError) as caught:
        sized({"width": "wide"}, "many")
    text = str(caught.value)
    assert "2 parameters do not validate" in text
    assert "size: " in text
    assert "width" in text
    assert "count: " in text


# -- what is mapped over ---------------------------------------------------------------------------------


def test_an_empty_map(both: Place) -> None:
    futures = double.map([])
    assert futures.result(WAIT) == []
    assert futures.wait(WAIT) == []
    assert list(futures.results()) == []
    assert len(futures) == 0


def test_an_empty_map_of_an_iterator_and_its_consumer(threads: Place) -> None:
    assert double.map(double.map(iter(()))).result(WAIT) == []


def test_what_counts_as_elements(threads: Place) -> None:
    assert same.map({"a": 1, "b": 2}).result(WAIT) == ["a", "b"]
    assert sorted(same.map({3, 1, 2}).result(WAIT)) == [1, 2, 3]
    assert same.map(n for n in range(3)).result(WAIT) == [0, 1, 2]
    assert add.map(["a", "b"], "text").result(WAIT) == ["atext", "btext"], "text is one value, not many"


def failing_after(count: int) -> Iterator[int]:
    yield from range(count)
    raise OSError("the disk is gone")


def test_an_iterator_that_raises_keeps_what_is_finished(both: Place) -> None:
    futures = double.map(failing_after(5_000))
    with pytest.raises(OSError, match="the disk is gone"):
        futures.result(WAIT)
    states = futures.wait(WAIT)
    assert len(states) == 5_000
    assert all(s.is_completed() for s in states)
    assert futures[4_999].result(WAIT) == 9_998


def test_a_stream_over_an_iterator_that_raises_gives_its_items_first(threads: Place) -> None:
    taken = []
    with pytest.raises(OSError, match="the disk is gone"):  # noqa: PT012 - what was taken before counts
        for value in double.map(failing_after(5_000)).results():
            taken.append(value)  # noqa: PERF402
    assert taken == [2 * n for n in range(5_000)]


def test_iterators_of_unequal_length_say_so_at_the_end(threads: Place) -> None:
    futures = add.map(iter(range(100)), iter(range(90)))
    with pytest.raises(MapError, match=r"x.*y|y.*x"):
        futures.result(WAIT)
    assert futures[89].result(WAIT) == 178


# -- ten thousand failures -------------------------------------------------------------------------------


@pytest.mark.sampled(3, "thousands of failures")
@pytest.mark.filterwarnings("default")
def test_many_failures_are_told_in_groups(threads: Place, caplog: pytest.LogCaptureFixture) -> None:
    @task
    def refuse(x: int) -> int:
        raise ValueError("no room" if x % 10 else "no number")

    @flow(name="refusals")
    def refusals() -> None:
        refuse.map(range(MANY)).wait(WAIT)

    with pytest.raises(ValueError, match="no "):
        refusals()
    run = threads.records.flow_runs(flow="refusals")[0]
    assert f"{MANY} of {MANY} task runs failed" in run.message.replace(",", "")
    groups = threads.records.failures(run.id)
    assert [(g[1], g[3], g[4]) for g in groups] == [("ValueError", 9_000, 1), ("ValueError", 1_000, 0)]
    assert len(threads.records.logs(run.id)) < 50
    assert len(caplog.records) < 50


# -- names -----------------------------------------------------------------------------------------------


def test_a_run_name_with_an_unknown_field(both: Place) -> None:
    state = same.with_options(task_run_name="for-{nobody}").submit(1).wait(WAIT)
    assert state.name == "Failed"
    assert "nobody" in state.message


def test_a_flow_run_name_with_an_unknown_field(threads: Place) -> None:
    """The name is made as the run begins: the run is recorded, Failed."""
    with pytest.raises(OptionError, match="nobody"):
        flow(flow_run_name="for-{nobody}", name="f")(lambda x: x)(1)


@pytest.mark.parametrize("name", ["a/b", "50%", "a&b", "<f>"])
def test_names_that_a_flow_cannot_have(name: str) -> None:
    with pytest.raises(OptionError, match="cannot hold"):
        flow(name=name)(lambda: 1)
