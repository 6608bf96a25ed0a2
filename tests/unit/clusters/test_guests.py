"""Sets of other jobs at the head of a run: each is let go while what runs on it can still end."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.clusters.guests import Guests

if TYPE_CHECKING:
    from collections.abc import Collection


class Engine:
    """Each set's longest chunk; sets that were let go, with the seconds for it."""

    def __init__(self, longest: float = 0.0, worked: bool = True) -> None:
        self.chunk = longest
        self.has_worked = worked
        self.gone: list[tuple[str, float]] = []
        self.looks: list[list[str]] = []

    def longest(self, names: Collection[str]) -> dict[str, float]:
        self.looks.append(list(names))
        return dict.fromkeys(names, self.chunk)

    def worked(self, name: str) -> bool:
        return self.has_worked

    async def let_go(self, name: str, seconds: float) -> None:
        self.gone.append((name, seconds))


class Head:
    """A head with one set, at a time that the test says."""

    def __init__(self, engine: Engine, end: float = 1000.0) -> None:
        self.now = 0.0
        self.engine = engine
        self.news: list[dict[str, Any]] = []
        self.said: list[dict[str, Any]] = []
        self.guests = Guests(engine, lambda **news: self.news.append(news), lambda: self.now)
        hello = {"name": "pilot-2.9.0", "number": 2, "job": "9_2", "cpus": 4, "end": end}
        guest = self.guests.welcome(hello, self.said.append)
        assert guest is not None
        self.guest = guest
        guest.up()

    async def looked(self, now: float) -> list[tuple[str, float]]:
        self.now = now
        self.guests.look()
        for _ in range(5):  # what was begun ends
            await asyncio.sleep(0)
        return self.engine.gone

    def told(self) -> list[tuple[str, str, bool]]:
        return [(news["news"], news["why"], news["again"]) for news in self.news]


def test_a_set_of_the_drivers_own_job_is_no_guest() -> None:
    guests = Guests(Engine(), lambda **news: None)
    assert guests.welcome({"name": "n1-0", "by": "10.0.0.1"}, lambda message: None) is None


async def leaves_at(engine: Engine, end: float = 1000.0) -> float:
    """The first second at which the set is let go."""
    head = Head(engine, end)
    for second in range(int(end)):
        if await head.looked(float(second)):
            return second
    return end


def test_a_set_leaves_in_time_for_what_chunks_take() -> None:
    """30 s are left for the end itself, and as many for what is not known of chunks."""
    assert asyncio.run(leaves_at(Engine())) == 940
    assert asyncio.run(leaves_at(Engine(longest=200.0))) == 740
    assert asyncio.run(leaves_at(Engine(), end=60.0)) == 48  # of a short job, a tenth


def test_one_whose_time_is_over_is_followed_by_another() -> None:
    async def main() -> None:
        head = Head(Engine(longest=100.0))
        assert await head.looked(839.0) == []
        assert await head.looked(840.0) == [("pilot-2.9.0", 130.0)]
        assert await head.looked(850.0) == [("pilot-2.9.0", 130.0)]  # once
        assert head.said == [{"leave": "its walltime is near"}]
        head.guest.gone()
        assert head.told()[-1] == ("left", "its walltime is near", True)
        assert [news for news, *_ in head.told()] == ["joined", "leaves", "left"]
        assert head.guests.here == set()

    asyncio.run(main())


def test_one_whose_time_is_too_short_for_a_chunk_is_not() -> None:
    async def main() -> None:
        head = Head(Engine(longest=5000.0, worked=False))
        assert await head.looked(0.0) != []
        head.guest.gone()
        assert head.told()[-1] == ("left", "its walltime was near before a chunk had ended on it", False)

    asyncio.run(main())


def test_all_sets_are_looked_at_by_one_question_a_second() -> None:
    async def main() -> None:
        head = Head(Engine())
        for number in (3, 4):
            hello = {"name": f"pilot-{number}.9.0", "number": number, "job": f"9_{number}", "cpus": 4, "end": 1000.0}
            guest = head.guests.welcome(hello, head.said.append)
            assert guest is not None
            guest.up()
        for moment in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2):
            await head.looked(moment)
        assert [sorted(names) for names in head.engine.looks] == [
            ["pilot-2.9.0", "pilot-3.9.0", "pilot-4.9.0"]
        ] * 2
        await head.looked(0.1 - 3600.0)  # the clock was set back
        assert len(head.engine.looks) == 3

    asyncio.run(main())


def test_the_longest_chunks_of_all_sets_are_found_by_one_pass_over_the_workers() -> None:
    longest_of = pytest.importorskip("anabranch.clusters.dask_parts").longest_of
    named = {"a-0": {}, "a-1": {"t": 5.0, "u": 70.0}, "b-0": {"t": 2.0}, "other-0": {"t": 900.0}}
    workers = iter([SimpleNamespace(name=name, executing=runs) for name, runs in named.items()])  # passes once
    assert longest_of(["a", "b", "c"], iter([3.0, 10.0]), workers) == {"a": 70.0, "b": 10.0, "c": 10.0}
    assert longest_of(["a"], [], []) == {"a": 0.0}


def test_a_chunk_that_the_driver_hears_of_before_dask_does_has_ended_on_its_worker() -> None:
    """The driver releases its key at once: Dask has no word of its end. What goes with a lost worker has not ended."""
    dask_parts = pytest.importorskip("anabranch.clusters.dask_parts")
    names = {"a": "one-0", "b": "two-0", "c": "three-0"}
    workers = {f"tls://{key}": SimpleNamespace(name=name) for key, name in names.items()}
    tasks = {key: SimpleNamespace(processing_on=workers[f"tls://{key}"]) for key in names}
    chunks = dask_parts.Chunks(SimpleNamespace(tasks=tasks, workers=workers))
    for key in names:
        chunks.transition(key, "waiting", "processing", stimulus_id="update-graph")
    compute = {"action": "compute", "start": 1.0, "stop": 4.0}
    told = {"worker": "tls://a", "startstops": [compute]}
    chunks.transition("a", "processing", "memory", stimulus_id="task-finished-1", **told)
    chunks.transition("b", "processing", "released", stimulus_id=f"{dask_parts.RELEASES}-1")
    chunks.transition("c", "processing", "released", stimulus_id="handle-worker-cleanup-1")
    assert chunks.workers == {"one-0", "two-0"}
    assert list(chunks.took) == [3.0]


def test_one_whose_line_ends_before_it_was_let_go_is_followed_by_another() -> None:
    async def main() -> None:
        engine = Engine(longest=100.0)
        head = Head(engine)
        head.now = 840.0
        head.guests.look()
        head.guest.gone()  # what let it go has not begun
        assert engine.gone == []
        assert head.told()[-1] == ("left", "its walltime is near", True)

    asyncio.run(main())


def test_one_whose_job_is_ended_leaves_at_once() -> None:
    async def main() -> None:
        head = Head(Engine(), end=0.0)  # its end is not known
        assert await head.looked(1e6) == []
        head.guest.leaving(20.0)
        assert await head.looked(1e6) == [("pilot-2.9.0", 20.0)]
        head.guest.gone()
        assert head.told()[1:] == [
            ("leaves", "its job is being ended", False), ("left", "its job is being ended", False),
        ]  # fmt: skip

    asyncio.run(main())


def test_one_that_is_lost_is_told_with_its_trouble() -> None:
    async def main() -> None:
        head = Head(Engine())
        head.guest.trouble("its workers have gone")
        head.guest.gone()
        assert head.told()[1:] == [("lost", "its workers have gone", False)]

    asyncio.run(main())


def test_at_the_end_of_the_run_no_set_is_lost() -> None:
    async def main() -> None:
        head = Head(Engine())
        head.guests.over = True
        head.guest.gone()
        assert [news for news, *_ in head.told()] == ["joined"]

    asyncio.run(main())
