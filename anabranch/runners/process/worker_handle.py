"""The driver's side of one worker process: how it is started, spoken to, watched and buried."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

from anabranch.core.errors import RunnerError
from anabranch.core.interpreter import interpreter_flags
from anabranch.runners.placing.status_page import StatusPage, new_page
from anabranch.runners.process import wire

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from anabranch.runners.placing.jobs import Job, Kind
    from anabranch.runners.process.wire import Pipe

# Sockets that keep messages apart; the second kind where the first is not known (macOS).
_MESSAGES = socket.SOCK_SEQPACKET if sys.platform == "linux" else socket.SOCK_DGRAM
_BOOT = "import sys; sys.path[:] = sys.argv.pop().split('\\n'); from {} import main; main()"


class Killed(NamedTuple):
    """Why we ended a worker."""

    why: str  # timeout, cancel, memory, broken, closed
    text: str = ""


class WorkerProcess:
    """One worker, in a session of its own: Ctrl-C does not reach it, and what its tasks started is killed with it.

    Must be made in a thread that lives as long as the runner: Linux ends the worker with that thread.
    """

    kind: Kind = ()  # of `placing.policy.Worker`: all processes are alike

    def __init__(
        self, name: str, entry: str, folders: Sequence[str], path: Sequence[str], cwd: str | None, module: str,
        environ: Mapping[str, str],
    ) -> None:  # fmt: skip
        chunks = socket.socketpair(socket.AF_UNIX, _MESSAGES)
        control = socket.socketpair()
        chunks[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * wire.MESSAGE_BYTES)
        ours, theirs = zip(chunks, control, strict=True)
        page = new_page()
        fds = (*(end.fileno() for end in theirs), page)
        command = [
            sys.executable, *interpreter_flags(), "-c", _BOOT.format(module), name, entry, str(os.getpid()),
            *map(str, fds), "\n".join(folders), "\n".join(path),
        ]  # fmt: skip
        try:
            self.process = subprocess.Popen(
                command, pass_fds=fds, cwd=cwd, env=environ, stdin=subprocess.DEVNULL, start_new_session=True
            )
            self.page = StatusPage(page)
        except OSError as error:
            for end in (*chunks, control[0]):
                end.close()
            raise RunnerError(f"cannot start a worker process: {error}") from error
        finally:
            os.close(page)
            control[1].close()
        self.name = name
        self.pid = self.process.pid
        self.chunks, self.control = (wire.Pipe(end) for end in ours)
        self._unread = chunks[1]  # its end too: what it has not read can be taken back
        self.spoken = 0  # control frames
        self.pidfd = os.pidfd_open(self.pid) if hasattr(os, "pidfd_open") else -1
        self.jobs: dict[int, Job[WorkerProcess]] = {}  # in the order they were sent: the first one runs
        self.sent: set[int] = set()  # shared values it has
        self.around = 0  # the number of the driver's surroundings that it was told last
        self.ready = False
        self.retiring = False  # gets no more chunks
        self.leaving = False  # was told to end
        self.items = 0
        self.peak = 0  # bytes of memory of its own
        self.waiting = False
        self.idle_since = 0.0
        self.killed: Killed | None = None
        self.stopped_since: float | None = None  # that it was seen stopped by a signal
        self.given_up = False  # for that: its work was given to others

    def kill(self, why: str, text: str = "") -> None:
        """End it now, with whatever its tasks started; the first reason given counts."""
        if self.killed is None:
            self.killed = Killed(why, text)
        with contextlib.suppress(OSError):
            os.killpg(self.pid, signal.SIGKILL)
        with contextlib.suppress(OSError):
            os.kill(self.pid, signal.SIGKILL)

    def take_back(self) -> list[Job[WorkerProcess]]:
        """The jobs that it has not begun, which it now will not: the system gives each message to one of us."""
        if not self.jobs:
            return []
        found: list[bytes | memoryview] = []
        with contextlib.suppress(OSError):
            while data := self._unread.recv(2 * wire.MESSAGE_BYTES, socket.MSG_DONTWAIT):
                found.append(data)
        found += self.chunks.unsent
        self.chunks.unsent.clear()
        return [self.jobs[wire.chunk_of(bytes(data))[0]] for data in found]

    def memory(self) -> int:
        """Bytes that it has for itself alone: mapped constants and results are not counted."""
        try:
            with open(f"/proc/{self.pid}/statm", encoding="ascii") as file:
                _, resident, shared, *_ = file.read().split()
        except (OSError, ValueError):
            return 0
        self.peak = max(self.peak, now := (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE"))
        return now

    def bury(self) -> str:
        """Wait for its end, which must be near, and say how it ended."""
        try:
            _, status, usage = os.wait4(self.pid, 0)
            self.process.returncode = os.waitstatus_to_exitcode(status)
            self.peak = max(self.peak, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024))
        except ChildProcessError:  # somebody else's waitpid(-1) was faster
            self.process.returncode = 0
        if self.pidfd >= 0:
            os.close(self.pidfd)
        self._unread.close()
        for pipe in self.pipes():
            pipe.close()
        code = self.process.returncode
        if code >= 0:
            return f"worker {self.name} (pid {self.pid}) ended with exit code {code}"
        try:
            text = signal.Signals(-code).name
        except ValueError:
            text = f"signal {-code}"
        return f"worker {self.name} (pid {self.pid}) was killed by {text}"

    def pipes(self) -> tuple[Pipe, Pipe]:
        return self.chunks, self.control


def oom_kills() -> int:
    """How many processes of this control group the system has killed for want of memory."""
    for path in _oom_files():
        try:
            with open(path, encoding="ascii") as file:
                return sum(int(line.split()[1]) for line in file if line.startswith("oom_kill "))
        except (OSError, ValueError, IndexError):
            continue
    return 0


def _oom_files() -> Iterator[str]:
    """Where it says so: version 2 of control groups, then version 1."""
    try:
        with open("/proc/self/cgroup", encoding="utf-8") as file:
            groups = [line.rstrip("\n").split(":", 2) for line in file]
    except OSError:
        return
    for _, controllers, path in groups:
        if not controllers:
            yield f"/sys/fs/cgroup{path.rstrip('/')}/memory.events"
    for _, controllers, path in groups:
        if "memory" in controllers.split(","):
            yield f"/sys/fs/cgroup/memory{path.rstrip('/')}/memory.oom_control"
