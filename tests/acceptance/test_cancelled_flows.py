"""Submitted flows that are cancelled: the run itself ends, and its future and its record say the same."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import flow, task
from anabranch import session as sessions
from anabranch.core.context import current_flow
from anabranch.core.errors import CancelledRun

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from anabranch import Future
    from anabranch.core.runs import FlowRunRow, MapRow
    from tests.acceptance.conftest import Marks

SOON = 30.0  # seconds that an event may take on a busy machine
LATER = 600.0  # seconds that nobody waits for


@task
def same(x: Any) -> Any:
    return x


@task
def hold(gate: str, x: int = 0) -> int:
    """Waits until the file is there."""
    import pathlib
    import time

    until = time.monotonic() + 60
    while not pathlib.Path(gate).exists() and time.monotonic() < until:
        time.sleep(0.01)  # another process may be waited for
    return x


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[str]:
    """Where `hold` looks; opened at the end of the test at the latest."""
    path = tmp_path / "gate"
    yield str(path)
    path.touch()


class Place:
    """The two points between which a child's function stands, and the name of its run."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.go_on = threading.Event()
        self.run = self.id = ""

    def stand(self) -> None:
        here = current_flow.get()
        assert here is not None
        self.run, self.id = here.name, here.id
        self.begun.set()
        assert self.go_on.wait(SOON)

    def row(self) -> FlowRunRow:
        records = sessions.current().records
        records.flush(SOON)
        found = records.flow_run(self.id)
        assert found is not None
        return found

    def maps(self) -> dict[str, MapRow]:
        return {map.task: map for map in sessions.current().records.maps(self.id)}


@pytest.fixture
def place() -> Iterator[Place]:
    found = Place()
    yield found
    found.go_on.set()


def test_nothing_new_begins_in_a_cancelled_flow(runner: str, place: Place, marks: Marks) -> None:
    """What its function submits, maps, or calls, a task or a flow, is refused; what it had done stays done."""

    @flow
    def grandchild(x: Any) -> None:
        marks.add(x)

    @task
    def mark(x: Any) -> None:
        marks.add(x)

    refused: list[str] = []

    @flow
    def child() -> int:
        mark.submit("before").wait()
        place.stand()
        for begin in (mark.submit, mark, lambda x: mark.map([x]), grandchild, grandchild.submit):
            try:
                begin("after")
            except CancelledRun as error:
                refused.append(str(error))
        return 5

    @flow
    def main() -> str:
        future = child.submit()
        assert place.begun.wait(SOON)
        assert future.cancel()
        assert future.cancelled()
        assert not future.cancel(), "it has ended"
        place.go_on.set()
        assert future.wait().is_cancelled()
        with pytest.raises(CancelledRun):
            future.result()
        return "went on"

    assert main() == "went on"
    assert len(refused) == 5
    assert all(place.run in text for text in refused)
    assert marks.read() == ["before"]
    assert (place.row().state_name, place.row().ended is not None) == ("Cancelled", True)
    assert place.maps()["mark"].counts == {"Completed": 1}


def test_its_task_runs_are_cancelled(concurrent: str, place: Place, gate: str) -> None:
    seen: list[str] = []

    @flow
    def child() -> None:
        held = [hold.submit(gate), *hold.map([gate] * 3)]
        behind = same.submit(held[0])
        place.go_on.set()
        place.stand()
        behind.wait()
        seen.extend(one.state.name for one in (*held, behind))

    @flow
    def main() -> Any:
        future = child.submit()
        assert place.begun.wait(SOON)
        assert future.cancel()
        return future.wait().name

    assert main() == "Cancelled"
    assert seen == ["Cancelled"] * 5
    assert place.row().state_name == "Cancelled"
    reasons = {one.reason for one in sessions.current().records.reasons([m.id for m in place.maps().values()])}
    assert reasons == {"cancelled/request"}


@pytest.mark.parametrize("end", ["returns", "raises", "leaves"])
def test_what_its_function_does_then_counts_no_more(threads: str, place: Place, end: str) -> None:
    """The future has said that it is cancelled, so no end of its function may say otherwise."""

    @flow(retries=2, state_handlers=[lambda obj, old, new: None])
    def child() -> str:
        attempts.append(1)
        place.stand()
        if end == "raises":
            raise ValueError("of its own")
        if end == "leaves":
            raise SystemExit(3)
        return "done"

    attempts: list[int] = []

    @flow
    def main() -> Any:
        future = child.submit()
        assert place.begun.wait(SOON)
        assert future.cancel()
        place.go_on.set()
        return future.wait().name

    assert main() == "Cancelled"
    assert place.row().state_name == "Cancelled"
    assert attempts == [1]


def test_a_state_handler_cannot_put_another_state_in_its_place(threads: str, place: Place) -> None:
    from anabranch.core.states import Completed

    told: list[str] = []

    def handler(obj: Any, old: Any, new: Any) -> Any:
        told.append(new.name)
        return Completed("all the same") if new.is_final() else None

    @flow(state_handlers=[handler])
    def child() -> None:
        place.stand()

    @flow
    def main() -> Any:
        future = child.submit()
        assert place.begun.wait(SOON)
        assert future.cancel()
        place.go_on.set()
        return future.wait().name

    assert main() == "Cancelled"
    assert told == ["Running", "Cancelled"]
    assert place.row().state_name == "Cancelled"


def test_a_run_that_does_not_exist_yet_never_will(threads: str, gate: str, marks: Marks) -> None:
    @flow
    def early(x: int) -> None:
        marks.add("ran")

    @flow
    def main() -> Any:
        first = hold.submit(gate)
        future = early.submit(first)
        assert future.cancel()
        open(gate, "w").close()
        first.result()
        return future.wait().name

    assert main() == "Cancelled"
    assert marks.read() == []
    for thread in [t for t in threading.enumerate() if t.name == "anabranch-flow-early"]:
        thread.join(SOON)
    assert sessions.current().records.flow_runs(flow="early") == []


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_delay_before_the_next_attempt_is_cut_short(threads: str, place: Place, kind: str) -> None:
    def fail() -> None:
        here = current_flow.get()
        assert here is not None
        place.id = here.id
        attempts.append(here.attempt)
        raise ValueError("again")

    async def fail_async() -> None:
        fail()

    given: Any = {"retries": 1, "retry_delay_seconds": LATER, "on_retry": lambda flow, run, state: place.begun.set()}
    child: Any = flow(name="child", **given)(fail if kind == "sync" else fail_async)
    attempts: list[int] = []

    @flow
    def main() -> Any:
        future = child.submit()
        assert place.begun.wait(SOON)
        assert future.cancel()
        return future.wait().name

    assert main() == "Cancelled"  # and not after the delay: the parent waits for the child's record
    assert (place.row().state_name, attempts) == ("Cancelled", [1])


def test_who_comes_too_late_is_told_so(threads: str, place: Place) -> None:
    """Its end was decided, and its hooks are at work: the future cannot say that it was cancelled."""
    answers: list[bool] = []

    def hook(flow: Any, run: Any, state: Any) -> None:
        answers.append(futures[0].cancel())

    @flow(on_completion=[hook])
    def child() -> int:
        place.stand()
        return 5

    futures: list[Future] = []

    @flow
    def main() -> Any:
        futures.append(child.submit())
        place.go_on.set()
        return futures[0].result()

    assert main() == 5
    assert answers == [False]
    assert futures[0].state.name == place.row().state_name == "Completed"


@pytest.mark.parametrize("how", ["on_exit", "request"])
def test_a_cancelled_parent_takes_all_below_along(threads: str, how: str, gate: str) -> None:
    """Submitted and called ones, and those that are below them."""
    places = {name: Place() for name in ("main", "child", "grandchild")}

    @flow
    def grandchild() -> None:
        held = hold.submit(gate)
        places["grandchild"].go_on.set()
        places["grandchild"].stand()
        held.wait()

    @flow
    def child() -> None:
        places["child"].go_on.set()
        places["child"].stand()
        grandchild()

    @flow(on_exit="cancel" if how == "on_exit" else "wait")
    def main() -> None:
        child.submit()
        assert places["grandchild"].begun.wait(SOON)
        places["main"].go_on.set()
        places["main"].stand()
        if how == "request":
            sessions.current().cancel_hooks[places["main"].id]()

    if how == "request":
        with pytest.raises(CancelledRun):
            main()
    else:
        main()
    found = {name: place.row().state_name for name, place in places.items()}
    assert found.pop("main") == ("Completed" if how == "on_exit" else "Cancelled")
    assert found == {"child": "Cancelled", "grandchild": "Cancelled"}
    assert places["grandchild"].maps()["hold"].counts == {"Cancelled": 1}
    assert places["main"].maps()["child"].counts == {"Cancelled": 1}


def test_many_futures_with_a_flow_among_them(threads: str, place: Place, gate: str) -> None:
    """A list of futures is cancelled one by one; a map over a flow's future is given up without it."""

    @flow
    def child() -> int:
        place.stand()
        return 7

    @flow
    def other() -> int:
        return same.submit(hold.submit(gate)).result()

    @flow
    def main() -> Any:
        flows = [child.submit(), other.submit()]
        assert place.begun.wait(SOON)
        over = same.map([flows[0], 2])
        over.cancel()
        assert over.counts.get("Cancelled", 0) >= 1, "the one that waits for the flow"
        assert not flows[0].done(), "who reads a run does not own it"
        alone = [hold.submit(gate), flows[1]]
        assert [one.cancel() for one in alone] == [True, True]
        place.go_on.set()
        for one in (*alone, *over):
            with contextlib.suppress(CancelledRun):
                one.result()
        return flows[0].result(), [one.wait().name for one in alone]

    assert main() == (7, ["Cancelled", "Cancelled"])
    (row,) = sessions.current().records.flow_runs(flow="other")
    assert row.state_name == "Cancelled"
    assert place.row().state_name == "Completed"


def test_an_async_flow_is_cancelled_too(threads: str, place: Place) -> None:
    @flow
    async def child() -> Any:
        place.stand()
        return await same.submit(1)

    @flow
    def main() -> Any:
        future = child.submit()
        assert place.begun.wait(SOON)
        assert future.cancel()
        place.go_on.set()
        return future.wait().name

    assert main() == "Cancelled"
    assert place.row().state_name == "Cancelled"
