"""Jobs as processes of this machine, which outlive the program that starts them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from anabranch.batch.exits import exit_reason
from anabranch.core.errors import LaunchError
from anabranch.core.launching import Phase, Reference, Sight
from anabranch.core.processes import host_name, is_here, machine_of, process_alive
from anabranch.launch import script
from anabranch.launch.keeper import EXIT, KIND, PROCESS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from anabranch.core.launching import Job


class ProcessLauncher:
    """Starts a job as a process of a session of its own; a keeper beside it writes down how it ends.

    A job whose keeper was killed runs until its own process has ended; how it ended is not known then.
    A walltime is kept: SIGTERM at its end, SIGKILL a minute later. Other resources are not looked at.
    """

    kind = KIND

    def render(self, job: Job) -> str:
        """As of `Launcher`."""
        return script.script(job, ())

    def start(self, job: Job) -> Reference:
        """As of `Launcher`."""
        if (before := script.started(job.folder)) is not None:
            return before
        script.write_script(job, self.render(job))
        keeper = [sys.executable, "-P", "-m", "anabranch.launch.keeper", str(job.folder), job.name, str(job.walltime)]
        done = subprocess.run(keeper, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        reference = script.started(job.folder)
        if reference is None:
            raise LaunchError(f"job {job.name!r} could not be started: {done.stderr.strip() or 'its keeper ended'}")
        return reference

    def look(self, references: Iterable[Reference]) -> dict[Reference, Sight]:
        """As of `Launcher`; a job of another machine is running until it has written how it ended.

        Whether one runs in another container of this machine's name, or ran before this machine's restart, is unknown.
        A reference that is none of this launcher is left out, and so is a job with a folder that cannot be read now.
        """
        seen = {}
        for reference in references:
            with suppress(LaunchError, ValueError):  # of a handle that another program wrote
                seen[reference] = _seen(reference)
        return seen

    def cancel(self, reference: Reference) -> None:
        """As of `Launcher`."""
        host, pid, started = _parts(reference)
        if not is_here(host):
            raise LaunchError(f"job {reference.name!r} runs on {machine_of(host)}: cancel it there")
        if process_alive(pid, started):
            os.kill(pid, signal.SIGTERM)

    def kill(self, reference: Reference) -> None:
        """As of `Launcher`."""
        if not here(reference):
            self.cancel(reference)
        elif job := _job_of(reference):
            with suppress(ProcessLookupError):
                os.killpg(job, signal.SIGKILL)
        else:
            self.cancel(reference)

    def logs(self, reference: Reference) -> Iterator[str]:
        """As of `Launcher`."""
        return script.log_lines(reference.folder)


def here(reference: Reference) -> bool:
    """Return whether a job is one of this machine, so that its end can be seen here; False for what names none.

    A container with the name of another, or the machine before its restart, is another one.
    """
    try:
        return is_here(_parts(reference)[0])
    except LaunchError:
        return False


def _job_of(reference: Reference) -> int:
    """Return the pid of a job of this machine; 0 where it has ended, or not begun."""
    try:
        pid, _, started = (Path(reference.folder) / PROCESS).read_text(encoding="utf-8").partition(":")
        return int(pid) if process_alive(int(pid), float(started)) else 0
    except (OSError, ValueError):
        return 0


def _parts(reference: Reference) -> tuple[str, int, float]:
    try:
        host, pid, started = reference.id.rsplit(":", 2)
        return host, int(pid), float(started)
    except ValueError:
        raise LaunchError(f"{reference.id!r} of job {reference.name!r} names no process: HOST:PID:STARTED") from None


def _seen(reference: Reference) -> Sight:
    host, pid, started = _parts(reference)
    mine, name = is_here(host), machine_of(host)
    alive = not mine or process_alive(pid, started) or _job_of(reference) > 0
    ended = _exit_of(reference)  # asked after the process: one that ended between the two has written it
    if ended is None and not mine and name == host_name():
        return Sight(Phase.UNKNOWN, f"it began before {name} started anew, or in another container of that name")
    if ended is None and alive:
        return Sight(Phase.RUNNING, "" if mine else f"it runs on {name}, which alone knows whether it still does")
    last = script.last_lines(reference.folder)
    if ended is None:
        return Sight(Phase.GONE, f"process {pid} is gone: its keeper was killed", None, last)
    code, reason = ended
    return Sight(Phase.ENDED, reason or exit_reason(code), code, last if code or reason else ())


def _exit_of(reference: Reference) -> tuple[int, str] | None:
    path = Path(reference.folder) / EXIT
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return int(found["code"]), str(found["reason"])
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LaunchError(f"{path} cannot be read: {error}") from error
    except (ValueError, TypeError, KeyError):  # a disk that was full, or lost its last writes: none comes any more
        return None
