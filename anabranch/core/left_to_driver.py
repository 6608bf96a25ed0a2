"""Signals that a worker leaves to its driver.

    Slurm, a container's runtime --SIGTERM, SIGUSR1--> every process of the job
                                       driver: decides what is to end, and waits for what runs
                                       worker: goes on, so that what it runs can end and be told

Handlers of Python, not SIG_IGN: programs that tasks start do not inherit them, and forks drop them.
"""

from __future__ import annotations

import signal
from typing import Any

from anabranch.core import forks

NUMBERS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


def leave_signals_to_the_driver(*more: signal.Signals) -> None:
    """Let signals that end a whole job, and some more, do nothing from now on; called by the process's main thread."""
    numbers = (*NUMBERS, *more)

    def drop() -> None:
        for number in numbers:
            if signal.getsignal(number) is _nothing:
                signal.signal(number, signal.SIG_DFL)

    for number in numbers:
        signal.signal(number, _nothing)
    forks.in_copies(drop)


def are_blocked() -> bool:
    """Return whether this thread was started with these signals blocked, as programs that it starts would be."""
    return signal.pthread_sigmask(signal.SIG_BLOCK, ()).issuperset(NUMBERS)


def unblock() -> None:
    """Let these signals reach this thread, and the programs that it starts."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, NUMBERS)


def _nothing(*_: Any) -> None:
    pass
