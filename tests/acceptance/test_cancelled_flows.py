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
from tests.acceptance.gates import SOON

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from anabranch import Future
    from anabranch.core.runs import FlowRunRow, MapRow
    from tests.acceptance.conftest import Marks
    from tests.acceptance.gates import Gate

LATER = 600.0  # seconds that nobody waits for


@task
def same(x: Any) -> Any:
    return x


@task
def hold(gate: Gate, begun: Gate | None = None) -> None:
    if begun is not None:
        begun.open()
    gate.pass_through()


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


def end_of(child: Any, place: Place) -> str:
    """How a submitted child ends that is cancelled once it stands at its place, and goes on from there."""

    @flow
    def main() -> Any:
        future = child.submit()
        assert place.begun.wait(SOON)
        assert future.cancel()
        place.go_on.set()
        return future.wait().name

    name: str = main()
    return name


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


def test_its_task_runs_are_cancelled(beside: str, place: Place, gates: Callable[[str], Gate]) -> None:
    """One that runs, those that have no slot, one that waits for another."""
    seen: list[str] = []
    gate, begun = gates("never"), gates("begun")

    @flow
    def child() -> None:
        held = [hold.submit(gate, begun), *hold.map([gate] * 3)]
        behind = same.submit(held[0])
        begun.pass_through()
        place.go_on.set()  # it waits for them when they are cancelled
        place.stand()
        behind.wait()
        seen.extend(one.state.name for one in (*held, behind))

    assert end_of(child, place) == "Cancelled"
    assert seen == ["Cancelled"] * 5
    assert place.row().state_name == "Cancelled"
    reasons = {one.reason for one in sessions.current().records.reasons([m.id for m in place.maps().values()])}
    assert reasons == {"cancelled/request"}


@pytest.mark.parametrize("end", ["returns", "raises", "leaves"])
def test_what_its_function_does_then_counts_no_more(runner: str, place: Place, end: str) -> None:
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

    assert end_of(child, place) == "Cancelled"
    assert place.row().state_name == "Cancelled"
    assert attempts == [1]


def test_a_state_handler_cannot_put_another_state_in_its_place(runner: str, place: Place) -> None:
    from anabranch.core.states import Completed

    told: list[str] = []

    def handler(obj: Any, old: Any, new: Any) -> Any:
        told.append(new.name)
        return Completed("all the same") if new.is_final() else None

    @flow(state_handlers=[handler])
    def child() -> None:
        place.stand()

    assert end_of(child, place) == "Cancelled"
    assert told == ["Running", "Cancelled"]
    assert place.row().state_name == "Cancelled"


def test_a_run_that_does_not_exist_yet_never_will(beside: str, gates: Callable[[str], Gate], marks: Marks) -> None:
    @flow
    def early(x: int) -> None:
        marks.add("ran")

    @flow
    def main() -> Any:
        first = hold.submit(gates("first"))
        future = early.submit(first)
        assert future.cancel()
        gates("first").open()
        first.result()
        return future.wait().name

    assert main() == "Cancelled"
    assert marks.read() == []
    for thread in [t for t in threading.enumerate() if t.name == "anabranch-flow-early"]:
        thread.join(SOON)
    assert sessions.current().records.flow_runs(flow="early") == []


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_delay_before_the_next_attempt_is_cut_short(runner: str, place: Place, kind: str) -> None:
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

    assert end_of(child, place) == "Cancelled"  # and not after the delay: the parent waits for the child's record
    assert (place.row().state_name, attempts) == ("Cancelled", [1])


def test_who_comes_too_late_is_told_so(runner: str, place: Place) -> None:
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
def test_a_cancelled_parent_takes_all_below_along(beside: str, how: str, gates: Callable[[str], Gate]) -> None:
    """Submitted and called ones, and those that are below them."""
    places = {name: Place() for name in ("main", "child", "grandchild")}

    @flow
    def grandchild() -> None:
        held = hold.submit(gates("never"))
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
            sessions.current().keeper.cancel(places["main"].id)

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


def test_many_futures_with_a_flow_among_them(beside: str, place: Place, gates: Callable[[str], Gate]) -> None:
    """A list of futures is cancelled one by one; a map over a flow's future is given up without it."""
    gate, beyond = gates("never"), Place()
    beyond.go_on.set()

    @flow
    def child() -> int:
        place.stand()
        return 7

    @flow
    def other() -> int:
        beyond.stand()
        return same.submit(hold.submit(gate)).result()

    @flow
    def main() -> Any:
        flows = [child.submit(), other.submit()]
        assert place.begun.wait(SOON)
        assert beyond.begun.wait(SOON)
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
    assert beyond.row().state_name == "Cancelled"
    assert place.row().state_name == "Completed"


def test_an_async_flow_is_cancelled_too(runner: str, place: Place) -> None:
    @flow
    async def child() -> Any:
        place.stand()
        return await same.submit(1)

    assert end_of(child, place) == "Cancelled"
    assert place.row().state_name == "Cancelled"
