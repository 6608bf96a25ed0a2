"""Event loops for coroutines that come up where none runs, or where one runs that cannot wait for them.

    a worker's main thread, threads of submitted flows    a loop of the thread's own, while none runs there
    any other thread, or a loop runs there                the home loop: one of the process, in its own thread

So async tasks live on one loop as long as their process does, and what a module shares between them (a client,
a lock, a semaphore) stays with it. The thread that drives the home loop must not stand still: while a task waits
there for others without awaiting, another thread drives in its place.

    home thread   drives ... a task waits | . . . . . . . . | goes on, drives ...
    a stand-in                            | drives for it   |
"""

from __future__ import annotations

import atexit
import contextlib
import contextvars
import sys
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from anabranch.core import forks, waiter
from anabranch.core.waiter import Waiter

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Coroutine, Iterator

CLOSE_SECONDS = 2.0  # for what still runs on the home loop when the program ends


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end, from a thread that waits for it; returns, or raises, what it does."""
    import asyncio

    if _mine.owns and asyncio._get_running_loop() is None:
        return _run_here(work)
    return home().run(work)


def own_loop() -> None:
    """From here on coroutines of this thread run in it, on a loop that goes with it."""
    _mine.owns = True


def main_owns_loop() -> None:
    """The same, where this is the main thread, of a process that has one to run tasks in."""
    if not _mine.owns and threading.current_thread() is threading.main_thread():
        _mine.owns = True


# -- a thread's own --------------------------------------------------------------------------------


class _Owned:
    """A loop that goes with its thread."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self.runner = runner

    def __del__(self) -> None:
        if not sys.is_finalizing():  # the process is going, and half of asyncio has gone
            self.runner.close()


class _Mine(threading.local):
    owns = False
    owned: _Owned | None = None


_mine = _Mine()


def _run_here(work: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine on this thread's own loop, which is kept for the next one."""
    import asyncio

    if _mine.owned is None:
        _mine.owned = _Owned(asyncio.Runner())
    # A runner left to itself runs all of them in the context of its first.
    return _mine.owned.runner.run(work, context=contextvars.copy_context())


# -- that of the process ---------------------------------------------------------------------------


class Home:
    """The home loop and the threads that drive it: at each moment exactly one of them does.

    A thread whose wait is over takes its turn back (`_lend`), for the task that waited goes on in its frames.
    What is asked of asyncio beyond its public face is here alone: one round of a loop, and which task is current.
    """

    def __init__(self) -> None:
        import asyncio

        self.loop: Any = asyncio.SelectorEventLoop()
        self._lock = threading.Lock()
        self._back: deque[threading.Lock] = deque()  # of threads whose waits are over, in their order
        self._parked: threading.Lock | None = None  # of the loop's own thread, while another one goes on
        self._closing = False
        self._thread = threading.Thread(target=self._live, name="anabranch-loop", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine on the loop and wait for its end; an interrupt of this thread cancels it."""
        ended = Waiter()
        context = contextvars.copy_context()
        tasks: list[asyncio.Task[Any]] = []

        def begin() -> None:
            tasks.append(self.loop.create_task(work, context=context))
            tasks[0].add_done_callback(lambda _: ended.set())

        self.loop.call_soon_threadsafe(begin)
        try:
            ended.wait(None)
        except BaseException:
            self.loop.call_soon_threadsafe(lambda: tasks[0].cancel())
            ended.wait(None)
            raise
        try:
            return tasks[0].result()
        finally:
            tasks.clear()

    def _live(self) -> None:
        waiter.driving[threading.get_ident()] = self.aside
        while not self._closing:  # a task may have stopped the loop
            with contextlib.suppress(KeyboardInterrupt, SystemExit):  # of a task, whose waiter has it too
                self.loop.run_forever()
        self._clear()

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Around a wait of the thread that drives: another one drives meanwhile."""
        import asyncio

        task = asyncio.current_task(self.loop)
        left = len(self.loop._ready)
        if task is not None:
            asyncio.tasks._leave_task(self.loop, task)
        leaves = self._leave()
        try:
            yield
        finally:
            if leaves:
                turn = _closed_lock()
                with self._lock:
                    self._back.append(turn)
                self.loop.call_soon_threadsafe(self._lend)
                turn.acquire()
                self._go_on(left)
            if task is not None:
                asyncio.tasks._enter_task(self.loop, task)

    def _leave(self) -> bool:
        """Let another thread drive; False when the system gives us none."""
        with self._lock:
            parked, self._parked = self._parked, None
        if parked is not None:
            parked.release()
            return True
        try:
            threading.Thread(target=self._stand_in, name="anabranch-loop-beside", daemon=True).start()
        except RuntimeError:
            return False
        return True

    def _go_on(self, left: int) -> None:
        """It is this thread's turn, in the midst of a round that counts on the handles there were when it left."""
        self.loop._thread_id = threading.get_ident()
        for _ in range(left - len(self.loop._ready)):
            self.loop.call_soon(_nothing)

    def _lend(self) -> None:
        """On the loop: give the turn to a thread whose wait is over. A stand-in ends with that."""
        mine = threading.current_thread() is self._thread
        turn = _closed_lock()
        with self._lock:
            if not self._back:
                return
            back = self._back.popleft()
            if mine:
                self._parked = turn
        left = len(self.loop._ready)
        back.release()
        if not mine:
            raise _Relieved  # out of the round: the rest of it is the next driver's
        turn.acquire()
        self._go_on(left)

    def _stand_in(self) -> None:
        """Drive in the place of a thread that waits, until it is back."""
        import asyncio

        loop, me = self.loop, threading.get_ident()
        asyncio._set_running_loop(loop)
        loop._thread_id = me
        sys.set_asyncgen_hooks(firstiter=loop._asyncgen_firstiter_hook, finalizer=loop._asyncgen_finalizer_hook)
        waiter.driving[me] = self.aside
        try:
            self._rounds()
        finally:
            asyncio._set_running_loop(None)
            del waiter.driving[me]

    def _rounds(self) -> None:
        while True:
            try:
                self.loop._run_once()
            except _Relieved:
                return
            except (KeyboardInterrupt, SystemExit):  # of a task, whose waiter has it too
                pass
            with self._lock:
                parked, self._parked = self._parked, None
            if parked is not None:
                parked.release()
                return

    # -- the end ---------------------------------------------------------------------------------

    def close(self) -> None:
        """Cancel what still runs, as `asyncio.run` does at its end, and end the thread."""
        self._closing = True
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(CLOSE_SECONDS)
        if self._thread.is_alive():
            _silence(self.loop)

    def _clear(self) -> None:
        import asyncio

        left = asyncio.all_tasks(self.loop)
        for task in left:
            task.cancel()
        if left:
            self.loop.run_until_complete(asyncio.wait(left))
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()


class _Relieved(SystemExit):
    """Raised out of a stand-in's round: a loop lets nothing else through."""


def _closed_lock() -> threading.Lock:
    lock = threading.Lock()
    lock.acquire()
    return lock


def _nothing() -> None:
    """A handle for a round that expects one more."""


def _silence(loop: Any) -> None:
    """The process ends with tasks that would not: asyncio says nothing of them."""
    import asyncio

    for task in asyncio.all_tasks(loop):
        task._log_destroy_pending = False  # type: ignore[attr-defined]


_home: Home | None = None
_making = threading.Lock()
_inherited: list[Any] = []  # loops of the process that this one is a fork of: closing them would reach into theirs


def home() -> Home:
    """The home loop of this process, made when first needed."""
    global _home
    found = _home
    if found is None:
        with _making:
            found = _home = _home or Home()
    return found


def _forget() -> None:
    """In a fork: its thread has no loop, and the one that drove the home loop is not here."""
    global _home, _making
    _inherited.extend((_home, _mine.owned))
    _home, _making = None, threading.Lock()
    _mine.owned, _mine.owns = None, False
    waiter.driving.clear()


def _close() -> None:
    """At the program's end, behind all that may still need a loop."""
    owned, _mine.owned = _mine.owned, None
    if owned is not None:
        owned.runner.close()
    if _home is not None:
        _home.close()


forks.in_copies(_forget)
atexit.register(_close)
