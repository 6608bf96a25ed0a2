"""A State as an argument stands for its run: the value, or the failure, of that."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import allow_failure, flow, quote, state, task, triggers
from anabranch.core.errors import UnfinishedRun, UpstreamError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.acceptance.conftest import Marks


@task
def up(x: int = 42) -> int:
    return x


@task
def bad() -> int:
    raise ValueError("bad")


@task
def add_one(x: Any) -> Any:
    return x + 1


@task
def told(x: Any) -> str:
    return type(x).__name__


@flow
def up_flow(x: int = 42) -> int:
    return x


@flow
def bad_flow() -> int:
    raise ValueError("bad")


@flow
def told_flow(x: Any) -> str:
    return type(x).__name__


@flow
def add_one_flow(x: Any) -> Any:
    return x + 1


STATES: dict[str, Callable[[], state.State]] = {
    "call": lambda: up(return_state=True),
    "submit": lambda: up.submit(return_state=True),
    "wait": lambda: up.submit().wait(),
    "map": lambda: up.map([42], return_state=True)[0],
    "flow": lambda: up_flow(return_state=True),
    "submitted flow": lambda: up_flow.submit(return_state=True),
    "by hand": lambda: state.Completed(data=42),
}
FAILED: dict[str, Callable[[], state.State]] = {
    "call": lambda: bad(return_state=True),
    "submit": lambda: bad.submit(return_state=True),
    "map": lambda: task(lambda x: bad.fn(), name="bad").map([1], return_state=True)[0],
    "flow": lambda: bad_flow(return_state=True),
    "submitted flow": lambda: bad_flow.submit(return_state=True),
    "by hand": lambda: state.Failed("bad"),
}
TAKERS: dict[str, Callable[..., Any]] = {
    "call": lambda x, **more: add_one(x, **more),
    "submit": lambda x, **more: add_one.submit(x, **more).result(),
    "map": lambda x, **more: add_one.map([x], **more).result()[0],
    "flow": lambda x, **more: add_one_flow(x, **more),
    "submitted flow": lambda x, **more: add_one_flow.submit(x, **more).result(),
}


@pytest.mark.parametrize("made", list(STATES))
def test_its_value_takes_its_place(runner: str, made: str) -> None:
    """Wherever it is given, and however deep."""

    @flow
    def main() -> dict[str, Any]:
        found: dict[str, Any] = {name: take(STATES[made]()) for name, take in TAKERS.items()}
        found["deep"] = [told({"a": [STATES[made]()]}), add_one.submit(x=STATES[made]()).result()]
        found["inside"] = task(lambda d: d["a"][0]).submit({"a": [STATES[made]()]}).result()
        found["constant"] = task(lambda a, b: a + b).map([1, 2], STATES[made]()).result() if made != "by hand" else None
        found["mapped over"] = add_one.map(state.Completed(data=[1, 2])).result()
        return found

    found = main()
    assert {name: found[name] for name in TAKERS} == dict.fromkeys(TAKERS, 43)
    assert (found["deep"], found["inside"], found["mapped over"]) == (["dict", 43], 42, [2, 3])


@pytest.mark.parametrize("made", list(FAILED))
@pytest.mark.parametrize("taker", list(TAKERS))
def test_a_failed_one_is_an_upstream_that_failed(runner: str, made: str, taker: str, marks: Marks) -> None:
    @flow
    def argument() -> Any:
        return TAKERS[taker](FAILED[made]())

    @flow
    def waited() -> Any:
        return TAKERS[taker](1, wait_for=[FAILED[made]()])

    for main in (argument, waited):
        ended = main(return_state=True)
        assert isinstance(ended.result(raise_on_failure=False), UpstreamError), main.name
        with pytest.raises(UpstreamError, match="bad"):
            main()


@pytest.mark.parametrize("made", list(FAILED))
def test_allow_failure_and_triggers_admit_it(runner: str, made: str) -> None:
    eager = told.with_options(trigger=triggers.all_failed)

    @flow(strict=True)
    def main() -> list[Any]:
        return [
            told.submit(allow_failure(FAILED[made]())).result(),
            told.map([allow_failure(FAILED[made]())]).result()[0],
            eager.submit(FAILED[made]()).result(),
            told.submit(1, wait_for=[allow_failure(FAILED[made]())]).result(),
        ]

    error = "FailedRun" if made == "by hand" else "ValueError"
    assert main() == [error, error, error, "int"]


def test_a_trigger_sees_that_it_completed(runner: str) -> None:
    eager = told.with_options(trigger=triggers.all_failed)

    @flow
    def main() -> str:
        return eager.submit(up(return_state=True)).wait().name

    assert main() == "TriggerFailed"


def test_quote_hands_it_over_as_it_is(runner: str) -> None:
    @flow
    def main() -> list[Any]:
        made = up(return_state=True)
        return [told(quote(made)), told.submit(quote(made)).result(), told_flow(quote(made)), told(quote([made]))]

    assert main() == ["State", "State", "State", "list"]


def test_one_that_is_not_final_is_an_error(runner: str) -> None:
    @flow
    def main(taker: str) -> Any:
        return TAKERS[taker](state.Running())

    for taker in TAKERS:
        with pytest.raises(UnfinishedRun, match="not final"):
            main(taker)


def test_a_call_that_does_not_begin_gives_its_state(runner: str) -> None:
    @flow
    def main() -> list[str]:
        found = [add_one(bad.submit(), return_state=True), add_one_flow(1, wait_for=[bad.submit()], return_state=True)]
        for ended in found:
            assert isinstance(ended.exception(), UpstreamError)
        return [ended.name for ended in found]

    assert main() == ["TriggerFailed"] * 2


def test_so_does_one_of_async_code(runner: str) -> None:
    @task
    async def slow(x: Any) -> Any:
        return x

    @flow
    async def slow_flow(x: Any) -> Any:
        return x

    @flow
    async def main() -> list[str]:
        found = [await work(bad.submit(), return_state=True) for work in (slow, slow_flow)]
        return [type(ended.exception()).__name__ for ended in found]

    assert asyncio.run(main()) == ["UpstreamError"] * 2
