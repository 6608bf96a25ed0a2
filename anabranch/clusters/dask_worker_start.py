"""What a Dask worker in an allocation does first: signals of the batch system are the driver's affair.

Slurm sends them to every process of a job; a worker that ended by them would take its items along while the driver
still waits for these. They are handled, not ignored: programs that tasks start do not inherit a handler.
"""

from __future__ import annotations

import logging
import signal
from typing import Any


def dask_setup(worker: Any) -> None:
    """Dask calls this before the worker connects."""
    logging.getLogger("distributed").setLevel(logging.CRITICAL + 1)  # the runner tells what matters
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, _nothing)


def _nothing(number: int, frame: Any) -> None:
    pass
