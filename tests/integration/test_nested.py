"""Submits from inside tasks: one dispatcher, whatever process the task runs in, and no deadlock."""

from __future__ import annotations

import gc
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import (
    DaskRunner,
    InlineRunner,
    ProcessRunner,
    RayRunner,
    ThreadRunner,
    allow_failure,
    as_completed,
    flow,
    settings,
    tags,
    task,
    wait,
)
from anabranch import session as sessions
from anabranch.core.errors import ResultReleased, UpstreamError
from anabranch.driver import run_logs
from anabranch.records.memory import MemoryRecords

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.sampled(4, "the driver decides; pools of several runners")
RUNNERS: dict[str, Callable[[], Any]] = {
    "inline": InlineRunner,
    "thread": lambda: ThreadRunner(max_workers=1),  # one slot: whoever waits has to lend it
    "process": lambda: ProcessRunner(max_workers=1),
    "dask": lambda: DaskRunner(n_workers=1, threads_per_worker=1),
    "ray": lambda: RayRunner(num_cpus=1),
}


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], sessions.Session]]:
    made: dict[str, sessions.Session] = {}

    def session(kind: str) -> sessions.Session:
        if kind not in made:
            chosen = settings.load({}, home=tmp_path_factory.mktemp(kind), runner=RUNNERS[kind](), progress=False)
            made[kind] = sessions.Session(chosen, records=MemoryRecords())
        return made[kind]

    yield session
    for one in made.values():
        one.close()


SEVENTH = pytest.mark.sampled(7, "the driver decides, and each of them costs most on engines")
ENGINES = [
    pytest.param("dask", marks=[pytest.mark.dask, SEVENTH]),
    # Its extra actors take seconds to start.
    pytest.param("ray", marks=[pytest.mark.ray, pytest.mark.timeout(240), SEVENTH]),
]


@pytest.fixture(params=["inline", "thread", "process", *ENGINES])
def session(pool: Any, request: pytest.FixtureRequest) -> Iterator[sessions.Session]:
    here = pool(request.param)
    before = sessions.use(here)
    yield here
    sessions.use(before)


@pytest.fixture
def processes(pool: Any) -> Iterator[sessions.Session]:
    here = pool("process")
    before = sessions.use(here)
    yield here
    sessions.use(before)


@task
def double(x: int) -> int:
    return 2 * x


@task
def refuse(x: int) -> int:
    raise ValueError(f"no {x}")


def returned(fn: Callable[..., Any], *args: Any) -> Any:
    """What a task with this body gives, submitted in a flow of its own."""

    @flow
    def around() -> Any:
        return task(fn).submit(*args).result()

    return around()


def test_recursion_deeper_than_there_are_slots(session: sessions.Session) -> None:
    @task
    def fib(n: int) -> int:
        if n < 2:
            return n
        one, other = fib.submit(n - 1), fib.submit(n - 2)
        return int(one.result() + other.result())

    @flow
    def main() -> int:
        return int(fib.submit(6).result())

    assert main() == 8


def test_futures_go_into_other_submits(session: sessions.Session) -> None:
    def body() -> Any:
        one = double.submit(1)
        two = double.submit(one)
        four = task(lambda parts: sum(parts["all"])).submit({"all": [one, two]})
        return four.result()

    assert returned(body) == 6


def test_a_future_as_result_becomes_its_value(session: sessions.Session) -> None:
    assert returned(lambda: double.submit(21)) == 42


def test_maps(session: sessions.Session) -> None:
    def body() -> Any:
        doubled = double.map(range(5))
        again = double.map(doubled)
        late = double.map(x for x in (7, 8))
        return doubled.result(), list(again.results()), late.result(), again.reduce(lambda a, b: a + b).result()

    with pytest.raises(ResultReleased):  # results() let the values go
        returned(body)

    def kept() -> Any:
        doubled = double.map(range(5))
        again = double.map(doubled)
        late = double.map(x for x in (7, 8))
        return doubled.result(), again.result(), late.result(), again.reduce(lambda a, b: a + b).result(), len(late)

    assert returned(kept) == ([0, 2, 4, 6, 8], [0, 4, 8, 12, 16], [14, 16], 40, 2)


def test_failures(session: sessions.Session) -> None:
    def body() -> Any:
        bad = refuse.submit(1)
        state = bad.wait()
        with pytest.raises(ValueError, match="no 1"):
            bad.result()
        after = double.submit(bad)
        with pytest.raises(UpstreamError):
            after.result()
        seen = task(lambda e: type(e).__name__).submit(allow_failure(bad)).result()
        bads = refuse.map([2, 3])
        bads.wait()
        return state.name, after.state.name, seen, bads.failed()

    assert returned(body) == ("Failed", "TriggerFailed", "ValueError", [0, 1])


def test_an_unhandled_failure_of_a_child_counts_for_the_flow(session: sessions.Session) -> None:
    @task
    def parent() -> int:
        refuse.submit(4).wait()
        return 1

    @flow
    def main() -> None:
        parent.submit().wait()

    with pytest.raises(ValueError, match="no 4"):
        main()


def test_waiting_for_several(session: sessions.Session) -> None:
    def body() -> Any:
        futures = [double.submit(n) for n in range(4)]
        done, left = wait(futures, return_when="FIRST_COMPLETED")
        assert done
        assert len(done) + len(left) == 4
        assert wait(futures).not_done == set()
        one_by_one = sorted(f.result() for f in as_completed(futures))
        listed = sorted(f.result() for f in as_completed(double.map(range(4))))
        return one_by_one, listed

    assert returned(body) == ([0, 2, 4, 6], [0, 2, 4, 6])


def test_several_parents_share_the_slots(session: sessions.Session) -> None:
    @task
    def parent(x: int) -> int:
        return sum(f.result() for f in as_completed([double.submit(x), double.submit(x + 1)]))

    @flow
    def main() -> Any:
        return parent.map(range(8))

    assert main() == [4 * x + 2 for x in range(8)]


def test_async_parents(session: sessions.Session) -> None:
    @task
    async def parent(x: int) -> int:
        return int(await double.submit(x)) + 1

    @flow
    def main() -> Any:
        return parent.map(range(4))

    assert main() == [1, 3, 5, 7]


def test_a_wait_that_runs_out_of_time(processes: sessions.Session, tmp_path: Path) -> None:
    gate = str(tmp_path / "gate")

    @task
    def gated() -> int:
        while not os.path.exists(gate):
            time.sleep(0.01)
        return 5

    def body() -> Any:
        future = gated.submit()
        with pytest.raises(TimeoutError):
            future.result(timeout=0.05)
        assert not future.done()
        assert not future.wait(timeout=0).is_final()
        open(gate, "w").close()
        return future.result()

    assert returned(body) == 5


def test_cancel_from_inside(processes: sessions.Session, tmp_path: Path) -> None:
    gate = str(tmp_path / "gate")

    @task
    def gated() -> int:
        while not os.path.exists(gate):
            time.sleep(0.01)
        return 5

    def body() -> Any:
        first = gated.submit()
        behind = [double.submit(first) for _ in range(3)]
        for one in behind:
            one.cancel()
        open(gate, "w").close()
        return [one.wait().name for one in behind]

    assert returned(body) == ["Cancelled"] * 3


def test_a_flow_called_on_a_worker_runs_there(processes: sessions.Session, tmp_path: Path) -> None:
    here = str(tmp_path)

    @task
    def where() -> int:
        return os.getpid()

    @flow
    def inner() -> Any:
        return where.submit().result(), double.map([1, 2]).result()

    def body() -> Any:
        os.environ["ANABRANCH_HOME"] = here  # a worker has no session of its own before
        return inner(), os.getpid()

    ((ran, doubled), worker) = returned(body)
    assert ran == worker != os.getpid()
    assert doubled == [2, 4]


def test_children_are_recorded_under_their_parent(
    session: sessions.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    @task
    def parent() -> int:
        with tags("inside"):
            return int(double.submit(1).result())

    @flow
    def main() -> Any:
        return parent.submit().result()

    series: list[Any] = []
    watch = run_logs.watch_series
    monkeypatch.setattr(run_logs, "watch_series", lambda pump, map: (series.append(map), watch(pump, map)))
    main()
    child = next(map for map in series if map.spec.name == "double")
    above = next(map for map in series if map.spec.name == "parent")
    assert child.header.parent_id == f"{above.id}/0"
    assert "inside" in child.header.tags


def test_values_of_children_go_with_their_parent(processes: sessions.Session) -> None:
    @task
    def parent(x: int) -> int:
        return sum(len(f.result()) for f in [big.submit(x) for _ in range(3)])

    @task
    def big(x: int) -> bytes:
        return bytes(1 << 20)

    @flow
    def main() -> Any:
        found = parent.map(range(4)).result()
        maps = [m for m in processes.pump.dispatcher.tables.maps.values() if m.spec.name == "big"]
        deadline = time.monotonic() + 20
        while any(m.footprint.held for m in maps) and time.monotonic() < deadline:
            gc.collect()
            time.sleep(0.05)
        return found, [m.footprint.held for m in maps]

    assert main() == ([3 << 20] * 4, [0] * 4)


def test_a_parent_whose_worker_dies_is_done_again(processes: sessions.Session, tmp_path: Path) -> None:
    mark = tmp_path / "died"
    path = str(mark)

    @task(crash_retries=2)
    def parent() -> int:
        future = double.submit(3)
        if not os.path.exists(path):
            open(path, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        return int(future.result())

    @flow
    def main() -> Any:
        return parent.submit().result()

    assert main() == 6
    assert mark.exists()


def test_a_task_called_in_a_task_waits_in_its_place(session: sessions.Session, tmp_path: Path) -> None:
    path = str(tmp_path / "runs")

    @task
    def waits(x: int) -> int:
        with open(path, "a") as file:
            file.write(f"{x}\n")
        return int(double.submit(x).result())

    @task
    def parent(x: int) -> int:
        return int(waits(x))

    @flow
    def main() -> Any:
        return parent.map(range(20), chunk=5)

    assert main() == [2 * x for x in range(20)]
    with open(path) as file:
        assert sorted(int(line) for line in file) == list(range(20))


def test_ctrl_c_ends_a_map_at_once() -> None:
    """What the driver sends again while the queue is given back must not be given back for ever."""
    @task
    def one(x: int) -> int:
        if x == 5:
            raise KeyboardInterrupt
        return x

    @flow(runner=InlineRunner())
    def main() -> Any:
        return one.map(range(2000)).result()

    with pytest.raises(KeyboardInterrupt):
        main()
