"""The process beside a job of this machine: it starts the job, hands signals on, and writes down how it ended.

    python -m anabranch.launch.keeper FOLDER NAME SECONDS

It prints its reference and goes into the background. Its own id is the job's: it lives as long as the job, and its
starter may end before.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anabranch.core.launching import Reference
from anabranch.core.processes import host_id, process_started
from anabranch.launch import script

if TYPE_CHECKING:
    from collections.abc import Sequence

EXIT = "exit"
PROCESS = "process"  # the file with the job's own process, which leads a group: its keeper may be killed before it
KIND = "process"
_HANDED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_KILL_AFTER = 60  # seconds from the first SIGTERM


def main(argv: Sequence[str]) -> int:
    """Leave the starter, become the job's keeper; the exit code tells the starter whether there is one."""
    folder, name, seconds = Path(argv[0]), argv[1], float(argv[2])
    read, write = os.pipe()
    if os.fork():
        os.close(write)
        with open(read, encoding="utf-8") as told:
            sys.stdout.write(told.read())
        return 0
    os.close(read)
    os.setsid()
    me = Reference(KIND, f"{host_id()}:{os.getpid()}:{process_started(os.getpid())}", name, str(folder))
    try:
        script.note(me, folder)
    except FileExistsError:  # another call was quicker: its job is the job
        os._exit(0)
    _silence(folder)
    with open(write, "w", encoding="utf-8") as out:
        out.write(json.dumps(me._asdict()))
    _keep(folder, seconds)
    return 0


def _silence(folder: Path) -> None:
    """Let go of the starter's files: a pipe that stays open would keep its reader waiting."""
    log = os.open(folder / script.LOG, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, file in enumerate((nothing, log, log)):
        os.dup2(file, number)
    os.close(log)
    os.close(nothing)


class _Kept:
    """The job as its keeper's signal handlers know it."""

    def __init__(self) -> None:
        self.job: subprocess.Popen[bytes] | None = None
        self.reason = ""
        self._early: list[int] = []
        self._ending = False

    def start(self, folder: Path) -> None:
        self.job = subprocess.Popen([str(folder / script.SCRIPT)], process_group=0)
        new = folder / f".{PROCESS}"
        new.write_text(f"{self.job.pid}:{process_started(self.job.pid)}", encoding="utf-8")
        new.replace(folder / PROCESS)
        for number in self._early:
            self.job.send_signal(number)

    def hand_on(self, number: int, _: Any = None) -> None:
        """Handle a signal that is meant for the job."""
        if number == signal.SIGTERM and not self._ending:
            self._ending = True
            signal.alarm(_KILL_AFTER)
        if self.job is None:
            self._early.append(number)
        else:
            self.job.send_signal(number)

    def time_is_up(self, _: int, __: Any) -> None:
        """Handle the alarm: that of the walltime, then that of a job that does not end."""
        if self._ending and self.job is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.job.pid, signal.SIGKILL)
            return
        self.reason = "its walltime was over"
        self.hand_on(signal.SIGTERM)


def _keep(folder: Path, seconds: float) -> None:
    """Run the job to its end, and write how it ended."""
    kept = _Kept()
    for number in _HANDED_ON:
        signal.signal(number, kept.hand_on)
    signal.signal(signal.SIGALRM, kept.time_is_up)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    kept.start(folder)
    assert kept.job is not None
    code = kept.job.wait()
    new = folder / f".{EXIT}"
    new.write_text(json.dumps({"code": code, "reason": kept.reason}), encoding="utf-8")
    new.replace(folder / EXIT)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
