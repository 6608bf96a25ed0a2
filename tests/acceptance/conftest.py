"""The runners that the acceptance tests run over: each in a session of its own, put in place for one test at a time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import DaskRunner, InlineRunner, ProcessRunner, RayRunner, ThreadRunner, logs, settings
from anabranch import session as sessions
from anabranch.records.memory import MemoryRecords
from tests.acceptance.far import sampled
from tests.acceptance.gates import Gate
from tests.acceptance.resuming import Ledger
from tests.acceptance.sessions import over
from tests.engines import engine_of, failed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FOLDER = Path(__file__).parent
KINDS: dict[str, tuple[str, ...]] = {
    "runner": ("inline", "thread", "process", "dask", "ray"),
    "concurrent": ("thread", "process"),
    "beside": ("thread", "process", "dask", "ray"),  # a submit runs beside its caller
    "apart": ("process", "dask", "ray"),  # workers are other processes
    "threads": ("thread",),
    "processes": ("process",),
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for fixture, kinds in KINDS.items():
        if fixture in metafunc.fixturenames:
            metafunc.parametrize(fixture, over(*kinds), indirect=True)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """By day process workers, Dask and Ray run a sample: see far.py."""
    sampled(items, FOLDER)


MAKE: dict[str, Callable[[], Any]] = {
    "inline": InlineRunner,
    "thread": lambda: ThreadRunner(max_workers=4),
    "process": lambda: ProcessRunner(max_workers=2),
    "dask": lambda: DaskRunner(n_workers=1, threads_per_worker=2),
    "ray": lambda: RayRunner(num_cpus=2),
}


_made: dict[str, sessions.Session] = {}


@pytest.fixture(scope="session")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], sessions.Session]:
    """A session per kind of runner, made when first asked for: workers start once for the whole folder."""

    def session(kind: str) -> sessions.Session:
        if kind not in _made:
            home = tmp_path_factory.mktemp(kind)
            chosen = settings.load({}, home=home, runner=MAKE[kind](), progress=False)
            _made[kind] = sessions.Session(chosen, records=MemoryRecords())
        return _made[kind]

    return session


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Close them behind the folder's last test, and before one on another engine: none idles beside the others."""
    last = nextitem is None or FOLDER not in nextitem.path.parents
    if last or engine_of(item) != engine_of(nextitem) or failed(item):
        while _made:
            _made.popitem()[1].close()


def _placed(pool: Any, kind: str) -> Iterator[str]:
    session = pool(kind)
    before = sessions.use(session)
    logs.deliver_to(session.emit_logs)  # the session made last took the lines of all: see test_sessions.py
    try:
        yield kind
    finally:
        sessions.use(before)


def _kinds(name: str) -> Any:
    """The fixture `name`: its test runs once for each kind of runner that `KINDS` gives it."""

    @pytest.fixture(name=name)
    def placed(pool: Any, request: pytest.FixtureRequest) -> Iterator[str]:
        yield from _placed(pool, request.param)

    return placed


runner, concurrent, beside, apart, threads, processes = map(_kinds, KINDS)


@pytest.fixture
def fresh_session(tmp_path: Path) -> Iterator[sessions.Session]:
    """A session that nobody used before, on threads: for tests that count what it holds."""
    chosen = settings.load({}, home=tmp_path / "home", runner=ThreadRunner(max_workers=4), progress=False)
    session = sessions.Session(chosen, records=MemoryRecords())
    before = sessions.use(session)
    yield session
    sessions.use(before)
    session.close()


class Marks:
    """Lines in a file: what tasks did, wherever they ran; every line is one write, so none are mixed."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def add(self, text: object) -> None:
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(f"{text}\n")

    def read(self) -> list[str]:
        try:
            with open(self.path, encoding="utf-8") as file:
                return file.read().splitlines()
        except FileNotFoundError:
            return []


@pytest.fixture
def marks(tmp_path: Path) -> Marks:
    return Marks(tmp_path / "marks.txt")


@pytest.fixture
def gates(tmp_path: Path) -> Iterator[Callable[[str], Gate]]:
    """Gates by name; all of them are open at the end of the test, so that nothing waits behind them."""
    made: dict[str, Gate] = {}

    def gate(name: str) -> Gate:
        return made.setdefault(name, Gate(tmp_path / f"gate-{name}"))

    yield gate
    for one in made.values():
        one.open()


@pytest.fixture
def ran(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path)
