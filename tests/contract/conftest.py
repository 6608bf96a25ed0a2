"""The runners and records that the contract suites run over, and a bench that drives one as the dispatcher would."""

from __future__ import annotations

import importlib
import itertools
import threading
import time
from typing import TYPE_CHECKING, Any

import cloudpickle
import pytest

from anabranch.core.chunks import Binding, BlockHandle, Chunk, Stage
from anabranch.core.events import ChunkLost
from anabranch.core.options import TaskOptions
from anabranch.core.reports import Held, Inline, Packed, Report
from anabranch.core.states import COMPLETED
from anabranch.core.task_spec import TaskSpec
from anabranch.records.memory import MemoryRecords
from anabranch.records.remote import RemoteRecords
from anabranch.records.sqlite import SqliteRecords
from anabranch.records.union import UnionRecords
from tests.contract import tasks
from tests.contract.recording import FixedClock
from tests.contract.tasks import WAIT, gate
from tests.engines import engine_of, failed
from tests.servers import served_records

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from pathlib import Path

    from anabranch.core.contracts import Capabilities, Runner
    from anabranch.core.events import Event
    from anabranch.core.reports import Outcome
    from anabranch.core.runs import Records

RUNNERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "inline": ("anabranch.runners.inline", "InlineRunner", {}),
    "thread": ("anabranch.runners.thread", "ThreadRunner", {"max_workers": 2}),
    "process": ("anabranch.runners.process", "ProcessRunner", {"max_workers": 2}),
    "dask": ("anabranch.runners.dask", "DaskRunner", {}),
    "ray": ("anabranch.runners.ray", "RayRunner", {}),
    "fake": ("anabranch.testing", "FakeRemoteRunner", {"workers": 2}),
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each test over each runner; inline has no 'meanwhile', so nothing that looks at running work."""
    if "kind" in metafunc.fixturenames:
        names = [name for name in RUNNERS if not (name == "inline" and "gated" in metafunc.fixturenames)]
        marks: dict[str, Any] = {"dask": pytest.mark.dask, "ray": [pytest.mark.ray, pytest.mark.timeout(180)]}
        metafunc.parametrize("kind", [pytest.param(name, marks=marks.get(name, ())) for name in names])


@pytest.fixture
def by_value(request: pytest.FixtureRequest) -> Iterator[None]:
    """These files are no modules that a worker could import: their functions travel by value."""
    for module in (tasks, request.module):
        cloudpickle.register_pickle_by_value(module)
    yield
    for module in (tasks, request.module):
        cloudpickle.unregister_pickle_by_value(module)


@pytest.fixture
def new_runner(kind: str, by_value: None, request: pytest.FixtureRequest) -> Callable[[], Runner]:
    """A runner that was not started; one that does not exist fails the test."""
    module, name, options = RUNNERS[kind]
    factory: Callable[..., Runner] = getattr(importlib.import_module(module), name)
    if kind in ("dask", "ray"):
        options = {"address": request.getfixturevalue(f"{kind}_address")}
    return lambda: factory(**options)


# Started runners on Dask and Ray, by kind. The next test takes such a runner over, because starting one takes seconds.
_lent: dict[str, Bench] = {}


def _end_lent(kind: str) -> None:
    """Close the runner that tests share: it has the engine's processors."""
    lent = _lent.pop(kind, None)
    if lent is not None:
        lent.runner.close(cancel=True, timeout=WAIT)


@pytest.fixture
def own_runner() -> None:
    """Asked for by tests that close their runner, or leave work behind on it."""


@pytest.fixture
def bench(kind: str, new_runner: Callable[[], Runner], request: pytest.FixtureRequest) -> Iterator[Bench]:
    """A started runner, driven by hand."""
    if kind in ("dask", "ray") and "own_runner" not in request.fixturenames:
        lent = _lent.setdefault(kind, _lent.get(kind) or Bench(new_runner()))
        lent.events.clear()
        yield lent
        if not all(outcomes.ends for outcomes in lent.chunks.values()):
            _end_lent(kind)
        return
    bench = Bench(new_runner())
    yield bench
    bench.runner.close(cancel=True, timeout=WAIT)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None]:
    """Close the runner that tests share before its engine ends, and before a test that starts its own."""
    try:
        return (yield)
    finally:
        kind = engine_of(item)
        names = [] if nextitem is None else getattr(nextitem, "fixturenames", [])
        if kind and (failed(item) or engine_of(nextitem) != kind or "bench" not in names or "own_runner" in names):
            _end_lent(kind)


@pytest.fixture
def gated(bench: Bench, tmp_path: Path) -> Gate:
    """Work that runs while the test goes on; asked for by tests that inline is left out of."""
    return Gate(bench, tmp_path)


class Outcomes:
    """What the reports of one ended chunk come to."""

    def __init__(self, chunk: Chunk) -> None:
        self.chunk = chunk
        self.finished = 0  # positions reported
        self.codes: list[list[int]] = [[] for _ in chunk.stages]
        self.blocks: list[list[tuple[BlockHandle, Any, int]]] = [[] for _ in chunk.stages]  # handle, block, count
        self.outcomes: list[Outcome] = []
        self.lost: ChunkLost | None = None
        self.ends = 0

    def add(self, event: Event) -> None:
        if isinstance(event, ChunkLost):
            self.lost = event
            self.ends += 1
        elif isinstance(event, Report):
            assert self.ends == 0, "a report after the end"
            assert event.first == self.finished, "a gap between reports"
            self.finished += event.count
            for stage in range(len(self.chunk.stages)):
                row = event.codes[stage] if event.codes else bytes([COMPLETED]) * event.count
                assert len(row) == event.count
                self.codes[stage].extend(row)
                block = event.blocks[stage] if stage < len(event.blocks) else None
                self.blocks[stage].append((BlockHandle(event.chunk, stage, event.first), block, event.count))
            self.outcomes.extend(event.outcomes)
            self.ends += event.final

    def outcome(self, position: int, stage: int = 0) -> Outcome:
        [found] = [o for o in self.outcomes if (o.stage, o.position) == (stage, position)]
        return found


class Bench:
    """Drives a started runner: puts tasks, submits chunks, waits for ends, reads values wherever they are."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self.ids = itertools.count(1)
        self.events: list[Event] = []
        self.chunks: dict[int, Outcomes] = {}
        self.strangers: list[Event] = []  # of chunks that nobody submitted
        self.news = threading.Condition()
        self.capabilities: Capabilities = runner.start(self.sink)

    def sink(self, events: Sequence[Event]) -> None:
        with self.news:
            for event in events:
                self.events.append(event)
                if isinstance(event, (Report, ChunkLost)):
                    if event.chunk in self.chunks:
                        self.chunks[event.chunk].add(event)
                    else:
                        self.strangers.append(event)
            self.news.notify_all()

    # -- driving ---------------------------------------------------------------------------------

    def task(self, fn: Callable[..., Any], **options: Any) -> int:
        """Put a task of one mapped argument; the id of its stage."""
        spec, stage = next(self.ids), next(self.ids)
        name = getattr(fn, "__name__", "task")
        self.runner.put(spec, TaskSpec(name, fn, TaskOptions(name=name, **options)))
        self.runner.put(stage, Stage(spec, None, Binding(args=(("item", 0),)), map_id=f"map-{stage}"))
        return stage

    def chunk(self, stages: int | Sequence[int], args: Sequence[Any], **more: Any) -> Chunk:
        stages = (stages,) if isinstance(stages, int) else tuple(stages)
        more.setdefault("keep", (True,) * len(stages))
        chunk = Chunk(next(self.ids), stages, range(len(args)), list(args), **more)
        self.chunks[chunk.id] = Outcomes(chunk)  # before it is sent: it may be done before submit returns
        return chunk

    def delivered(self) -> None:
        """Wait until what was told to the runner has reached its workers.

        Workers of `ProcessRunner` hear what was told before they begin an item: nothing is to be waited for.
        """
        when_told = getattr(self.runner, "when_told", None)
        if when_told is not None:
            told = threading.Event()
            when_told(told.set)
            assert told.wait(WAIT)

    def submit(self, stages: int | Sequence[int], args: Sequence[Any], **more: Any) -> int:
        chunk = self.chunk(stages, args, **more)
        self.runner.submit([chunk])
        return chunk.id

    def until(self, check: Callable[[], Any]) -> None:
        with self.news:
            assert self.news.wait_for(check, WAIT), f"nothing came; events were {self.events[-20:]}"

    def ended(self, *chunks: int) -> Outcomes:
        """Wait until these chunks have ended, each once; what became of the last."""
        self.until(lambda: all(self.chunks[chunk].ends for chunk in chunks))
        assert [self.chunks[chunk].ends for chunk in chunks] == [1] * len(chunks)
        return self.chunks[chunks[-1]]

    def run(self, stages: int | Sequence[int], args: Sequence[Any], **more: Any) -> Outcomes:
        return self.ended(self.submit(stages, args, **more))

    def slots(self) -> int:
        """Wait until the runner can run something."""
        self.until_true(lambda: self.runner.slots().now > 0)
        return self.runner.slots().now

    def until_true(self, check: Callable[[], Any]) -> None:
        """Wait for something that no event tells of."""
        pause = threading.Event()
        end = time.monotonic() + WAIT
        while not check():
            assert time.monotonic() < end, "it did not come to pass"
            pause.wait(0.005)

    # -- values ----------------------------------------------------------------------------------

    def values(self, outcomes: Outcomes, stage: int = -1) -> list[Any]:
        """A stage's values, by whichever way they come."""
        assert outcomes.lost is None, outcomes.lost
        return [value for part in outcomes.blocks[stage] for value in self.read(*part)]

    def read(self, handle: BlockHandle, block: Any, count: int) -> list[Any]:
        if isinstance(block, Inline):
            assert self.capabilities.in_process
            values = block.values
        elif isinstance(block, Packed):
            values = block.values()
        else:
            assert isinstance(block, Held), block
            values = self.runner.fetch(handle, range(count))
        assert len(values) == count
        return list(values)

    def handles(self, outcomes: Outcomes, stage: int = -1) -> list[BlockHandle]:
        return [handle for handle, block, _ in outcomes.blocks[stage] if isinstance(block, Held)]


class Gate:
    """Work that began and waits to be let go."""

    def __init__(self, bench: Bench, folder: Path) -> None:
        self.bench = bench
        self.folder = folder
        self.stage = bench.task(gate(str(folder)))

    def begun(self, x: int) -> None:
        self.bench.until_true(lambda: (self.folder / f"begun-{x}").exists())

    def open(self) -> None:
        (self.folder / "open").touch()

    def ran(self) -> set[int]:
        return {int(f.name.removeprefix("ran-")) for f in self.folder.glob("ran-*")}


KINDS = ["sqlite", "memory", "union", "node", "http", pytest.param("postgres", marks=pytest.mark.postgres)]


@pytest.fixture(params=KINDS)
def records(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Records]:
    made: Records
    match request.param:
        case "http":
            with served_records(tmp_path / "runs.db", FixedClock()) as address:
                made = RemoteRecords(address, tmp_path / "home", clock=FixedClock())
                yield made
                made.close()
            return
        case "sqlite":
            made = SqliteRecords(tmp_path / "runs.db", clock=FixedClock())
        case "union":
            made = UnionRecords(tmp_path / "runs.db.d", clock=FixedClock())
        case "node":
            made = UnionRecords(tmp_path / "runs.db.d", node=True, clock=FixedClock())
        case "postgres":
            address = request.getfixturevalue("postgres_address")
            postgres = importlib.import_module("anabranch.records.postgres")
            made = postgres.PostgresRecords(address, clock=FixedClock())
        case _:
            made = MemoryRecords(clock=FixedClock())
    yield made
    made.close()
