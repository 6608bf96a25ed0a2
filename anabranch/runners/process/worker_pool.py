"""The one thread of `ProcessRunner`: starts workers, reads their pipes, looks after them, buries them.

    turn:  wait for pipes, deaths, a wake-up or the next look
           -> frames to the runner -> deaths to the runner -> look (limits, memory) -> staff -> deliver events
"""

from __future__ import annotations

import logging
import os
import selectors
import sys
import threading
import time
from typing import TYPE_CHECKING, Protocol

from anabranch.core import native_threads
from anabranch.core.errors import RunnerError
from anabranch.core.machine import usable_cpus
from anabranch.core.surroundings import Driver, folder
from anabranch.runners.process import wire
from anabranch.runners.process.worker_handle import WorkerProcess

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anabranch.runners.process.wire import Pipe

LOOK_SECONDS = 0.05  # between looks at busy workers
AWAKE_SECONDS = 1.0  # how long it keeps looking after the last thing happened
LINGER_SECONDS = 2.0  # a worker too many stays for so long, for the next task that waits
EXIT_SECONDS = 2.0  # for a worker that was told to end
EARLY_DEATHS = 5  # workers that may die before they are ready, one after another
_log = logging.getLogger("anabranch")
_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class Owner(Protocol):
    """The listener of a pool; the pool holds the lock around all calls but `pending` and `deliver`."""

    lock: threading.Lock

    def heard(self, worker: WorkerProcess, kind: int, body: bytes) -> None: ...
    def died(self, worker: WorkerProcess, how: str) -> None: ...
    def look(self, now: float) -> float: ...
    def assign(self) -> None: ...
    def hopeless(self, reason: str) -> None: ...
    def pending(self) -> bool: ...
    def deliver(self) -> None: ...


class WorkerPool:
    """The workers of one runner. Everything but `start` and `wake` wants the owner's lock held."""

    def __init__(
        self, owner: Owner, size: int, entry: str, folders: Sequence[str], module: str, native: int | None = None
    ) -> None:  # fmt: skip
        self.owner = owner
        self.lock = owner.lock
        self.size = size
        self.workers: list[WorkerProcess] = []
        self.path: list[str] = list(sys.path)
        self.asleep = False
        self.over: threading.Event | None = None  # set when the last worker has gone, once asked to end
        self._program = entry, folders, module
        self._native = native  # threads of each library in each worker
        self.around = Driver()
        self._cwd = folder()
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector.register(self._wake_read, _READ, None)
        self._blocked_pipes: set[Pipe] = set()
        self._serial = 0
        self._early = 0
        self._not_before = 0.0
        self._look_at = 0.0
        self._active_at = 0.0
        self._exit_by = 0.0
        self._failed: RunnerError | None = None
        self.thread = threading.Thread(target=self._main, name="anabranch-process", daemon=True)

    # -- for all threads -------------------------------------------------------------------------

    def start(self) -> None:
        """Start the thread and the workers; returns when they are on their way, raises RunnerError when they cannot."""
        self._begun = threading.Event()
        self.thread.start()
        self._begun.wait()
        if self._failed is not None:
            raise self._failed

    def wake(self) -> None:
        """Make the thread look now; from anywhere, a finalizer too."""
        self.asleep = False
        try:
            os.write(self._wake_write, b"!")
        except OSError:  # full, or closed: it is awake, or it has ended
            pass

    def send(self, worker: WorkerProcess, pipe: Pipe, data: bytes) -> None:
        worker.spoken += pipe is worker.control
        if not pipe.send(data):
            self._blocked_pipes.add(pipe)
            self.wake()

    def retire(self, worker: WorkerProcess) -> None:
        """Give it no more; it ends when it has nothing left to do."""
        worker.retiring = True
        if not worker.jobs and not worker.leaving:
            worker.leaving = True
            self.send(worker, worker.chunks, wire.BYE)

    def end(self) -> threading.Event:
        """Let all workers end; the event is set when they have."""
        self.over = self.over or threading.Event()
        self._exit_by = time.monotonic() + EXIT_SECONDS
        for worker in self.workers:
            self.retire(worker)
            if not worker.ready or worker.jobs:
                worker.kill("closed")
        self.wake()
        return self.over

    # -- the thread ------------------------------------------------------------------------------

    def _main(self) -> None:
        try:
            with self.lock:
                self._staff(time.monotonic())
        except RunnerError as error:
            self._failed = error
            with self.lock:
                self.end()
        self._begun.set()
        while self.over is None or self.workers:
            try:
                self.turn()
            except Exception as error:  # a bug: no workers are better than workers without this thread
                _log.exception("the process runner failed")
                with self.lock:
                    self.owner.hopeless(f"the runner failed: {error!r}")
        self._selector.close()
        write, self._wake_write = self._wake_write, -1  # a late wake-up must not write to a newer file
        os.close(write)
        os.close(self._wake_read)
        if self.over is not None:
            self.over.set()

    def turn(self) -> None:
        """One round: everything that has happened, then what follows from it."""
        ready = self._selector.select(self._timeout())
        self.asleep = False
        with self.lock:
            now = time.monotonic()
            dead: list[WorkerProcess] = []
            for key, mask in ready:
                if key.data is None:
                    self._drain_wake()
                    continue
                self._active_at = now
                worker, pipe = key.data
                if pipe is None or (mask & _READ and self._receive(worker, pipe)):
                    dead.append(worker)
                elif mask & _WRITE and pipe.flush():
                    self._watch(worker, pipe, writing=False)
            for worker in dict.fromkeys(dead):
                self._bury(worker, now)
            if now >= self._look_at:
                self._look_at = min(now + LOOK_SECONDS, self.owner.look(now))
                self._hurry(now)
                self._keep_staffed(now)
            self.owner.assign()
            self._watch_blocked()
        self.owner.deliver()

    def _timeout(self) -> float | None:
        self.asleep = True  # first: news from here on wake this thread, earlier news are seen below
        now = time.monotonic()
        if self.owner.pending():
            found: float | None = 0.0
        elif any(w.jobs for w in self.workers) or self.over is not None or now < self._active_at + AWAKE_SECONDS:
            found = max(0.0, self._look_at - now)
        elif self._missing() != 0:
            found = LOOK_SECONDS
        else:
            return None
        self.asleep = False
        return found

    def look_soon(self) -> None:
        """Look in the coming turn, which this begins."""
        self._look_at = 0.0
        self.wake()

    def _drain_wake(self) -> None:
        try:
            while len(os.read(self._wake_read, 4096)) == 4096:
                pass
        except BlockingIOError:
            pass

    def _receive(self, worker: WorkerProcess, pipe: Pipe) -> bool:
        """Take in what a worker said; True when it has gone."""
        frames, gone = pipe.receive()
        for kind, body in frames:
            self.owner.heard(worker, kind, body)
        return gone

    def _watch_blocked(self) -> None:
        for pipe in self._blocked_pipes:
            for worker in self.workers:
                if pipe in worker.pipes():
                    self._watch(worker, pipe, writing=True)
        self._blocked_pipes.clear()

    def _watch(self, worker: WorkerProcess, pipe: Pipe, *, writing: bool) -> None:
        """Ask for news of a pipe; that of the chunks has some only when it is to be written."""
        if pipe is worker.control:
            self._selector.modify(pipe.socket, _READ | _WRITE if writing else _READ, (worker, pipe))
        elif writing and pipe.socket.fileno() not in self._selector.get_map():
            self._selector.register(pipe.socket, _WRITE, (worker, pipe))
        elif not writing:
            self._selector.unregister(pipe.socket)

    # -- coming and going ------------------------------------------------------------------------

    def _missing(self) -> int:
        if self.over is not None:
            return 0
        waiting = sum(w.waiting for w in self.workers)
        return self.size + waiting - sum(not w.retiring for w in self.workers)

    def _staff(self, now: float) -> None:
        """Bring the pool to its size: one worker more for each that waits, none more than that."""
        missing = self._missing()
        if missing > 0 and now >= self._not_before:
            for _ in range(missing):
                self._spawn(now)
        for worker in self.workers if missing < 0 else ():
            if missing < 0 and not (worker.jobs or worker.retiring) and now - worker.idle_since > LINGER_SECONDS:
                self.retire(worker)
                missing += 1

    def _spawn(self, now: float) -> None:
        self._serial += 1
        name = f"process-{self._serial}"
        environ = self.around.environ
        environ = {**environ, **native_threads.limits(environ, usable_cpus(), self.size, self._native)}
        entry, folders, module = self._program
        worker = WorkerProcess(name, entry, folders, self.path, self._cwd, module, environ)
        worker.idle_since = now
        self.workers.append(worker)
        self._selector.register(worker.control.socket, _READ, (worker, worker.control))
        if worker.pidfd >= 0:
            self._selector.register(worker.pidfd, _READ, (worker, None))

    def _hurry(self, now: float) -> None:
        """Workers that do not end when told to are ended."""
        if self.over is not None and now > self._exit_by:
            for worker in self.workers:
                worker.kill("closed")

    def _bury(self, worker: WorkerProcess, now: float) -> None:
        """Hear its last words, take it out, tell how it ended, and see to the pool's size at once."""
        self._receive(worker, worker.control)
        if not worker.leaving:
            worker.kill("")  # what its tasks have started
        self.workers.remove(worker)
        for key in [key for key in self._selector.get_map().values() if key.data and key.data[0] is worker]:
            self._selector.unregister(key.fileobj)
        how = worker.bury()
        self._early = 0 if worker.ready or (worker.killed and worker.killed.why) else self._early + 1
        if self._early:
            self._not_before = now + 0.05 * 2**self._early
        self.owner.died(worker, how)
        if self._early >= EARLY_DEATHS and self.over is None:
            self.owner.hopeless(f"workers cannot start: {how} before it was ready, as {self._early - 1} others had")
            return
        self._keep_staffed(now)

    def _keep_staffed(self, now: float) -> None:
        try:
            self._staff(now)
        except RunnerError as error:
            self._not_before = now + 0.5
            if not self.workers and self.over is None:
                self.owner.hopeless(str(error))
