"""Flows on a Ray of the user's: dead workers, values that died with them, a Ray that stays up or goes away."""

from __future__ import annotations

import gc
import importlib
import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import RayRunner, flow, task, wait
from anabranch.core.errors import MissingExtraError, RunnerError, VersionMismatch
from anabranch.core.events import EngineLost, SlotsChanged
from anabranch.runners.ray import link, worker
from tests.contract.conftest import Bench
from tests.faults import awkward, slow_reader
from tests.faults.pipes import read_pid, squares_met_at

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from anabranch.session import Session

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(180),
    pytest.mark.sampled(6, "a Ray that each of them kills workers of"),
]

WAIT = 50.0


def begin() -> Any:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray = importlib.import_module("ray")
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    return ray


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    found = importlib.import_module("ray")
    before = found.is_initialized()
    yield found if before else begin()
    if not before:
        found.shutdown()


def test_a_ray_of_the_users_stays_up(ray: Any, session: Session) -> None:
    @task
    def add(x: int) -> int:
        return x + 1

    @flow(runner=RayRunner())
    def main() -> list[int]:
        return add.map(range(50)).result(WAIT)  # type: ignore[no-any-return]

    assert main() == list(range(1, 51))
    session.close()
    assert ray.is_initialized()
    assert ray.get(ray.put(7)) == 7


def test_another_address_than_the_one_in_use_is_refused(ray: Any) -> None:
    with pytest.raises(RunnerError, match="already"):
        RayRunner(address="192.0.2.77:6379").start(lambda events: None)
    assert ray.is_initialized()


def test_a_worker_killed_in_mid_map_costs_no_value(ray: Any, here: str, gate: str, tmp_path: Path) -> None:
    work = task(squares_met_at(50, here, gate, str(tmp_path / "first")))

    @flow(runner=RayRunner())
    def main() -> tuple[list[int], list[int]]:
        futures = work.map(range(200))
        os.kill(read_pid(here), signal.SIGKILL)
        return futures.result(WAIT), [i for i, state in enumerate(futures.states) if state.attempt > 1]

    values, again = main()
    assert values == [x * x for x in range(200)]
    assert again == [50]


def test_an_item_that_kills_its_workers_is_found_among_a_thousand(ray: Any) -> None:
    """Its neighbours are not to blame: each of them runs once, or is done again as lost before it began."""

    @task
    def work(x: int) -> int:
        if x == 500:
            os._exit(3)
        return x

    runner = RayRunner()

    @flow(runner=runner)
    def main() -> tuple[list[tuple[int, str, int]], int]:
        futures = work.map(range(1000))
        wait(futures)
        states = list(enumerate(futures.states))
        return [(i, s.name, s.attempt) for i, s in states if s.attempt > 1], sum(
            s.name == "Completed" for _, s in states
        )

    again, completed = main()
    assert again == [(500, "Crashed", 3)]
    assert completed == 999


def test_large_values_outlive_the_worker_that_made_them(ray: Any) -> None:
    @task
    def make(x: int) -> tuple[int, bytes]:
        return os.getpid(), bytes([x]) * 300_000

    @task
    def head(made: tuple[int, bytes]) -> int:
        return made[1][0]

    @flow(runner=RayRunner(num_cpus=1))
    def main() -> tuple[list[int], list[int]]:
        made = make.map(range(4))
        wait(made)
        os.kill(made[0].result(WAIT)[0], signal.SIGKILL)
        return head.map(made).result(WAIT), [state.attempt for state in made.states]

    assert main() == ([0, 1, 2, 3], [1, 1, 1, 1])


def test_results_and_exceptions_that_do_not_travel_fail_alone(ray: Any) -> None:
    def result(x: int) -> Any:
        if x == 1:
            return (i for i in range(3)), threading.Lock()
        if x == 3:
            sys.exit(4)
        if x == 4:
            raise ValueError(threading.Lock())
        return x

    work = task(result)

    @flow(runner=RayRunner())
    def main() -> list[str]:
        futures = work.map(range(8))
        wait(futures)
        return [f"{s.name}: {s.message}" for s in futures.states]

    found = main()
    assert [found[i] for i in (0, 2, 5, 6, 7)] == ["Completed: "] * 5
    assert found[1].startswith("Failed: ")
    assert "cannot be pickled" in found[1]
    assert "result[0] (builtins.generator)" in found[1]
    assert found[3] == "Crashed: Execution was ended by system exit: 4"
    assert found[4].startswith("Failed: ")


def test_exceptions_that_do_not_travel_are_told_as_they_were(ray: Any, session: Session) -> None:
    assert awkward.told(RayRunner(), session) == awkward.EXPECTED


def test_a_result_that_does_not_unpickle_harms_its_readers_alone(ray: Any) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return os.getcwd, (bytes(300_000),)  # and so does not unpickle

    @task
    def make(x: int) -> Any:
        return Trap() if x == 1 else bytes(300_000)

    @task
    def size(value: Any) -> int:
        return len(value)

    @flow(runner=RayRunner())
    def main() -> list[str]:
        made = make.map(range(3), chunk=1)
        wait(made)
        with pytest.raises(TypeError, match="getcwd"):
            made[1].result(WAIT)
        sizes = size.map(made)
        wait(sizes)
        sizes[1].exception()
        return [state.name for state in sizes.states]

    assert main() == ["Completed", "Failed", "Completed"]


def test_a_slow_reader_holds_its_producer_back(ray: Any, session: Session) -> None:
    """Fault test 20: an input without end is pulled no further than a window, and no more than that is kept."""
    seen = slow_reader.read_slowly(RayRunner(), session)
    assert seen.too_much == []
    assert len(seen.ahead) == slow_reader.STOPS


def test_no_reference_is_kept_of_values_let_go(ray: Any) -> None:
    @task
    def make(x: int) -> bytes:
        return bytes(300_000)

    @task
    def size(data: bytes) -> int:
        return len(data)

    runner = RayRunner()

    @flow(runner=runner)
    def main() -> int:
        return sum(size.map(make.map(range(40))).result(WAIT))

    assert main() == 40 * 300_000
    gc.collect()
    end = time.monotonic() + WAIT
    while len(runner._values) and time.monotonic() < end:
        time.sleep(0.05)
    assert len(runner._values) == 0
    assert all(not place.arrived for place in runner._pool.workers)


def test_versions_that_differ_are_refused_and_named() -> None:
    from anabranch.runners.ray.worker import compare, versions

    compare(versions(), versions(), "ray-1")
    with pytest.raises(VersionMismatch, match=r"ray-1 do not fit: ray \S+ here, 1.0 there"):
        compare(versions(), {**versions(), "ray": "1.0"}, "ray-1")


def test_workers_with_another_python_are_refused_by_name(ray: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the worker says comes over the real wire; here it is the driver that is another."""
    real = worker.versions
    monkeypatch.setattr(worker, "versions", lambda: {**real(), "Python": "3.99"})
    ran: list[str] = []

    @flow(runner=RayRunner(num_cpus=1))
    def main() -> None:
        ran.append("it")

    theirs = f"{sys.version_info[0]}.{sys.version_info[1]}"
    with pytest.raises(VersionMismatch, match=rf"Ray worker ray-\d+ do not fit: Python 3.99 here, {theirs} there$"):
        main()
    assert ran == []


def test_an_item_that_exits_ends_alone_and_its_worker_goes_on(ray: Any) -> None:
    @task
    def work(x: int) -> int:
        if x == 3:
            sys.exit(4)
        return os.getpid()

    @flow(runner=RayRunner(num_cpus=1))
    def main() -> tuple[list[str], set[int]]:
        first = work.map(range(6), chunk=6)
        wait(first)
        first[3].exception()
        later = work.map(range(10, 14)).result(WAIT)
        pids = {first[i].result(WAIT) for i in (0, 1, 2, 4, 5)}
        return [f"{state.name} {state.attempt}" for state in first.states], pids.union(later)

    states, pids = main()
    assert states == ["Completed 1"] * 3 + ["Crashed 1"] + ["Completed 1"] * 2
    assert len(pids) == 1


def test_more_urgent_chunks_go_first(ray: Any, tmp_path: Path) -> None:
    """However many were there before them; none but the one that its worker has already goes ahead."""
    folder = str(tmp_path)

    def hold(x: int) -> int:
        open(f"{folder}/begun", "w").close()
        end = time.monotonic() + WAIT
        while not os.path.exists(f"{folder}/open") and time.monotonic() < end:
            time.sleep(0.01)
        return x

    def mark(x: int) -> int:
        with open(f"{folder}/order", "a", encoding="utf-8") as file:
            file.write(f"{x}\n")
        return x

    bench = Bench(RayRunner(num_cpus=1))
    try:
        held, marking = bench.task(hold), bench.task(mark)
        first = bench.submit(held, [0])
        bench.until_true((tmp_path / "begun").exists)
        next_one = bench.submit(marking, [1])
        [place] = bench.runner._pool.workers  # type: ignore[attr-defined]
        bench.until_true(lambda: len(place.jobs) == 2)
        urgencies = [(10, 1), (20, 1), (10, 3), (20, 3), (10, 9), (20, 9)]
        chunks = [bench.submit(marking, [n + priority], priority=priority) for n, priority in urgencies]
        bench.delivered()
        (tmp_path / "open").touch()
        bench.ended(first, next_one, *chunks)
    finally:
        bench.runner.close()
    assert (tmp_path / "order").read_text().split() == ["1", "19", "29", "13", "23", "11", "21"]


def test_ray_client_is_refused_with_a_way_out(ray: Any) -> None:
    with pytest.raises(RunnerError, match=r"ray://somewhere:10001.*ray job submit"):
        link._begin(ray, "ray://somewhere:10001", None)


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"anabranch\[ray\]"):
        RayRunner().start(lambda events: None)


def test_bad_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="num_cpus"):
        RayRunner(num_cpus=0)


def test_a_ray_that_is_shut_down_is_an_engine_lost(ray: Any) -> None:
    """The last one here: it ends the Ray of the others."""
    events: list[Any] = []
    runner = RayRunner(num_cpus=1)
    runner.start(events.extend)
    ray.shutdown()
    end = time.monotonic() + WAIT
    while not any(isinstance(event, EngineLost) for event in events) and time.monotonic() < end:
        time.sleep(0.05)
    lost = [event for event in events if not isinstance(event, SlotsChanged)][-1]
    assert lost == EngineLost("Ray was shut down")
    runner.close()
    assert not ray.is_initialized()
    begin()
