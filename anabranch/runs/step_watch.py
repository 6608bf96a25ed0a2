"""The process beside a step: it starts the program, and ends it when the task that asked for it is gone.

    task --stdin: {"command", "env", "folder", "patience"}, then the thread of life--> this process --> program, or srun
         <--stdout, stderr: what the program writes; at the end its code as this process's own

A task's process may be killed at any moment (a time limit, a lost worker), and srun would go on without it.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
from typing import Any

LOOK_SECONDS = 1.0
_MISSING, _UNFIT = 127, 126  # a shell's codes for a command that is not there, and for one that cannot be started


def main(_: dict[str, Any]) -> None:
    """Run the program that the first line of stdin names, and leave with its code, or 128 and its signal."""
    for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, frame: None)  # the program has its own copy where all of a job get one
    starter = os.getppid()
    asked = json.loads(sys.stdin.readline())
    try:
        program = subprocess.Popen(
            asked["command"], env=asked["env"], cwd=asked["folder"], stdin=subprocess.DEVNULL, start_new_session=True
        )
    except OSError as error:
        sys.stderr.write(f"{asked['command'][0]} cannot be started: {error.strerror or error}\n")
        sys.exit(_MISSING if isinstance(error, FileNotFoundError) else _UNFIT)
    end = Ending(program.pid, asked["patience"])
    signal.signal(signal.SIGTERM, lambda number, frame: end.begin())
    threading.Thread(target=end.with_starter, args=(starter,), daemon=True).start()
    code = program.wait()
    end.over()
    os._exit(code if code >= 0 else 128 - code)


class Ending:
    """The end of a program from outside: SIGTERM to all that it has started, SIGKILL to what is left later."""

    def __init__(self, group: int, patience: float) -> None:
        self._group = group
        self._patience = patience
        self._begun = False

    def with_starter(self, starter: int) -> None:
        """Wait until stdin ends, or the process at its other end has gone: a copy of that one may hold the pipe."""
        while os.getppid() == starter:
            ready, _, _ = select.select([0], [], [], LOOK_SECONDS)
            if ready and not os.read(0, 4096):
                break
        self.begin()

    def begin(self) -> None:
        if not self._begun:
            self._begun = True
            self._tell(signal.SIGTERM)
            later = threading.Timer(self._patience, self._tell, (signal.SIGKILL,))
            later.daemon = True
            later.start()

    def over(self) -> None:
        """Take what an ended program has left behind along, where it was to end."""
        if self._begun:
            self._tell(signal.SIGKILL)

    def _tell(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._group, number)
