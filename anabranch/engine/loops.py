"""Event loops for coroutines in threads without a running loop, or with one that cannot wait for them.

    a worker's main thread, threads of submitted flows    a loop of the thread's own, while none runs there
    any other thread, or a loop runs there                the home loop: one of the process, in its own thread

So the async tasks of a process have one loop for its whole life, and objects that a module shares between them (a
client, a lock, a semaphore) stay bound to it. The thread that drives the home loop must not stand still: while a task
there waits for others without awaiting, another thread drives in its place.

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

CLOSE_SECONDS = 2.0  # for tasks that still run on the home loop when the program ends


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end, from a thread that waits for it; returns its value or raises its exception."""
    import asyncio

    if _mine.owns and asyncio._get_running_loop() is None:
        return _run_here(work)
    return home().run(work)


def own_loop() -> None:
    """Run coroutines of this thread from now on in it, on a loop that ends with the thread."""
    _mine.owns = True


def main_owns_loop() -> None:
    """Do as `own_loop` in the main thread of a process that runs tasks there."""
    if not _mine.owns and threading.current_thread() is threading.main_thread():
        _mine.owns = True


# -- a thread's own --------------------------------------------------------------------------------


class _Owned:
    """A loop that ends with its thread."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self.runner = runner

    def __del__(self) -> None:
        if not sys.is_finalizing():  # while the interpreter ends, half of asyncio is gone
            self.runner.close()


class _Mine(threading.local):
    owns = False
    owned: _Owned | None = None


_mine = _Mine()


def _run_here(work: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine on this thread's own loop, which is kept for the next coroutine."""
    import asyncio

    if _mine.owned is None:
        _mine.owned = _Owned(asyncio.Runner())
    # By default an asyncio.Runner runs all coroutines in the context of its first.
    return _mine.owned.runner.run(work, context=contextvars.copy_context())


# -- that of the process ---------------------------------------------------------------------------


class Home:
    """The home loop and the threads that drive it, exactly one of them at each moment.

    When a thread's wait is over it takes its turn back (`_lend`), because the task that waited goes on in its frames.
    This class alone uses private parts of asyncio: one round of a loop, and the current task.
    """

    def __init__(self) -> None:
        import asyncio

        self.loop: Any = asyncio.SelectorEventLoop()
        self._lock = threading.Lock()
        self._back: deque[threading.Lock] = deque()  # of threads with ended waits, in their order
        self._parked: threading.Lock | None = None  # of the loop's own thread, while another one drives
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
        while not self._closing:  # in a loop, because a task may stop the event loop
            with contextlib.suppress(KeyboardInterrupt, SystemExit):  # raised by a task; its waiter gets it too
                self.loop.run_forever()
        self._clear()

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Let another thread drive during the block, in which the driving thread waits."""
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
        """Let another thread drive; False when the system starts no more threads."""
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
        """Take the turn again, within a round that expects the number of handles at its leaving."""
        self.loop._thread_id = threading.get_ident()
        for _ in range(left - len(self.loop._ready)):
            self.loop.call_soon(_nothing)

    def _lend(self) -> None:
        """Give the turn, on the loop, to a thread that has waited to its end. A stand-in ends with that."""
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
            raise _Relieved  # leaves the round: the next driver does the rest of it
        turn.acquire()
        self._go_on(left)

    def _stand_in(self) -> None:
        """Drive in place of a waiting thread, until it is back."""
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
            except (KeyboardInterrupt, SystemExit):  # raised by a task; its waiter gets it too
                pass
            with self._lock:
                parked, self._parked = self._parked, None
            if parked is not None:
                parked.release()
                return

    # -- the end ---------------------------------------------------------------------------------

    def close(self) -> None:
        """Cancel running tasks, as `asyncio.run` does at its end, and end the thread."""
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
    """Raised to leave a stand-in's round: a SystemExit, because a loop lets nothing else through."""


def _closed_lock() -> threading.Lock:
    lock = threading.Lock()
    lock.acquire()
    return lock


def _nothing() -> None:
    """Do nothing: a handle for a round that expects one more."""


def _silence(loop: Any) -> None:
    """Keep asyncio quiet about tasks that did not end with the process."""
    import asyncio

    for task in asyncio.all_tasks(loop):
        task._log_destroy_pending = False  # type: ignore[attr-defined]


_home: Home | None = None
_making = threading.Lock()
_inherited: list[Any] = []  # loops of the forked parent, kept: closing them would affect the parent's


def home() -> Home:
    """Return the home loop of this process, made when first needed."""
    global _home
    found = _home
    if found is None:
        with _making:
            found = _home = _home or Home()
    return found


def _forget() -> None:
    """Reset in a fork: its thread has no loop, and the thread that drove the home loop does not exist here."""
    global _home, _making
    _inherited.extend((_home, _mine.owned))
    _home, _making = None, threading.Lock()
    _mine.owned, _mine.owns = None, False
    waiter.driving.clear()


def _close() -> None:
    """Close the home loop at the program's end, after everything that may still need a loop."""
    owned, _mine.owned = _mine.owned, None
    if owned is not None:
        owned.runner.close()
    if _home is not None:
        _home.close()


forks.in_copies(_forget)
atexit.register(_close)
