"""The signals that tell a program to end: Ctrl-C, SIGTERM, SIGUSR1 or SIGUSR2 (the walltime is near).

    signal ----------.
    its own timer ---+-> the flow's function is interrupted, in the main thread --> `shutdown`

    Ctrl-C              Cancelled   130   a second time: at once
    SIGTERM             Cancelled   143   before or after one of those below: Suspended; in a job, see `TAKEN_AWAY`
    SIGUSR1, SIGUSR2    Suspended    75
    the known end       Suspended    75   by a signal that the program sends itself

Only outermost flow runs in the main thread listen, and only where no handler of the user's own stands: that one
stays. Ray's handler does not stay, and that of `asyncio.run` is called after ours. At the end the handlers that
stood before stand again.
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
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from anabranch import logs
from anabranch.core import forks
from anabranch.core.states import Cancelled, Suspended
from anabranch.core.terminated import Terminated
from anabranch.driver import interrupts, loop_pulse
from anabranch.driver.endings import Child

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from anabranch.core.states import State
    from anabranch.runs.definition import FlowDefinition
    from anabranch.session import Session

SOON_SECONDS = 0.05  # for a run to begin that ends at once
CAUGHT_SECONDS = 1.0  # after so long, an interrupt without an effect counts as caught by the flow's function


class Kind(NamedTuple):
    """One kind of signal: its message, state and exit code."""

    message: str
    state: Callable[..., State]
    exit_code: int
    grace: str  # the name of the setting
    by: str  # the word behind "cancelled/" in `core.reasons`


CTRL_C = Kind("Interrupted by Ctrl-C.", Cancelled, 130, "shutdown_grace", "ctrl-c")
_KINDS: dict[int, Kind] = {
    signal.SIGINT: CTRL_C,
    signal.SIGTERM: Kind("Ended by a termination signal (SIGTERM).", Cancelled, 143, "shutdown_grace", "sigterm"),
}
# SIGTERM in a job: the batch system sends it for all ends. Unless a person has cancelled the job, the run goes on.
TAKEN_AWAY = Kind("Its job was ended by the batch system (SIGTERM).", Suspended, 75, "shutdown_grace", "sigterm")
ANSWER_SECONDS = 15.0  # longest wait for what the end of the job means
WALLTIME = Kind("The walltime is near.", Suspended, 75, "walltime_grace", "walltime")
for _name in ("SIGUSR1", "SIGUSR2"):
    if hasattr(signal, _name):
        _KINDS[getattr(signal, _name)] = WALLTIME._replace(message=f"The walltime is near ({_name}).")


class Interruptible(Child, Protocol):
    """A flow run that signals end."""

    session: Session
    ended_by: Kind | None

    @property
    def flow(self) -> FlowDefinition: ...
    @property
    def parent(self) -> object | None: ...
    @property
    def isasync(self) -> bool: ...


class Ending:
    """An end that was asked for by a signal; `deadline` is there once running items count their grace."""

    def __init__(self, kind: Kind, latest: float = math.inf) -> None:
        self.kind = kind
        self.told = time.monotonic()
        self.latest = latest  # no grace goes beyond this
        self.deadline: float | None = None
        self.hurry = False
        self.understood = threading.Event()  # it is known what it means

    def ask(self, by_person: Callable[[], bool]) -> None:
        """Find out whether a person has ended the job; runs in a thread of its own."""
        try:
            if by_person() and self.kind is TAKEN_AWAY:
                self.kind = _KINDS[signal.SIGTERM]
        finally:
            self.understood.set()

    def begin(self, settings: Any) -> None:
        if self.deadline is None:
            self.deadline = min(self.latest, time.monotonic() + getattr(settings, self.kind.grace))

    def shorten(self, settings: Any) -> None:
        self.latest = min(self.latest, time.monotonic() + settings.shutdown_grace)
        if self.deadline is not None:
            self.deadline = min(self.latest, self.deadline)

    def forgotten(self) -> bool:
        """Return whether the flow's function seems to have caught the interrupt, and goes on."""
        return self.deadline is None and time.monotonic() - self.told > CAUGHT_SECONDS

    def left(self) -> float:
        return 0.0 if self.hurry or self.deadline is None else self.deadline - time.monotonic()


# -- signals -------------------------------------------------------------------------------------


class _Watch:
    """The outermost flow runs of the main thread, and the signal handlers while there are some."""

    def __init__(self) -> None:
        # Each with the call that interrupts it, if it awaits.
        self.runs: list[tuple[Interruptible, Callable[[], object] | None]] = []
        self.before: dict[int, Any] = {}
        self.ending: Ending | None = None
        self.streams = 0  # open generator flows: they enter and leave at each item, the handlers stay

    def enter(self, run: Interruptible) -> None:
        if not self.before:
            self._install()
        self.runs.append((run, _canceller() if run.isasync else None))
        if self.near_end not in run.session.on_near_end:
            run.session.on_near_end.append(self.near_end)
        if run.session.near_end:  # no run was there to hear of it when it came
            _thread.start_new_thread(self._near_end_soon, ())

    def leave(self, run: Interruptible) -> None:
        self.runs = [entry for entry in self.runs if entry[0] is not run]
        if not self.runs:
            self.ending = None
            self.restore()

    def restore(self) -> None:
        """Put the earlier handlers back once no run listens any more; possible in the main thread only."""
        if self.runs or self.streams or threading.current_thread() is not threading.main_thread():
            return
        for number, handler in self.before.items():
            if loop_pulse.below(number) == self.on_signal:
                loop_pulse.put_below(number, handler)
        self.before.clear()

    def forget(self) -> None:
        """Reset in a forked copy: no run listens here, and the earlier handlers are back."""
        before, self.before = self.before, {}
        self.runs, self.ending = [], None
        for number, handler in before.items():
            if loop_pulse.below(number) == self.on_signal:
                loop_pulse.put_below(number, handler)

    def _install(self) -> None:
        for number in _KINDS:
            handler = loop_pulse.below(number)
            free = handler is signal.SIG_DFL or (number == signal.SIGINT and handler is signal.default_int_handler)
            if free or interrupts.stands(handler) or _is_asyncio(handler) or _is_rays(handler):
                self.before[number] = handler
                loop_pulse.put_below(number, self.on_signal)

    def on_signal(self, number: int, frame: Any) -> None:
        """Called in the main thread, between any two steps of whatever it does."""
        if not self.runs:  # a copy that was forked this very moment: it comes again, for the copy's own handler
            self.forget()
            os.kill(os.getpid(), number)
            return
        if interrupts.later(number, frame):
            return
        if not self.runs:
            self._as_before(number, frame)
            return
        ending = self.ending
        session = self.runs[0][0].session
        kind = WALLTIME._replace(message=session.near_end) if session.near_end else _KINDS[number]
        by_person = session.ended_by_person
        if kind is _KINDS.get(signal.SIGTERM) and by_person is not None:
            kind = TAKEN_AWAY
        if ending is None or ending.forgotten():
            self.ending = Ending(kind, session.end_of_work if kind.state is Suspended else math.inf)
            self._tell_user()
            if kind is TAKEN_AWAY and by_person is not None:
                _thread.start_new_thread(self.ending.ask, (by_person,))
            else:
                self.ending.understood.set()
        elif number == signal.SIGINT:
            ending.hurry = True
        else:  # the program is ending already
            if kind.by == WALLTIME.by:  # batch systems send theirs in any order
                ending.kind = kind
            if number == signal.SIGTERM:  # its sender will not wait as long as the walltime may
                ending.shorten(session.settings)
            return
        self._interrupt(number, frame)

    def near_end(self) -> None:
        """Begin the end by a signal of the program's own, one with a handler of ours; called in any thread."""
        ours = [number for number in reversed(_KINDS) if loop_pulse.below(number) == self.on_signal]
        if self.runs and ours:
            signal.pthread_kill(threading.main_thread().ident or 0, ours[0])

    def _near_end_soon(self) -> None:
        """Let the run begin: one that is interrupted before has no state yet."""
        time.sleep(SOON_SECONDS)
        self.near_end()

    def _as_before(self, number: int, frame: Any) -> None:
        """Handle a signal that came while the reader of a generator flow was at work: it is the program's."""
        before = self.before.get(number, signal.SIG_DFL)
        if callable(before):
            before(number, frame)
            return
        signal.signal(number, before)
        signal.raise_signal(number)

    def _interrupt(self, number: int, frame: Any) -> None:
        before: Any = self.before.get(number)
        if any(cancel is None for _, cancel in self.runs):  # a sync function runs here, perhaps inside a loop
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            raise self.runs[0][0].flow.rules.told(number, _KINDS[number].message)
        if not _is_asyncio(before):
            for _, cancel in self.runs:
                if cancel is not None:
                    cancel()
            return
        try:
            before(number, frame)
        except KeyboardInterrupt:  # the loop ends now, and does not remove a handler that is not its own
            self.before[number] = signal.default_int_handler
            raise

    def _tell_user(self) -> None:
        assert self.ending is not None
        run, kind = self.runs[0][0], self.ending.kind
        grace = min(getattr(run.session.settings, kind.grace), max(0.0, self.ending.latest - time.monotonic()))
        again = "; Ctrl-C once more ends it now" if kind is CTRL_C else ""
        text = f"{kind.message} Nothing new begins, what runs has {grace:.3g} s{again}"
        _thread.start_new_thread(logs.flow_warning, (run, text))  # this thread may have been interrupted as it logged


_watch = _Watch()
forks.in_copies(_watch.forget)


def ending() -> Ending | None:
    """Return the end that a signal has begun, while an outermost flow run listens."""
    return _watch.ending


def listeners() -> list[Interruptible]:
    """Return the outermost flow runs that listen now."""
    return [run for run, _ in _watch.runs]


@contextlib.contextmanager
def heard(run: Interruptible) -> Iterator[None]:
    """Let signals end this flow run during the block, if it is an outermost one and this is the main thread."""
    if run.parent is not None or threading.current_thread() is not threading.main_thread():
        yield
        return
    try:
        _watch.enter(run)
        yield
    except Terminated:  # raised outside the flow's function; ends the run as inside
        kind = run.ended_by or (_watch.ending.kind if _watch.ending is not None else _KINDS[signal.SIGTERM])
        raise run.flow.rules.leaves(kind.exit_code) from None
    finally:
        _watch.leave(run)


@contextlib.contextmanager
def listening(run: Interruptible) -> Iterator[None]:
    """Keep the handlers for a run that is `heard` again and again: signals in between go to its reader's program."""
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
    """Return a function that cancels the present asyncio task from a signal handler."""
    asyncio: Any = sys.modules["asyncio"]
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    return lambda: loop.call_soon_threadsafe(task.cancel)


def _is_asyncio(handler: Any) -> bool:
    """Return whether this is the handler that `asyncio.run` sets for Ctrl-C."""
    function = getattr(handler, "func", None)
    return getattr(function, "__module__", "") == "asyncio.runners"


def _is_rays(handler: Any) -> bool:
    """Return whether this is the handler that `ray.init` sets for SIGTERM, which only ends the program."""
    return getattr(handler, "__module__", "").startswith("ray.")
