"""What a Dask worker in an allocation does first: signals of the batch system are the driver's affair.

Slurm sends them to every process of a job; a worker that ended by them would take its items along while the driver
still waits for these.
"""

from __future__ import annotations

import logging
import signal
from typing import Any

from anabranch.core.left_to_driver import leave_signals_to_the_driver


def dask_setup(worker: Any) -> None:
    """Dask calls this before the worker connects."""
    logging.getLogger("distributed").setLevel(logging.CRITICAL + 1)  # the runner tells what matters
    leave_signals_to_the_driver(signal.SIGINT)
