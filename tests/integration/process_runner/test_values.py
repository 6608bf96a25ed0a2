"""What goes to the workers and comes back: pickles that fail, arrays that are mapped, files in shared memory."""

from __future__ import annotations

import errno
import os
import pickle
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.core.chunks import BlockHandle
from anabranch.core.errors import ResultReleased, SerializationError
from anabranch.core.reports import Held
from anabranch.core.search import Hole
from anabranch.core.states import COMPLETED, FAILED
from anabranch.runners.transport.value_files import Store, pickled
from tests.integration.process_runner.driving import SHM, Drive, double, until

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.sampled(4, "a pool for each")


def test_one_unpicklable_result_fails_alone(drive: Callable[..., Drive]) -> None:
    d = drive()
    chunk = d.submit(d.task(lambda x: {"lock": [threading.Lock()]} if x == 1 else x), range(4))
    end = d.end(chunk)
    assert [list(row) for row in end.codes] == [[COMPLETED, FAILED, COMPLETED, COMPLETED]]
    [outcome] = end.outcomes
    assert (outcome.stage, outcome.position, outcome.code) == (0, 1, FAILED)
    assert outcome.error.type_name == "SerializationError"
    assert "result['lock'][0] (_thread.lock)" in outcome.error.message
    assert isinstance(pickle.loads(outcome.error.pickled), SerializationError)
    assert d.values(chunk) == [0, None, 2, 3]


def test_arguments_that_do_not_pickle_are_named(drive: Callable[..., Drive]) -> None:
    d = drive()
    lost = d.end(d.submit(d.task(double), [1, threading.Lock(), 3]))
    assert (lost.reason, lost.suspects) == ("unserializable", (1,))
    assert "_thread.lock" in lost.message


def test_arguments_that_do_not_unpickle(drive: Callable[..., Drive]) -> None:
    class Bad:
        def __reduce__(self) -> Any:
            return (int, ("no number",))

    d = drive()
    lost = d.end(d.submit(d.task(double), [Bad()]))
    assert (lost.reason, lost.alone) == ("unserializable", True)
    assert "no number" in lost.message
    assert d.run(d.task(double), [2]) == [4]


def test_classes_of_the_driver_come_back_as_themselves(drive: Callable[..., Drive]) -> None:
    class Point:
        def __init__(self, x: int) -> None:
            self.x = x

    d = drive()
    [found] = d.run(d.task(lambda p: Point(p.x + 1)), [Point(1)])
    assert type(found) is Point
    assert found.x == 2


def test_large_arrays_are_mapped_and_private(drive: Callable[..., Drive]) -> None:
    numpy = pytest.importorskip("numpy")
    d = drive()
    stage = d.task(lambda n: numpy.full(n, 7.0))
    chunk = d.submit(stage, [10_000_000])
    [report] = [d.end(chunk)]
    assert isinstance(report.blocks[0], Held)
    assert 80_000_000 <= report.blocks[0].nbytes < 80_010_000
    handle = BlockHandle(chunk, 0, 0)
    [first], [second] = d.runner.fetch(handle, [0]), d.runner.fetch(handle, [0])
    first[0] = 1.0
    assert (second[0], first[0]) == (7.0, 1.0)
    # Chained: the worker reads it where it lies, and may change its copy.
    total = d.task(lambda a: (a.fill(1.0), float(a.sum()))[1])
    assert d.run(total, [Hole(0)], inputs=((handle, 0),), wants={0: (0,)}) == [10_000_000.0]
    assert second.sum() == 70_000_000.0
    d.runner.release([handle])
    with pytest.raises(ResultReleased):
        d.runner.fetch(handle, [0])
    assert second.sum() == 70_000_000.0
    until(lambda: not list(SHM.glob(f"anabranch-{os.getpid()}-*/v*")))


def test_many_large_values_do_not_exhaust_files(drive: Callable[..., Drive]) -> None:
    numpy = pytest.importorskip("numpy")
    d = drive()
    stage = d.task(lambda n: numpy.full(40_000, n))
    arrays = [array for n in range(0, 600, 20) for array in d.run(stage, range(n, n + 20), close_bytes=100 << 20)]
    assert [int(a[0]) for a in arrays] == list(range(600))
    assert all(a.flags.writeable for a in arrays)


def test_a_constant_is_mapped_once_and_read_only(drive: Callable[..., Drive]) -> None:
    numpy = pytest.importorskip("numpy")
    big = numpy.ones(6_500_000)

    def own_memory(x: int, constant: Any) -> tuple[float, bool, int, int]:
        _, resident, shared, *_ = Path("/proc/self/statm").read_text().split()
        return float(constant.sum()), constant.flags.writeable, (int(resident) - int(shared)) * 4096, os.getpid()

    d = drive()
    small, large = d.task(own_memory, (numpy.ones(1),)), d.task(own_memory, (big,))
    before = {pid: used for n in range(20) for _, _, used, pid in d.run(small, [n])}
    found = [one for n in range(20) for one in d.run(large, [n])]
    assert {(total, writeable) for total, writeable, _, _ in found} == {(6_500_000.0, False)}
    for _, _, used, pid in found:
        assert used - before.get(pid, used) < 20 << 20
    files = [f.stat().st_size for f in SHM.glob(f"anabranch-{os.getpid()}-*/s*")]
    assert len([size for size in files if size > 50_000_000]) == 1
    d.runner.drop(range(1, 1000))
    until(lambda: not list(SHM.glob(f"anabranch-{os.getpid()}-*/s*")))


def test_large_arguments_are_the_items_own(drive: Callable[..., Drive]) -> None:
    numpy = pytest.importorskip("numpy")
    d = drive()

    def change(a: Any) -> float:
        a += 1
        return float(a.sum())

    array = numpy.zeros(200_000)
    assert d.run(d.task(change), [array, array[:10].copy()]) == [200_000.0, 10.0]
    assert array.sum() == 0
    assert d.run(d.task(len), ["x" * 1_000_000]) == [1_000_000]
    assert not list(SHM.glob(f"anabranch-{os.getpid()}-*/a*"))


@pytest.mark.parametrize("times", [1, 2])
def test_full_shared_memory_spills(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    shared, spill = tmp_path / "shared", tmp_path / "spill"
    shared.mkdir()
    store = Store((str(shared), str(spill)))
    errors = [OSError(errno.ENOSPC, "No space left on device")] * times
    writev = os.writev
    monkeypatch.setattr(os, "writev", lambda *args: fail(errors) or writev(*args))
    if times == 2:
        with pytest.raises(OSError, match="No space"):
            store.write("v1.0.0", [pickled("value")])
    else:
        store.write("v1.0.0", [pickled("value")])
        with store.open("v1.0.0") as block:
            assert block.load(0) == "value"
        assert os.listdir(spill) == ["v1.0.0"]
        store.unlink(["v1.0.0"])
    assert os.listdir(shared) == os.listdir(spill) == []
    store.remove()


def fail(errors: list[OSError]) -> None:
    if errors:
        raise errors.pop()
