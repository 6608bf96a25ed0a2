"""Maps over iterators inside tasks: the iterator stays where the task runs and is pulled as far as the map asks."""

from __future__ import annotations

import itertools
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import DaskRunner, ProcessRunner, RayRunner, ThreadRunner, flow, settings, task
from anabranch import session as sessions
from anabranch.core.errors import RunnerError
from anabranch.records.memory import MemoryRecords

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.sampled(4, "the driver decides; pools of several runners")
RUNNERS: dict[str, Callable[[], Any]] = {
    "thread": lambda: ThreadRunner(max_workers=1),
    "process": lambda: ProcessRunner(max_workers=1),  # one slot: who waits for its children has to lend it
    "dask": lambda: DaskRunner(n_workers=1, threads_per_worker=1),
    "ray": lambda: RayRunner(num_cpus=1),
}
SEVENTH = pytest.mark.sampled(7, "the driver decides, and each of them costs most on engines")
KINDS = [
    "thread",
    "process",
    pytest.param("dask", marks=[pytest.mark.dask, SEVENTH]),
    pytest.param("ray", marks=[pytest.mark.ray, pytest.mark.timeout(240), SEVENTH]),
]


@pytest.fixture(scope="module", params=KINDS)
def session(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[sessions.Session]:
    home = tmp_path_factory.mktemp("home")
    chosen = settings.load({}, home=home, runner=RUNNERS[request.param](), progress=False)
    here = sessions.Session(chosen, records=MemoryRecords())
    before = sessions.use(here)
    yield here
    sessions.use(before)
    here.close()


@task
def double(x: int) -> int:
    return 2 * x


def returned(fn: Callable[..., Any], *args: Any) -> Any:
    """What a task with this body gives, submitted in a flow of its own."""

    @flow
    def around() -> Any:
        return task(fn).submit(*args).result()

    return around()


def completed(session: sessions.Session) -> int:
    """Items of the last map of `double` that are recorded as Completed."""
    session.flush_records()
    records: Any = session.records
    flow_run = records.flow_runs(limit=1)[0].id
    return sum(m.counts.get("Completed", 0) for m in records.maps(flow_run) if m.kind == "map")


def test_an_endless_iterator_is_pulled_a_window_ahead_of_its_reader(session: sessions.Session) -> None:
    def body() -> Any:
        pulled = 0

        def endless() -> Iterator[int]:
            nonlocal pulled
            for number in itertools.count(1):
                pulled = number
                yield number

        with closing(double.map(endless()).results()) as values:
            first = list(itertools.islice(values, 2000))
        return sum(first), pulled

    total, pulled = returned(body)
    assert total == 2001 * 2000
    assert 2000 <= pulled < 400_000  # a window, however fast the items are; not all there is


def test_a_generator_is_closed_when_its_reader_leaves(session: sessions.Session) -> None:
    def body() -> bool:
        closed = threading.Event()

        def endless() -> Iterator[int]:
            try:
                yield from itertools.count()
            finally:
                closed.set()

        given = endless()  # held here: it is closed, not just let go
        with closing(double.map(given).results()) as values:
            assert next(values) == 0
        return closed.wait(20)

    assert returned(body)


@pytest.mark.parametrize("count", [300, 10_000], ids=["within a window", "over many windows"])
def test_an_iterator_left_behind_is_pulled_to_its_end(session: sessions.Session, count: int) -> None:
    """Its task has returned and waits for that in the one slot there is: it has to be lent to the elements."""

    def body() -> int:
        double.map(x for x in range(count))
        return 1

    assert returned(body) == 1
    assert completed(session) == count


def test_several_iterators_and_a_sized_argument(session: sessions.Session) -> None:
    def body() -> Any:
        add = task(lambda a, b, c: a + b + c)
        return add.map(iter(range(50)), (10 * x for x in range(50)), c=range(50)).result()

    assert returned(body) == [12 * x for x in range(50)]


def test_an_iterator_that_raises_keeps_what_came_before(session: sessions.Session) -> None:
    def body() -> Any:
        def broken() -> Iterator[int]:
            yield from (1, 2)
            raise KeyError("the third")

        doubled = double.map(broken())
        doubled.wait()
        with pytest.raises(KeyError, match="the third"):
            doubled.result()
        return [doubled[0].result(), doubled[1].result()]

    assert returned(body) == [2, 4]


@pytest.mark.parametrize("session", KINDS[1:], indirect=True)  # on threads nothing travels
@pytest.mark.parametrize("before", [0, 3])
def test_an_element_that_does_not_travel_is_named(session: sessions.Session, before: int) -> None:
    def body() -> Any:
        doubled = double.map(iter([*range(before), threading.Lock(), 5]))
        doubled.wait()
        with pytest.raises(RunnerError, match=r"element of the iterator does not pickle.*lock"):
            doubled.result()
        return [doubled[i].result() for i in range(before)]

    assert returned(body) == [2 * x for x in range(before)]


def test_an_async_task_may_leave_an_iterator_too(session: sessions.Session) -> None:
    async def body() -> int:
        double.map(x for x in range(20))
        return 1

    assert returned(body) == 1
    assert completed(session) == 20
