"""What every runner promises of ends: of chunks that are taken back, of its own, and what reports say of times."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from anabranch.core.events import ChunkLost, EngineLost
from anabranch.core.reports import Report
from anabranch.core.states import CANCELLED, COMPLETED
from tests.contract.tasks import WAIT, add_one, marked

if TYPE_CHECKING:
    from tests.contract.conftest import Bench, Gate

pytestmark = [pytest.mark.usefixtures("own_runner"), pytest.mark.sampled(7, "a runner of its own for each")]

# -- taking work back ------------------------------------------------------------------------------


def test_shorten_returns_the_rest_uncounted(bench: Bench, gated: Gate) -> None:
    chunk = bench.submit(gated.stage, [0, 1, 2, 3])
    gated.begun(0)
    bench.runner.shorten(chunk, 2)
    bench.runner.shorten(chunk, 3)  # never longer again
    bench.delivered()
    gated.open()
    done = bench.ended(chunk)
    assert done.lost is None
    assert 1 <= done.finished <= 2
    assert bench.values(done) == [0, 1][: done.finished]
    assert not (gated.folder / "begun-3").exists()


def test_a_chunk_that_takes_too_long_gives_back_what_it_has_not_begun(bench: Bench, gated: Gate) -> None:
    chunk = bench.submit(gated.stage, [0, 1, 2], close_seconds=0.1)
    gated.begun(0)
    threading.Event().wait(0.15)
    gated.open()
    done = bench.ended(chunk)
    assert done.lost is None
    assert bench.values(done) == [0]
    assert not (gated.folder / "begun-1").exists()


def occupy(bench: Bench, gated: Gate) -> list[int]:
    """Fill every slot."""
    ids = [bench.submit(gated.stage, [1000 + n]) for n in range(bench.slots())]
    for n in range(len(ids)):
        gated.begun(1000 + n)
    return ids


def test_cancel_before_the_start(bench: Bench, gated: Gate) -> None:
    busy = occupy(bench, gated)
    mark = bench.task(marked(str(gated.folder)))
    whole, part, other = (bench.submit(mark, args) for args in ([1, 2], [3, 4, 5], [6]))
    bench.runner.cancel(whole)
    bench.runner.cancel(part, [0, 2])
    bench.delivered()
    gated.open()
    bench.ended(whole, part, other, *busy)
    assert gated.ran() == {4, 6}
    assert set(bench.chunks[whole].codes[0]) <= {CANCELLED}
    assert COMPLETED in bench.chunks[part].codes[0]
    for chunk in busy:
        assert len(bench.values(bench.chunks[chunk])) == 1


def test_shorten_a_queued_chunk_to_nothing(bench: Bench, gated: Gate) -> None:
    busy = occupy(bench, gated)
    queued = bench.submit(bench.task(marked(str(gated.folder))), [1, 2])
    bench.runner.shorten(queued, 0)
    bench.delivered()
    gated.open()
    done = bench.ended(*busy, queued)
    assert done.lost is None
    assert done.finished == 0
    assert gated.ran() == set()


def test_late_and_unknown_ids_are_harmless(bench: Bench) -> None:
    done = bench.run(bench.task(add_one), [1])
    for chunk in (done.chunk.id, 10**9):
        bench.runner.shorten(chunk, 0)
        bench.runner.cancel(chunk)
        bench.runner.cancel(chunk, [0], force=True)
        bench.runner.blocked(chunk, True)
        bench.runner.blocked(chunk, False)
    assert bench.values(bench.run(bench.task(add_one), [1])) == [2]
    assert done.ends == 1


# -- the end ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("cancel", [False, True])
def test_close_with_work_queued(bench: Bench, gated: Gate, cancel: bool) -> None:
    occupy(bench, gated)
    for n in range(5):
        bench.submit(gated.stage, [n])
    closer = threading.Thread(target=bench.runner.close, kwargs={"cancel": cancel, "timeout": WAIT})
    closer.start()
    if not cancel:
        gated.open()
    closer.join(2 * WAIT)
    assert not closer.is_alive()
    count = len(bench.events)
    if not any(isinstance(event, EngineLost) for event in bench.events):
        assert [outcomes.ends for outcomes in bench.chunks.values()] == [1] * len(bench.chunks)
    gated.open()
    for thread in threading.enumerate():
        if thread.name.startswith("anabranch-"):
            thread.join(0.2)
    assert len(bench.events) == count, f"after close: {bench.events[count:]}"


def test_close_waits_for_what_runs(bench: Bench, gated: Gate) -> None:
    chunk = bench.submit(gated.stage, [0])
    gated.begun(0)
    closer = threading.Thread(target=bench.runner.close)
    closer.start()
    gated.open()
    closer.join(WAIT)
    assert not closer.is_alive()
    [final] = [e for e in bench.events if isinstance(e, (Report, ChunkLost)) and e.chunk == chunk]
    assert isinstance(final, Report)
    assert final.final


def test_reports_name_their_worker_and_their_times(bench: Bench) -> None:
    before = time.time()
    done = bench.run(bench.task(add_one), range(3))
    [*reports] = [e for e in bench.events if isinstance(e, Report) and e.chunk == done.chunk.id]
    assert all(before - 1 <= report.base <= time.time() + 1 for report in reports)
    assert sum(len(report.durations or ()) for report in reports) == 3
    assert reports[-1].final
    assert [report.final for report in reports[:-1]] == [False] * (len(reports) - 1)
