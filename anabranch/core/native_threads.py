"""How many threads the libraries under NumPy start in a worker: as many as it has processors, not the machine's.

They read these variables when they are loaded, so a worker process is started with them. joblib and loky count
processors by theirs: `n_jobs=-1` inside a task is then the worker's share too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLES = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS", "NUMEXPR_NUM_THREADS",
)  # fmt: skip
COUNTED = "LOKY_MAX_CPU_COUNT"  # processors, as joblib and loky count them
_TBB = "ENABLE_IPC"  # "1": the pools of several processes share the processors


def limits(environ: Mapping[str, str], cpus: int, workers: int, chosen: int | None = None) -> dict[str, str]:
    """Return the variables to start a worker with.

    Args:
        environ: the driver's; what it has set stays, except where a number was chosen.
        cpus: processors that all workers share.
        chosen: threads of each library in each worker; None: an even share of the processors.
    """
    share = str(chosen or max(1, cpus // max(1, workers)))
    found = {name: share for name in (*VARIABLES, COUNTED) if chosen or name not in environ}
    if _TBB not in environ:
        found[_TBB] = "1"
    return found
