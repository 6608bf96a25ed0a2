"""One round: a graph in a driver process of its own, its faults, the drivers that go on, and what has to hold then."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from tests.chaos import checks, faults, work
from tests.chaos.graphs import graph, reference

if TYPE_CHECKING:
    from tests.chaos.faults import Fault

ROOT = Path(__file__).resolve().parents[2]
DEADLINE = 90.0  # seconds that a round may take, besides what it stops and starts itself
START = {"thread": 5.0, "process": 5.0, "dask": 25.0, "ray": 45.0}  # seconds for a driver and its cluster to come up
UNSTARTED = 3  # times that Ray may fail to come up, as it does on a busy machine: the next driver goes on
GONE = 20.0  # seconds in which processes of a driver that is gone have to go
# Ray's own agents, once their raylet is dead, wait a minute for the answer of a control store that is gone too, and end
# after that (ray._private: process_watcher, publish_error_to_driver). A round does not wait for that.
AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")


class RoundFailed(Exception):
    """Something that has to hold did not; the lines say what."""


class Round:
    """Plays one seed on one kind of runner, in a folder that is kept when it fails.

    With `hold`, drivers stop half way through the graph until a fault was done: a fast one would be through before.
    """

    def __init__(self, seed: int, kind: str, *, hold: bool = False) -> None:
        self.seed = seed
        self.kind = kind
        self.nodes = graph(seed)
        self.plan = faults.plan(seed, kind)
        self.done: Counter[str] = Counter()
        self.told: list[str] = []
        self.runs = 0
        self.folder = Path(tempfile.mkdtemp(prefix=f"anabranch-chaos-{seed}-"))
        for name in ("workers", "began"):
            (self.folder / name).mkdir()
        self._held = work.hold(self.folder)
        if hold:
            self._held.touch()
        self._drivers = self._unstarted = 0
        self._process: subprocess.Popen[bytes]
        self._deadline = time.monotonic() + DEADLINE

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def play(self) -> None:
        """Run it to its end.

        Raises:
            RoundFailed: what went wrong; the folder is left then.
        """
        try:
            self._start()
            for fault in self.plan:
                if not (self._wait_for_beginning(fault) and self._pass(fault.after)):
                    break
                while not self._do(fault) and self._held.exists() and self._pass(0.05):
                    pass
                self._held.unlink(missing_ok=True)
            self._finish()
            self._check()
        except BaseException:
            faults.signal_all(faults.left(self.folder), signal.SIGKILL)
            raise
        shutil.rmtree(self.folder, ignore_errors=True)

    # -- drivers -----------------------------------------------------------------------------------

    def _start(self) -> None:
        self._drivers += 1
        self._deadline += START[self.kind]
        environment = {
            **os.environ, work.FOLDER: str(self.folder), "PYTHONPATH": str(ROOT), "ANABRANCH_HOME": str(self.home),
            "ANABRANCH_LOG_LEVEL": "ERROR", "ANABRANCH_PROGRESS": "false",
        }  # fmt: skip
        command = [sys.executable, "-m", "tests.chaos.driver", self.kind, str(self.seed)]
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(
                command, env=environment, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    @property
    def _log(self) -> Path:
        return self.folder / f"driver-{self._drivers}.log"

    @property
    def _pid(self) -> int:
        return self._process.pid

    def _wait_for_beginning(self, fault: Fault) -> bool:
        """Until the driver is where the fault's time begins; False when it has ended."""
        began = self.folder / "began" / str(self._pid)
        while not fault.early and not began.exists():
            if not self._pass(0.01):
                return False
        return True

    def _pass(self, seconds: float) -> bool:
        """Let so much time go by; False when the driver has ended meanwhile."""
        try:
            code = self._process.wait(min(seconds, max(0.0, self._deadline - time.monotonic())))
        except subprocess.TimeoutExpired:
            if time.monotonic() > self._deadline:
                self._hung()
            return True
        if code and "cannot start Ray" in self._tail() and self._unstarted < UNSTARTED:
            self._unstarted += 1
            self.told.append("Ray did not come up")
            self._start()
            return True
        if code:
            raise RoundFailed(f"driver {self._drivers} ended with code {code}: {self._tail()}")
        return False

    def _finish(self) -> None:
        while self._pass(1.0):
            pass

    def _tail(self) -> str:
        return self._log.read_text(errors="replace")[-6000:]

    def _hung(self) -> None:
        faults.signal_all([self._pid, *faults.workers(self.folder, self._pid)], signal.SIGUSR2)
        time.sleep(1.0)  # for the dumps to be written
        dumped = "\n".join(f"-- {p.name}\n{p.read_text()}" for p in sorted(self.folder.glob("threads-*")))
        raise RoundFailed(f"driver {self._drivers} ({self._pid}) hangs: {self._tail()}\n{dumped[-20_000:]}")

    # -- faults ------------------------------------------------------------------------------------

    def _do(self, fault: Fault) -> bool:
        """False when there was nothing that it could be done to."""
        if fault.kind in faults.ENDING:
            self._end_driver(fault.kind)
        elif fault.kind == faults.STOP_DRIVER:
            faults.pause(self._pid, fault.seconds)
        elif fault.kind == faults.LOCK_RECORD:
            if not (self.home / "records.db").exists():
                return False
            if not faults.lock_record(self.home / "records.db", fault.seconds, lambda: None):
                return False
        else:
            found = faults.workers(self.folder, self._pid)
            if not found:
                return False
            victim = found[int(fault.pick * len(found))]
            if fault.kind == faults.KILL_WORKER:
                faults.signal_all([victim], signal.SIGKILL)
            else:
                faults.pause(victim, fault.seconds)
        self.done[fault.kind] += 1
        self.told.append(str(fault))
        self._deadline += fault.seconds
        return True

    def _end_driver(self, kind: str) -> None:
        if kind == faults.KILL_DRIVER:
            self._process.kill()
            self._process.wait()
        else:
            self._process.terminate()
            self._wait_for_end_by_signal()
        if (self.home / "records.db").exists() and (found := list(checks.integrity(self.home / "records.db"))):
            raise RoundFailed(f"after {kind}: {found}")
        self._start()

    def _wait_for_end_by_signal(self) -> None:
        try:
            code = self._process.wait(60.0)
        except subprocess.TimeoutExpired:
            self._hung()
        if code not in (0, 143, -signal.SIGTERM):
            raise RoundFailed(f"driver {self._drivers} ended with code {code} after SIGTERM: {self._tail()}")
        if code == 143 and (found := list(checks.ended_in_order(self.home))):
            raise RoundFailed(f"after SIGTERM: {found}")

    # -- the end -----------------------------------------------------------------------------------

    def _check(self) -> None:
        found = checks.all_of(
            self.home, self.kind, self.nodes, reference(self.nodes), self.folder / "answer.json"
        )
        found += self._left_over()
        if found:
            raise RoundFailed("\n".join(found))
        self.runs = checks.task_runs(self.home)

    def _left_over(self) -> list[str]:
        """Processes that nobody ended: those of drivers that were killed, too."""
        began = time.monotonic()
        while pids := faults.left(self.folder):
            lines = [line for pid in pids if (line := faults.command(pid))]
            if all(line.startswith(AGENTS) for line in lines):
                faults.signal_all(pids, signal.SIGKILL)
            if time.monotonic() - began > GONE:
                return [f"processes are left over: {lines}"]
            time.sleep(0.1)
        return []

    @property
    def resumes(self) -> int:
        return self._drivers - 1
