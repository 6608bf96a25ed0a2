"""How flow runs end when the program is told to: Ctrl-C, SIGTERM, SIGUSR1 (the walltime is near).

    signal --> the flow's function is interrupted, in the main thread
           --> nothing new begins, what runs has its grace, what is left then is cancelled
           --> a recorded state, one line that says how to go on, an exit code

    Ctrl-C    Cancelled   130   a second time: at once
    SIGTERM   Cancelled   143
    SIGUSR1   Suspended    75

Only outermost flow runs in the main thread listen, and only where nobody else does: a handler of the user's
own stays, Ray's does not. That of `asyncio.run` is called after ours. What stood before stands again at the end.
"""

from __future__ import annotations

import _thread
import contextlib
import math
import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from anabranch import logs
from anabranch.core import forks
from anabranch.core.states import Cancelled, Suspended
from anabranch.core.waiter import Waiter
from anabranch.driver import interrupts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from anabranch.core.runs import FlowRunRow
    from anabranch.core.states import State

LOOK_SECONDS = 0.1  # between looks at whether the grace was cut short
CAUGHT_SECONDS = 1.0  # after which an interrupt that led to nothing counts as caught
LAST_SECONDS = 5.0  # for flow runs in threads of their own to be recorded, once all they wait for has ended


class Terminated(KeyboardInterrupt):
    """SIGTERM, or SIGUSR1, came while a flow ran in the main thread."""


class Kind(NamedTuple):
    """One way to be told."""

    message: str
    state: Callable[..., State]
    exit_code: int
    grace: str  # the setting
    by: str  # behind "cancelled/" in `core.reasons`


CTRL_C = Kind("Interrupted by Ctrl-C.", Cancelled, 130, "shutdown_grace", "ctrl-c")
_KINDS: dict[int, Kind] = {
    signal.SIGINT: CTRL_C,
    signal.SIGTERM: Kind("Ended by a termination signal (SIGTERM).", Cancelled, 143, "shutdown_grace", "sigterm"),
}
if hasattr(signal, "SIGUSR1"):
    _KINDS[signal.SIGUSR1] = Kind("The walltime is near (SIGUSR1).", Suspended, 75, "walltime_grace", "walltime")


class Ending:
    """An end that somebody asked for; `deadline` is there once running items count their grace."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.told = time.monotonic()
        self.latest = math.inf  # no grace goes beyond this
        self.deadline: float | None = None
        self.hurry = False

    def begin(self, settings: Any) -> None:
        if self.deadline is None:
            self.deadline = min(self.latest, time.monotonic() + getattr(settings, self.kind.grace))

    def shorten(self, settings: Any) -> None:
        self.latest = min(self.latest, time.monotonic() + settings.shutdown_grace)
        if self.deadline is not None:
            self.deadline = min(self.latest, self.deadline)

    def forgotten(self) -> bool:
        """Whether the flow's function has caught the interrupt, as it seems, and goes on."""
        return self.deadline is None and time.monotonic() - self.told > CAUGHT_SECONDS

    def left(self) -> float:
        return 0.0 if self.hurry or self.deadline is None else self.deadline - time.monotonic()


# -- signals -------------------------------------------------------------------------------------


class _Watch:
    """The outermost flow runs of the main thread, and the handlers while there are some."""

    def __init__(self) -> None:
        self.runs: list[tuple[Any, Callable[[], object] | None]] = []  # each with what interrupts it, if it awaits
        self.before: dict[int, Any] = {}
        self.ending: Ending | None = None
        self.streams = 0  # of generator flows: they come and go at each item, the handlers stay

    def enter(self, run: Any) -> None:
        if not self.before:
            self._install()
        self.runs.append((run, _canceller() if run.flow.isasync else None))

    def leave(self, run: Any) -> None:
        self.runs = [entry for entry in self.runs if entry[0] is not run]
        if not self.runs:
            self.ending = None
            self.restore()

    def restore(self) -> None:
        """Put back what stood before, once nothing listens any more; in another thread that cannot be done."""
        if self.runs or self.streams or threading.current_thread() is not threading.main_thread():
            return
        for number, handler in self.before.items():
            if signal.getsignal(number) == self.on_signal:
                signal.signal(number, handler)
        self.before.clear()

    def forget(self) -> None:
        """In a forked copy: nobody listens here, and what stood before stands again."""
        before, self.before = self.before, {}
        self.runs, self.ending = [], None
        for number, handler in before.items():
            if signal.getsignal(number) == self.on_signal:
                signal.signal(number, handler)

    def _install(self) -> None:
        for number in _KINDS:
            handler = signal.getsignal(number)
            free = handler is signal.SIG_DFL or (number == signal.SIGINT and handler is signal.default_int_handler)
            if free or interrupts.stands(handler) or _is_asyncio(handler) or _is_rays(handler):
                self.before[number] = handler
                signal.signal(number, self.on_signal)

    def on_signal(self, number: int, frame: Any) -> None:
        """Called in the main thread, between any two steps of whatever it does."""
        if not self.runs:  # a copy that was forked this very moment: it comes again, to who listens there
            self.forget()
            os.kill(os.getpid(), number)
            return
        if interrupts.later(number, frame):
            return
        if not self.runs:
            self._as_before(number, frame)
            return
        ending = self.ending
        if ending is None or ending.forgotten():
            self.ending = Ending(_KINDS[number])
            self._tell_user()
        elif number == signal.SIGINT:
            ending.hurry = True
        else:  # it is ending already, or about to
            if number == signal.SIGTERM:  # who says so will not wait as long as the walltime may
                ending.shorten(self.runs[0][0].session.settings)
            return
        self._interrupt(number, frame)

    def _as_before(self, number: int, frame: Any) -> None:
        """The signal came while the reader of a generator flow was at work: it is not the flow's."""
        before = self.before.get(number, signal.SIG_DFL)
        if callable(before):
            before(number, frame)
            return
        signal.signal(number, before)
        signal.raise_signal(number)

    def _interrupt(self, number: int, frame: Any) -> None:
        before: Any = self.before.get(number)
        if any(cancel is None for _, cancel in self.runs):  # its function runs here, be it in the midst of a loop
            raise KeyboardInterrupt if number == signal.SIGINT else Terminated(_KINDS[number].message)
        if not _is_asyncio(before):
            for _, cancel in self.runs:
                if cancel is not None:
                    cancel()
            return
        try:
            before(number, frame)
        except KeyboardInterrupt:  # its loop ends now, and does not take down a handler that is not in its place
            self.before[number] = signal.default_int_handler
            raise

    def _tell_user(self) -> None:
        assert self.ending is not None
        run, kind = self.runs[0][0], self.ending.kind
        grace = getattr(run.session.settings, kind.grace)
        again = "; Ctrl-C once more ends it now" if kind is CTRL_C else ""
        text = f"{kind.message} Nothing new begins, what runs has {grace:g} s{again}"
        _thread.start_new_thread(logs.flow_warning, (run, text))  # this thread may have been interrupted as it logged


_watch = _Watch()
forks.in_copies(_watch.forget)


@contextlib.contextmanager
def heard(run: Any) -> Iterator[None]:
    """Inside, signals end this flow run, if it is an outermost one and this the main thread."""
    if run.parent is not None or threading.current_thread() is not threading.main_thread():
        yield
        return
    _watch.enter(run)
    try:
        yield
    except Terminated:  # outside the flow's function: as if in it
        raise SystemExit(run.ended_by.exit_code if run.ended_by else 143) from None
    finally:
        _watch.leave(run)


@contextlib.contextmanager
def listening(run: Any) -> Iterator[None]:
    """Around a run that is `heard` again and again: signals in between are its reader's."""
    if run.parent is not None or threading.current_thread() is not threading.main_thread():
        yield
        return
    _watch.streams += 1
    try:
        yield
    finally:
        _watch.streams -= 1
        _watch.restore()


def _canceller() -> Callable[[], object]:
    """What cancels the asyncio task that runs this, from a signal handler."""
    asyncio: Any = sys.modules["asyncio"]
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    return lambda: loop.call_soon_threadsafe(task.cancel)


def _is_asyncio(handler: Any) -> bool:
    """Whether this is the handler that `asyncio.run` puts up for Ctrl-C."""
    function = getattr(handler, "func", None)
    return getattr(function, "__module__", "") == "asyncio.runners"


def _is_rays(handler: Any) -> bool:
    """Whether this is the handler that `ray.init` leaves for SIGTERM, which ends the program and no more."""
    return getattr(handler, "__module__", "").startswith("ray.")


# -- the end of a run ----------------------------------------------------------------------------


def wind_up(run: Any, error: BaseException) -> None:
    """Begin nothing more, wait for what runs as long as its grace goes, and cancel the rest; blocks.

    A second Ctrl-C raises KeyboardInterrupt out of here.
    """
    ending = _watch.ending
    if ending is None and isinstance(error, KeyboardInterrupt):  # a handler of the user's own raised it
        ending = Ending(CTRL_C)
    if ending is None:  # its asyncio task was cancelled by other code, which waits for it
        run.abort("request")
        return
    ending.begin(run.session.settings)
    _wait_for_running(run, ending)
    run.scope.endings.cancel_all(by=ending.kind.by)
    run.scope.endings.leave_streams()
    run.scope.endings.wait_all(max(LAST_SECONDS, ending.left()))
    for child in tuple(run.scope.endings.children):
        child.over.wait(LAST_SECONDS)


def _wait_for_running(run: Any, ending: Ending) -> None:
    """Halt the whole program's tree of flow runs, also those that begin meanwhile."""
    pump = run.session.pump
    roots = [root for root, _ in _watch.runs] or [run]
    halted: set[str] = set()
    ended = Waiter()
    while (left := ending.left()) > 0:
        tree = {one.id for root in roots for one in _tree(root)}
        if not tree <= halted:
            halted |= tree
            pump.dispatch(pump.dispatcher.halts.halt, halted, ended.set)
        if ended.wait(min(left, LOOK_SECONDS)):
            return


def _tree(run: Any) -> Iterator[Any]:
    yield run
    for child in tuple(run.scope.endings.children):
        yield from _tree(child)


def hurry(run: Any) -> None:
    """Told again: cancel what is left and wait for nothing."""
    if _watch.ending is not None:
        _watch.ending.hurry = True
    run.scope.endings.cancel_all(by=_watch.ending.kind.by if _watch.ending is not None else "request")


def state_of(run: Any, error: BaseException) -> State:
    """The final state of a run that was interrupted or cancelled, by whom it may have been."""
    ending = _watch.ending
    if ending is not None:
        run.ended_by = ending.kind
        return ending.kind.state(ending.kind.message, error)
    return Cancelled(str(error) or (CTRL_C.message if isinstance(error, KeyboardInterrupt) else "Cancelled."), error)


def leaving(run: Any, error: BaseException | None) -> BaseException | None:
    """What goes on to the caller of a run: out of an outermost one that was told to end, the program's own end."""
    kind: Kind | None = run.ended_by
    if kind is None or run.parent is not None:
        return error
    if kind is CTRL_C:
        return error if isinstance(error, KeyboardInterrupt) else KeyboardInterrupt()
    return SystemExit(kind.exit_code)


def how_to_go_on(row: FlowRunRow) -> str:
    """The command that goes on with a run that has not completed; "" where there is none."""
    return f"go on with: anabranch resume {row.name}" if row.resumable else ""


def tell(run: Any, state: State) -> None:
    """Say how to go on, at the end of an outermost run that did not complete."""
    text = how_to_go_on(run.row)
    if not text or run.parent is not None or not state.is_final() or state.is_completed():
        return
    if not run.session.records.taken_over([run.id]):  # else another driver goes on with it already
        logs.flow_warning(run, text)
