"""The driver's half of an elastic cluster: it starts the process that holds it, and asks it.

    driver --stdin: the thread of life--> holder: decides, and speaks with the infrastructure --> jobs, pods: workers
           <--pipe--- {"addresses": [...], "tls": {...}}
           --scale, adapt, status, through the scheduler's door-->

The holder ends, and its workers with it, when the driver closes its stdin or dies. It is a session of its own, so
Ctrl-C in the terminal reaches the driver alone. A cluster with a name has a holder without that thread: see `named.py`.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import subprocess
import tempfile
import threading
import time
import uuid
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from anabranch.clusters import certificates
from anabranch.clusters.asking import ask, security_of
from anabranch.core.errors import RunnerError
from anabranch.core.interpreter import program
from anabranch.core.showing import Facts, Shown

if TYPE_CHECKING:
    from collections.abc import Iterator

START_SECONDS = 60.0


class HeldCluster(Shown):
    """A Dask cluster that a process of its own holds; for the contract see `core.clusters`.

    Attributes:
        holder: the module of that process.
        unit: what its workers are in.
        start_seconds: until its scheduler has to be up.
        grace_seconds: for the holder to end what it has begun, when it is given up.
    """

    kind: str = ""
    pages: str = ""
    elastic: bool = True
    holder: str = "anabranch.clusters.holder"
    unit: str = "jobs"
    start_seconds: float = START_SECONDS
    grace_seconds: float = 0.0

    def __init__(self, name: str, minimum: int, maximum: int) -> None:
        check_bounds(minimum, maximum)
        self.name: str = name
        self._minimum, self._maximum = minimum, maximum
        self._held: Held | None = None
        self._starting = threading.Lock()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- life --------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the scheduler, unless it runs; workers come with the work, or with `minimum` and `scale`."""
        with self._starting:
            if self._held is None:
                self._held = Held(self.options())

    def options(self) -> dict[str, Any]:
        """Return what its holder is told."""
        raise NotImplementedError

    def facts(self) -> Facts:
        """Return what a notebook shows of it, without asking its scheduler: `status` does that."""
        held = self._held
        status = "not started" if held is None else "running" if held.process.poll() is None else "ended"
        jobs = f"{self._minimum} to {self._maximum}" if self._minimum < self._maximum else str(self._maximum)
        rows = ((self.unit, jobs, ""), *self._size(), ("scheduler", held.address if held is not None else "", ""))
        return Facts(type(self).__name__, self.name, status, rows)

    def _size(self) -> tuple[tuple[str, str | float | None, str], ...]:
        """Return the size of a job or a pod, as rows of `facts`."""
        return ()

    @property
    def scheduler_address(self) -> str:
        """Where the scheduler listens; starts it first. Raises RunnerError when it does not come up in time."""
        return self._up().address

    @property
    def security(self) -> Any:
        """The `distributed.Security` of its clients; None for a cluster without encryption."""
        return security_of(self._up().tls)

    @property
    def alive(self) -> bool:
        return self._held is not None and self._held.process.poll() is None

    def close(self, timeout: float = 30.0) -> None:
        """End scheduler and workers; what is left of the process after `timeout` seconds is killed. Idempotent."""
        held, self._held = self._held, None
        if held is not None:
            held.end(timeout)

    def _up(self) -> Held:
        self.start()
        with self._starting:
            if self._held is None:
                raise RunnerError(f"{self!r} was closed")
            try:
                self._held.wait(self.start_seconds)
            except BaseException:
                self._held.end(self.grace_seconds)
                self._held = None
                raise
            return self._held

    # -- what is asked of it -----------------------------------------------------------------------

    def scale(self, jobs: int) -> None:
        """Have so many jobs or pods from now on, whatever there is to do; idle ones go first, no item is lost."""
        self.adapt(minimum=jobs, maximum=jobs)

    def adapt(self, *, minimum: int = 0, maximum: int) -> None:
        """Have as many jobs or pods as the work asks for, between these. Raises ValueError unless they are in order."""
        check_bounds(minimum, maximum)
        self._minimum, self._maximum = minimum, maximum
        if self._held is not None:
            self._ask("scale", minimum=minimum, maximum=maximum)

    def status(self) -> dict[str, Any]:
        """Return what there is: jobs or pods by phase, workers, what was asked for."""
        return self._ask("status")

    def why(self) -> str:
        """Return why it has fewer workers than it wants, in plain words; "" when it has them."""
        return str(self._ask("status")["why"])

    def _ask(self, say: str, **fields: Any) -> dict[str, Any]:
        held = self._up()
        return ask(held.address, held.tls, say, **fields)

    def render(self) -> str:
        """Return what the holder would hand to the infrastructure; starts nothing."""
        with _options_file({**self.options(), "render": True}) as path:
            command = program(self.holder, path)
            done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode:
            why = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise RunnerError(f"nothing can be shown for {self!r}: {why}")
        return done.stdout


def clusters_folder() -> Path:
    """Return the folder of clusters: named ones have their file there, all have logs and certificates below it."""
    return Path(os.environ.get("ANABRANCH_HOME", "~/.anabranch")).expanduser().absolute() / "clusters"


def check_name(name: str) -> None:
    """Raise ValueError for a name that no cluster of jobs has: it goes into paths, commands and names of jobs."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise ValueError(f"a cluster's name has letters, digits, - and _, got {name!r}")


def check_bounds(minimum: int, maximum: int) -> None:
    """Raise ValueError for numbers of jobs or pods that cannot be."""
    if not 0 <= minimum <= maximum or maximum < 1:
        raise ValueError(
            f"minimum must be 0 or more, and maximum 1 or more and not below minimum, got {minimum} and {maximum}"
        )


@contextlib.contextmanager
def _options_file(options: dict[str, Any]) -> Iterator[str]:
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(options, file)
        file.flush()
        yield file.name


class Held:
    """The process that holds a cluster, at the other end of its stdin."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.address = ""
        self.tls: dict[str, str] = {}
        folder = self._folder = Path(options["home"]) / f"{options['name']}-{uuid.uuid4().hex[:8]}"
        self._file = tempfile.NamedTemporaryFile("w", suffix=".json")  # noqa: SIM115 - it lives until the holder is up
        self._pipe, there = os.pipe()
        try:
            json.dump({**options, "folder": str(folder), "out": there}, self._file)
            self._file.flush()
            where = self._places(folder) if options.get("detached") else {"stdin": subprocess.PIPE}
            self.process = subprocess.Popen(
                program(options["holder"], self._file.name), pass_fds=[there], start_new_session=True, **where
            )
        except BaseException:
            os.close(self._pipe)
            raise
        finally:
            os.close(there)
        self._data = b""
        self._ended = weakref.finalize(self, _let_go, self.process, self._pipe)

    def _places(self, folder: Path) -> dict[str, Any]:
        """Return where a holder that outlives us reads and writes."""
        folder.mkdir(mode=0o700, parents=True)
        log = os.open(folder / "holder.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._log = weakref.finalize(self, os.close, log)
        return {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}

    def wait(self, seconds: float) -> None:
        """Wait until the scheduler is up; raises RunnerError when it does not come."""
        end = time.monotonic() + seconds
        while not self.address:
            ready, _, _ = select.select([self._pipe], [], [], max(0.0, end - time.monotonic()))
            more = os.read(self._pipe, 65536) if ready else b""
            self._data += more
            if not more:
                why = "did not start" if ready else f"is not up after {seconds:g} s"
                raise RunnerError(f"the cluster {why}: {self._data.decode() or 'its messages are on stderr'}")
            if b"\n" in self._data:
                told = json.loads(self._data.partition(b"\n")[0])
                if "error" in told:
                    raise RunnerError(told["error"])
                self.address, self.tls = told["addresses"][0], told["tls"]
                self._file.close()

    def leave(self) -> None:
        """Let go of a holder that outlives us."""
        self._ended()
        self._log()
        self.process.returncode = 0  # ours no more: nobody waits for it

    def end(self, timeout: float) -> None:
        """Let it end its jobs and itself."""
        self._file.close()
        self._ended()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout)
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        certificates.remove(self._folder)  # of a process that was killed


def _let_go(process: subprocess.Popen[bytes], pipe: int) -> None:
    os.close(pipe)
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()
