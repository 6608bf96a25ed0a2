"""Outermost flow runs outside the main thread: no signal reaches them, and the known end of the allocation does.

    near the end --> a thread for each: nothing new begins, what runs has its grace, then the run is cancelled
                 --> recorded as Suspended; its function is told at its next step, and its caller gets the error
"""

from __future__ import annotations

import _thread
import contextlib
import threading
from typing import TYPE_CHECKING, Protocol

from anabranch import logs
from anabranch.runs import shutdown
from anabranch.runs.signals import SOON_SECONDS, WALLTIME, Ending

if TYPE_CHECKING:
    from collections.abc import Iterator


class Run(shutdown.Run, Protocol):
    """A flow run that is cancelled from elsewhere."""

    def cancel(self, by: str = ...) -> bool: ...


@contextlib.contextmanager
def told_of_the_end(run: Run) -> Iterator[None]:
    """Drain the run near the end of the allocation, if it is an outermost one of another thread than the main one."""
    if run.parent is not None or threading.current_thread() is threading.main_thread():
        yield
        return
    over = threading.Event()
    session = run.session

    def near_end() -> None:
        _thread.start_new_thread(_drain, (run, over))  # called under the pump's lock

    session.on_near_end.append(near_end)
    if session.near_end:  # no run was there to hear of it when it came
        near_end()
    try:
        yield
    finally:
        over.set()
        session.on_near_end.remove(near_end)


def _drain(run: Run, over: threading.Event) -> None:
    if over.wait(SOON_SECONDS):  # for the run to begin: one that is ended before has no state yet
        return
    session = run.session
    kind = WALLTIME._replace(message=session.near_end)
    ending = Ending(kind, session.end_of_work)
    ending.begin(session.settings)
    logs.flow_warning(run, f"{kind.message} Nothing new begins, what runs has {max(0.0, ending.left()):.3g} s")
    shutdown.wait_for_running(run, ending, [run])
    if not over.is_set():
        run.ended_by = kind
        run.cancel(kind.by)
