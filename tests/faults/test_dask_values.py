"""Large values on Dask that move between workers: arrays arrive as they were, bad values fail their readers alone."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

import cloudpickle
import pytest

from anabranch import DaskRunner, flow, task, unmapped, wait
from anabranch import session as sessions
from anabranch.records.memory import MemoryRecords
from anabranch.session import Session
from anabranch.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

np = pytest.importorskip("numpy")
pd = pytest.importorskip("pandas")
pa = pytest.importorskip("pyarrow")

pytestmark = [
    pytest.mark.dask,
    pytest.mark.timeout(180),
    pytest.mark.sampled(7, "a cluster of the file's own", whole=True),
]

WAIT = 100.0
MIB = 1 << 20
GOOD = (0, 1, 2, 4, 5)


@pytest.fixture(scope="module")
def dask() -> Iterator[DaskRunner]:
    """Two workers that differ in what they declare, so that a task says where it runs."""
    distributed = importlib.import_module("distributed")
    workers = {
        side: {"cls": distributed.Nanny, "options": {"nthreads": 1, "resources": {side: 1}, "silence_logs": 60}}
        for side in ("left", "right")
    }
    options = {"dashboard": False, "dashboard_address": ":0", "host": "127.0.0.1", "port": 0}  # it has a server anyway
    scheduler = {"cls": distributed.Scheduler, "options": options}
    with (
        distributed.SpecCluster(workers=workers, scheduler=scheduler, silence_logs=60) as cluster,
        DaskRunner(cluster) as runner,
    ):
        yield runner


@pytest.fixture(autouse=True, scope="module")
def session(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Session]:
    settings = Settings(home=tmp_path_factory.mktemp("home"), progress=False, log_level="CRITICAL")
    mine = Session(settings, records=MemoryRecords())
    before = sessions.use(mine)
    cloudpickle.register_pickle_by_value(request.module)  # workers need not import the tests
    yield mine
    cloudpickle.unregister_pickle_by_value(request.module)
    mine.close()
    sessions.use(before)


def _refuse(data: bytes) -> Any:
    raise RuntimeError("it stays where it was made")


class Stuck:
    """As large as an array, and at home where it was made alone."""

    def __init__(self) -> None:
        self.data = bytes(MIB)

    def __reduce__(self) -> Any:
        return _refuse, (self.data,)


LEFT, RIGHT = {"left": 1.0}, {"right": 1.0}


@task(resources=LEFT)
def make(x: int) -> tuple[int, Any]:
    return os.getpid(), Stuck() if x == 3 else bytes([x]) * MIB


@task(resources=RIGHT)
def read(value: tuple[int, Any]) -> tuple[bool, bytes]:
    made, data = value
    return made != os.getpid(), data[:1]


@pytest.mark.parametrize("chunk", [1, 6])
def test_a_value_that_does_not_unpickle_elsewhere_fails_its_readers_alone(dask: DaskRunner, chunk: int) -> None:
    @flow(runner=dask)
    def main() -> tuple[list[str], list[Any], list[int], str]:
        made = make.map(range(6), chunk=6)
        reads = read.map(made, chunk=chunk)
        wait(reads, timeout=WAIT)
        with pytest.raises(RuntimeError, match="stays where it was made"):  # nor does the driver get it
            made[3].result(WAIT)
        assert made[2].result(WAIT)[1] == bytes([2]) * MIB
        reads[3].exception()
        states = reads.states
        good = [reads[x].result(WAIT) for x in GOOD]
        return [state.name for state in states], good, [state.attempt for state in states], states[3].message

    names, good, attempts, message = main()
    assert names == ["Completed"] * 3 + ["Failed"] + ["Completed"] * 2
    assert "does not unpickle on the worker: RuntimeError: it stays where it was made" in message
    assert attempts == [1] * 6
    assert good == [(True, bytes([x])) for x in GOOD]


def frame(n: int) -> Any:
    return pd.DataFrame({"n": np.arange(n, n + 40_000), "word": [f"w{i % 7}" for i in range(40_000)]})


MAKERS = {
    "numpy": lambda n: np.arange(n, n + 40_000, dtype="f8").reshape(200, 200),
    "pandas": frame,
    "arrow": lambda n: pa.Table.from_pandas(frame(n)),
}


def same(kind: str, one: Any, other: Any) -> bool:
    if kind == "numpy":
        return one.dtype == other.dtype and one.shape == other.shape and bool((one == other).all())
    return type(one) is type(other) and bool(one.equals(other))


@pytest.mark.parametrize("kind", list(MAKERS))
def test_arrays_and_tables(dask: DaskRunner, kind: str) -> None:
    """As mapped arguments, as one that all items get, as results, and mapped on: equal, and of the same type."""
    new = MAKERS[kind]
    given, shared = [new(n) for n in range(4)], new(99)

    @task(resources=LEFT)
    def echo(x: Any, all_get: Any, n: int) -> tuple[Any, bool, bool]:
        return x, same(kind, x, new(n)), same(kind, all_get, new(99))

    @task(resources=RIGHT)
    def onward(before: tuple[Any, bool, bool], n: int) -> tuple[bool, bool, Any]:
        x, as_given, as_shared = before
        return as_given and as_shared, same(kind, x, new(n)), x

    @flow(runner=dask)
    def main() -> list[Any]:
        first = echo.map(given, unmapped(shared), range(4), chunk=2)
        return onward.map(first, range(4), chunk=1).result(WAIT)

    found = main()
    assert [one[:2] for one in found] == [(True, True)] * 4
    assert all(same(kind, x, y) for (_, _, x), y in zip(found, given, strict=True))
