"""What a whole process tree holds while something runs."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from benchmarks.measure import proportional_bytes, tree


class Sampler:
    """Highest PSS of this process tree plus its files in shared memory, read every `seconds`."""

    def __init__(self, seconds: float = 0.05) -> None:
        self.seconds = seconds
        self.pid = os.getpid()
        self.highest = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def now(self) -> int:
        return proportional_bytes(tree(self.pid)) + self._shared_files()

    def _shared_files(self) -> int:
        total = 0
        for path in Path("/dev/shm").glob(f"anabranch-{self.pid}-*/**/*"):
            try:
                total += path.stat().st_blocks * 512
            except OSError:
                pass
        return total

    def _run(self) -> None:
        while not self._stop.wait(self.seconds):
            self.highest = max(self.highest, self.now())

    def __enter__(self) -> Sampler:
        self.highest = self.now()
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()
