"""Objects that lie, raise or make up attributes: a value is what its type says, and asking it is nobody's failure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from anabranch import flow, task, unmapped
from anabranch.core.policies import INPUTS
from tests.acceptance.foreign import APART, MAKERS, Anything, Hostile, make
from tests.acceptance.ways import WAYS, result_of

if TYPE_CHECKING:
    from pathlib import Path

WAIT = 60.0


@task
def kind(x: Any) -> str:
    return type(x).__name__


@task
def kinds(x: Any, y: Any) -> tuple[str, str]:
    return type(x).__name__, type(y).__name__


@task
def made(name: str) -> Any:
    return make(name)


@task
def fails(name: str) -> None:
    raise ValueError("with an object", make(name))


@task(cache_policy=INPUTS)
def cached(x: Any) -> int:
    return 7


def names_of(runner: str) -> list[str]:
    return sorted(MAKERS) if runner in ("inline", "thread") else APART


def kind_of(name: str) -> str:
    return type(make(name)).__name__


@pytest.fixture
def names(runner: str) -> list[str]:
    """Those that can be on this runner; one run for all of them, or runners far away would be asked for each."""
    return names_of(runner)


@pytest.mark.parametrize("way", WAYS)
def test_an_object_that_is_returned_is_what_it_was(runner: str, names: list[str], way: str) -> None:
    found = {name: type(result_of(way, made, name)).__name__ for name in names}
    assert found == {name: kind_of(name) for name in names}


@pytest.mark.parametrize("way", WAYS)
def test_an_object_arrives_as_an_argument(runner: str, names: list[str], way: str) -> None:
    found = {name: result_of(way, kind, make(name)) for name in names}
    assert found == {name: kind_of(name) for name in names}


def test_an_object_arrives_whole_at_each_item(runner: str, names: list[str]) -> None:
    found = {name: kinds.map([1, 2], unmapped(make(name))).result(WAIT) for name in names}
    assert found == {name: [("int", kind_of(name))] * 2 for name in names}


def test_an_object_goes_from_task_to_task(runner: str, names: list[str]) -> None:
    found = {name: kind.submit(made.submit(name)).result(WAIT) for name in names}
    assert found == {name: kind_of(name) for name in names}


def test_an_object_among_others_of_a_map_fails_none_of_them(runner: str, names: list[str]) -> None:
    futures = made.map(names, chunk=len(names))
    futures.wait(WAIT)
    assert futures.failed() == []
    assert [type(value).__name__ for value in futures.result()] == [kind_of(name) for name in names]


@pytest.mark.parametrize("way", WAYS)
def test_an_exception_that_holds_an_object_keeps_its_type(runner: str, names: list[str], way: str) -> None:
    for name in names:
        with pytest.raises(ValueError) as caught:  # noqa: PT011
            result_of(way, fails, name)
        assert type(caught.value) is ValueError
        assert caught.value.args[0] == "with an object"


def test_an_object_from_a_flow_to_its_caller(runner: str, names: list[str]) -> None:
    @flow
    def gives(name: str) -> Any:
        return make(name)

    @flow
    def takes(x: Any) -> str:
        return type(x).__name__

    for name in names:
        assert type(gives(name)).__name__ == kind_of(name)
        assert takes(make(name)) == kind_of(name)


def test_an_object_as_the_input_of_a_cached_task(runner: str, names: list[str]) -> None:
    assert [cached.submit(make(name)).result(WAIT) for name in names] == [7] * len(names)


def test_hooks_and_handlers_see_the_object(threads: str, tmp_path: Path) -> None:
    seen: dict[str, str] = {}

    def look(obj: Any, run: Any, state: Any) -> None:
        seen[run.index] = type(state.result()).__name__

    watched = made.with_options(on_completion=[look])
    names = sorted(MAKERS)
    watched.map(names).wait(WAIT)
    assert [seen[n] for n in range(len(names))] == [kind_of(name) for name in names]  # type: ignore[index]


@pytest.mark.parametrize("hook", ["on_failure", "on_completion", "on_running"])
def test_a_hook_that_makes_up_its_attributes_and_raises_is_only_logged(threads: str, hook: str) -> None:
    class Loud(Anything):
        def __call__(self, *args: Any) -> Any:
            raise KeyError("no")

    work = task(lambda x: x if hook != "on_failure" else 1 / 0, **{hook: [Loud()]})  # type: ignore[call-overload]
    state = work.submit(1).wait(WAIT)
    assert state.is_final()


def test_an_answer_that_is_neither_true_nor_false_means_no_retry(threads: str) -> None:
    work = task(lambda: 1 / 0, retries=2, retry_condition_fn=lambda *_: Hostile())  # type: ignore[call-overload]
    with pytest.raises(ZeroDivisionError):
        work.submit().result(WAIT)
    with pytest.raises(ZeroDivisionError):
        work()


thing = Anything()


@task
def uses() -> str:
    return type(thing).__name__


def test_code_that_names_an_object_with_every_attribute_is_sent(runner: str) -> None:
    assert uses.submit().result(WAIT) == "Anything"


def test_code_that_does_not_unpickle_kills_nobody(apart: str) -> None:
    class Unlike:
        @property
        def __class__(self) -> Any:  # type: ignore[override]
            return int

    state = task(lambda: Unlike.__name__).submit().wait(WAIT)
    assert state.name == "Failed"
    assert "poison" not in state.message
    assert "__class__ must be set to a class" in state.message
