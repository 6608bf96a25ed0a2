"""A reader that is slower than what it reads (fault test 20): the producer is held back, and memory is a window."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from anabranch import ProcessRunner, ThreadRunner, flow, task

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.sampled(2, "a runner for each")
MIB = 1 << 20
ITEMS = 1_000_000
VALUE = 2_000  # bytes, so that all of them would be 2 GB
READ = 20_000


@pytest.fixture(params=["thread", "process"])
def either(request: pytest.FixtureRequest) -> Any:
    return ThreadRunner(max_workers=2) if request.param == "thread" else ProcessRunner(max_workers=2)


def taken() -> int:
    """Bytes of this process and its workers, and of shared memory that this process owns."""
    me = psutil.Process()
    own = sum(p.memory_info().rss - p.memory_info().shared for p in (me, *me.children()) if p.is_running())
    return own + sum(
        file.stat().st_size for folder in _folders() for file in os.scandir(folder) if file.is_file()
    )


def _folders() -> list[str]:
    return [f.path for f in os.scandir("/dev/shm") if f.name.startswith(f"anabranch-{os.getpid()}-") and f.is_dir()]


def test_the_producer_is_held_back(either: Any, tmp_path: Path) -> None:
    @task
    def make(x: int) -> bytes:
        return x.to_bytes(8, "big") * (VALUE // 8)

    @flow(runner=either, on_exit="cancel")
    def main() -> tuple[int, int]:
        base, most = taken(), 0
        pause = threading.Event()
        futures = make.map(range(ITEMS))
        ahead = 0
        with_stream = futures.results()
        for n, value in enumerate(with_stream):
            assert value[:8] == n.to_bytes(8, "big")
            if n % 2000 == 0:
                pause.wait(0.15)  # the reader sleeps; the producer has time to run ahead as far as it may
                most = max(most, taken() - base)
                ahead = max(ahead, futures._map.done - n)
            if n == READ:
                break
        with_stream.close()
        return most, ahead

    most, ahead = main()
    assert ahead < ITEMS // 10, "the producer ran away from its reader"
    assert most <= 200 * MIB
