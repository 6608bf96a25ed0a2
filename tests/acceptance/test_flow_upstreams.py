"""What a flow waits for, and is given: it runs once all of that has completed, and else not at all."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import allow_failure, explain, flow, set_reference_tasks, task
from anabranch.core.errors import UpstreamError

if TYPE_CHECKING:
    from collections.abc import Callable


class Mine(ValueError):
    """An exception of the user's own."""


@task
def good(x: int = 1) -> int:
    return x


@task
def bad(x: int = 1) -> int:
    raise Mine("bad")


@flow
def bad_flow() -> int:
    raise Mine("bad")


ran: list[Any] = []


@flow
def child(x: Any) -> Any:
    ran.append(x)
    return x


@flow
async def child_async(x: Any) -> Any:
    ran.append(x)
    return x


HOW: dict[str, Callable[..., Any]] = {
    "call": child,
    "submit": lambda *args, **given: child.submit(*args, **given).result(),
    "async": lambda *args, **given: asyncio.run(child_async(*args, **given)),
    "async submit": lambda *args, **given: child_async.submit(*args, **given).result(),
}
UPSTREAMS: dict[str, Callable[[Any], Any]] = {
    "future": lambda work: work.submit(),
    "state": lambda work: work(return_state=True),
    "map": lambda work: work.map([1, 1]),
    "deep": lambda work: {"a": [(work.submit(),)]},
    "flow": lambda work: (bad_flow if work is bad else child).submit(*([] if work is bad else [1])),
}
VALUES = {"future": 1, "state": 1, "map": [1, 1], "deep": {"a": [(1,)]}, "flow": 1}


@pytest.fixture(autouse=True)
def forgotten() -> None:
    ran.clear()


@pytest.mark.parametrize("how", list(HOW))
@pytest.mark.parametrize("which", list(UPSTREAMS))
def test_it_does_not_run_behind_a_failure(concurrent: str, how: str, which: str) -> None:
    @flow
    def waits() -> Any:
        return HOW[how](1, wait_for=[UPSTREAMS[which](bad)])

    @flow
    def reads() -> Any:
        return HOW[how](UPSTREAMS[which](bad))

    for main in (waits, reads):
        with pytest.raises(UpstreamError, match="bad"):
            main()
        assert ran == []


@pytest.mark.parametrize("how", list(HOW))
@pytest.mark.parametrize("which", list(UPSTREAMS))
def test_it_runs_behind_what_completed_or_may_have_failed(concurrent: str, how: str, which: str) -> None:
    @flow
    def main() -> Any:
        first = HOW[how](UPSTREAMS[which](good), wait_for=UPSTREAMS[which](good))
        HOW[how]("waits", wait_for=[allow_failure(UPSTREAMS[which](bad))])
        HOW[how](allow_failure(bad.submit()))
        return first

    assert main() == VALUES[which]
    assert ran[-2] == "waits"
    assert isinstance(ran[-1], Mine)


def test_a_submitted_one_that_does_not_begin_is_trigger_failed(concurrent: str) -> None:
    """As a task is: its future says why, hooks hear nothing, and handling it handles its cause."""
    heard: list[Any] = []
    quiet = child.with_options(on_failure=[heard.append], on_running=[heard.append])

    @flow
    def main() -> str:
        future = quiet.submit(1, wait_for=[bad.submit()])
        state = future.wait()
        found = f"{state.name}: {explain(future)}"
        assert isinstance(future.exception().__cause__, Mine)  # type: ignore[union-attr]
        return found

    @flow
    def strict() -> None:
        quiet.submit(1, wait_for=[bad.submit()]).exception()

    name, _, why = main().partition(": ")
    assert (name, heard) == ("TriggerFailed", [])
    assert "it did not start, because bad[0] ended Failed" in why
    assert strict(return_state=True).is_completed()


def test_an_event_loop_goes_on_while_a_call_waits(threads: str, gates: Any) -> None:
    """Of an async flow, and of an async task: what opens the gate runs on the same loop."""
    gate = gates("behind")

    @task
    def behind() -> int:
        gate.pass_through()
        return 1

    @task
    async def slow(x: Any) -> Any:
        return x

    @flow
    async def main() -> Any:
        async def opens() -> None:
            gate.open()

        future = behind.submit()
        return (await asyncio.gather(child_async(future), slow(future), child_async(2, wait_for=future), opens()))[:3]

    assert asyncio.run(main()) == [1, 1, 2]


FAILURES: dict[str, Callable[[], Any]] = {
    "call": lambda: bad(return_state=True),
    "submit": bad.submit,
    "map": lambda: bad.map([1]),
    "flow": lambda: bad_flow(return_state=True),
    "submitted flow": bad_flow.submit,
}


@pytest.mark.parametrize("how", list(FAILURES))
def test_a_failure_that_nobody_saw_surfaces_with_its_type(runner: str, how: str) -> None:
    """Whether it fails a flow that returns nothing, a strict one, or one with reference tasks."""

    @flow
    def nothing() -> None:
        FAILURES[how]()

    @flow(strict=True)
    def strict() -> int:
        FAILURES[how]()
        return 1

    @flow
    def referred() -> int:
        set_reference_tasks(["bad"])
        FAILURES[how]()
        return 1

    for main in (nothing, strict, *([] if "flow" in how else [referred])):
        with pytest.raises(Mine, match="bad"):
            main()


def test_reference_tasks_that_were_called_and_caught(runner: str) -> None:
    @flow
    def main() -> int:
        set_reference_tasks([bad])
        with pytest.raises(Mine):
            bad()
        return 1

    with pytest.raises(Mine, match="bad"):
        main()
