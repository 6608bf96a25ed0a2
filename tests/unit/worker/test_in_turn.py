"""Items of a chunk one after another, as a runner's port sees them: no runner, no driver."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import task
from anabranch.core import states
from anabranch.core.chunks import Binding, Chunk, Stage
from anabranch.core.context import current_task
from anabranch.core.reports import Inline, Report
from anabranch.worker import in_turn, reports
from anabranch.worker.run import run_chunk

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ITEM = Binding((("item", 0),))


class Port:
    """A worker in this process whose shared values are the tasks and their stages."""

    worker, in_process = "here", True

    def __init__(self, *tasks: Any) -> None:
        self.reports: list[Report] = []
        self.items: list[tuple[int, int, int, float | None]] = []
        self.keep: int | None = None
        self.cancels: set[int] = set()
        self._shared: dict[int, Any] = {}
        for number, one in enumerate(tasks):
            self._shared[2 * number] = one.spec
            self._shared[2 * number + 1] = Stage(2 * number, None, ITEM, f"map-{number}")

    def chunk(self, args: Sequence[Any], **more: Any) -> Chunk:
        stages = tuple(ref for ref in self._shared if ref % 2)
        return Chunk(1, stages, range(10, 10 + len(args)), args, keep=(True,) * len(stages), **more)

    def run(self, args: Sequence[Any], **more: Any) -> list[Report]:
        run_chunk(self.chunk(args, **more), self)  # type: ignore[arg-type]
        return self.reports

    def shared(self, shared_id: int) -> Any:
        return self._shared[shared_id]

    def report(self, report: Report) -> None:
        self.reports.append(report)

    def limit(self, chunk: int) -> int | None:
        return self.keep

    def cancelled(self, chunk: int, position: int) -> bool:
        return position in self.cancels

    def item(self, chunk: int, stage: int, position: int, attempt: int, timeout: float | None) -> None:
        self.items.append((stage, position, attempt, timeout))

    def log(self, lines: list[Any], dropped: int) -> None: ...


def port(*functions: Callable[..., Any], **options: Any) -> Port:
    return Port(*(task(**options)(fn) for fn in functions))


def values(report: Report) -> list[Any]:
    return [block.values for block in report.blocks if isinstance(block, Inline)]


def codes(report: Report) -> list[list[int]] | None:
    return None if report.codes is None else [list(column) for column in report.codes]


def double(x: int) -> int:
    return 2 * x


def odd_fails(x: int) -> int:
    if x % 2:
        raise ValueError(f"odd: {x}")
    return x


def test_all_items_are_told_of_in_one_last_report() -> None:
    [report] = port(double).run([1, 2, 3])
    assert (report.first, report.count, report.final, codes(report), values(report)) == (0, 3, True, None, [[2, 4, 6]])
    assert len(report.started or ()) == len(report.durations or ()) == 3


def test_an_item_may_take_longer_than_four_bytes_of_microseconds_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """2^31 microseconds are 35 minutes and 47 seconds."""
    passed = 0
    real = time.perf_counter_ns

    def for_hours(x: int) -> int:
        nonlocal passed
        passed += x * 3600 * 10**9
        return x

    monkeypatch.setattr(time, "perf_counter_ns", lambda: real() + passed)
    [first, second, last] = port(for_hours).run([0, 2, 1, 0], report_seconds=3599.0)
    assert [one.count for one in (first, second, last)] == [2, 1, 1]
    assert [n // (3600 * 10**6) for one in (first, second, last) for n in one.durations or ()] == [0, 2, 1, 0]
    assert [n // (3600 * 10**6) for one in (first, second, last) for n in one.started or ()] == [0, 0, 2, 3]


def test_a_running_chunk_reports_as_often_as_its_driver_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    passed = 0
    real = time.perf_counter_ns

    def a_second(x: int) -> int:
        nonlocal passed
        passed += 10**9
        return x

    monkeypatch.setattr(time, "perf_counter_ns", lambda: real() + passed)
    assert [one.count for one in port(a_second).run(range(5))] == [1, 1, 1, 1, 1]
    assert [one.count for one in port(a_second).run(range(5), report_seconds=2.0)] == [2, 2, 1]


def test_a_function_knows_which_run_it_is() -> None:
    def seen(x: int) -> Any:
        here = current_task.get()
        assert here is not None
        return here.run.map_id, here.run.index, here.run.attempt, here.run.uncounted_attempts, here.position

    [report] = port(seen).run([0, 0], attempts=[1, 3], uncounted_attempts=[0, 1])
    assert values(report) == [[("map-0", 10, 1, 0, 0), ("map-0", 11, 3, 1, 1)]]
    assert current_task.get() is None


def test_a_shortened_chunk_ends_where_it_was_shortened() -> None:
    one = port(double)

    def shortening(x: int) -> int:
        one.keep = 0  # too late for those that have begun
        return x

    one._shared[0] = task(shortening).spec
    [report] = one.run(range(100_000))
    assert report.final
    assert 1 <= report.count < 100_000  # it is asked for every 50 us


def test_cancelled_positions_are_not_begun() -> None:
    called: list[int] = []
    one = port(called.append)
    one.cancels = {1}
    [report] = one.run([1, 2, 3])
    assert called == [1, 3]
    assert codes(report) == [[states.COMPLETED, states.CANCELLED, states.COMPLETED]]
    assert report.outcomes[0].message == "cancelled before it started"


def test_a_chunk_ends_once_its_values_are_large() -> None:
    [report] = port(lambda x: bytes(1000)).run(range(10), close_bytes=2500)
    assert (report.count, report.final) == (3, True)


@pytest.mark.parametrize(("attempt", "code"), [(1, states.AWAITING_RETRY), (2, states.FAILED)])
def test_what_goes_wrong_is_retried_as_often_as_it_may(attempt: int, code: int) -> None:
    [report] = port(odd_fails, retries=1).run([0, 1, 2], attempts=[1, attempt, 1])
    assert codes(report) == [[states.COMPLETED, code, states.COMPLETED]]
    assert values(report) == [[0, None, 2]]
    [outcome] = report.outcomes
    assert outcome.error is not None
    assert outcome.error.message == "odd: 1"


def test_stages_go_depth_first_and_end_with_the_first_that_fails() -> None:
    order: list[str] = []

    def first(x: int) -> int:
        order.append(f"first {x}")
        return odd_fails(x)

    def second(x: int) -> int:
        order.append(f"second {x}")
        return x + 100

    [report] = port(first, second).run([0, 1, 2])
    assert order == ["first 0", "second 0", "first 1", "first 2", "second 2"]
    assert codes(report) == [
        [states.COMPLETED, states.FAILED, states.COMPLETED],
        [states.COMPLETED, states.PENDING, states.COMPLETED],
    ]
    assert values(report) == [[0, None, 2], [100, None, 102]]


def test_hooks_of_every_run_are_called_by_the_whole_policy() -> None:
    ended: list[tuple[str, int]] = []

    def hook(task: Any, run: Any, state: Any) -> None:
        ended.append((state.name, run.index))

    [report] = port(odd_fails, on_completion=[hook], on_failure=[hook]).run([0, 1])
    assert ended == [("Completed", 10), ("Failed", 11)]
    assert codes(report) == [[states.COMPLETED, states.FAILED]]


def test_an_item_that_nothing_stopped_is_late_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    fake = SimpleNamespace(perf_counter=lambda: clock[0], perf_counter_ns=time.perf_counter_ns, sleep=time.sleep)
    monkeypatch.setattr(in_turn, "time", fake)

    def slow(x: float) -> float:
        clock[0] += x
        return x

    [report] = port(slow, timeout_seconds=5).run([1.0, 6.0, 2.0])
    assert codes(report) == [[states.COMPLETED, states.TIMED_OUT, states.COMPLETED]]


def test_the_runner_hears_what_runs_where_it_watches_the_time() -> None:
    one = port(double, timeout_seconds=5)
    one.run([1, 2], timeout=5.0)
    assert one.items == [(0, 0, 1, 5), (0, 1, 1, 5), (0, -1, 0, None)]
    one = port(double)
    one.run([1, 2])
    assert one.items == []


def test_reports_come_every_tenth_of_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0]
    fake = SimpleNamespace(perf_counter_ns=lambda: clock[0], time=time.time, sleep=time.sleep)
    monkeypatch.setattr(in_turn, "time", fake)
    monkeypatch.setattr(reports, "time", fake)

    def work(x: int) -> int:
        clock[0] += 40_000_000
        return x

    found = port(work).run(range(7))
    assert [(r.first, r.count, r.final) for r in found] == [(0, 3, False), (3, 3, False), (6, 1, True)]
    assert [list(r.started or ()) for r in found] == [[0, 40_000, 80_000], [120_000, 160_000, 200_000], [240_000]]


def test_what_must_end_a_worker_ends_its_chunk() -> None:
    class WrittenOff(BaseException):
        """As the thread runner's, known by its name."""

    def gone(x: int) -> int:
        raise WrittenOff

    one = port(gone)
    with pytest.raises(WrittenOff):
        one.run([1])
    assert one.reports == []
    assert current_task.get() is None
