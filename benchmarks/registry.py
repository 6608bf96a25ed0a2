"""Which rows there are, and in which file; a measuring process imports only its own."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.rows import Row

KINDS = ("threads", "processes", "dask", "ray")
# Rows in the order of the table, by the module of `benchmarks.subjects` that has them.
MODULES: dict[str, tuple[str, ...]] = {
    "start": ("import", *(f"one_task_{kind}" for kind in KINDS)),
    "maps": (*(f"map_{kind}" for kind in KINDS), *(f"map_{kind}_options" for kind in KINDS)),
    "busy": ("busy_1ms", "sleep_threads", "sleep_processes", "sleep_dask", "sleep_ray"),
    "submits": (
        *("submit_threads", "submit_processes", "submit_dask", "submit_ray"),
        *("latency_threads", "latency_dask", "latency_ray", "call"),
    ),
    "chains": ("chains_threads", "chains_processes", "chains_dask", "chains_ray"),
    "patterns": ("patterns_threads", "patterns_processes", "patterns_dask", "patterns_ray"),
    "grain": ("metg_threads", "metg_processes", "metg_dask", "metg_ray"),
    "memory": (
        *("million_threads", "million_processes", "million_dask", "million_ray", "scheduler_dask"),
        *(f"large_{kind}" for kind in KINDS),
        *("stream", "stream_processes", "stream_dask", "stream_ray"),
    ),
    "asked": (
        *("asked_wait", "asked_states", "asked_return_state", "asked_sets", "asked_futures"),
        *("asked_wait_processes", "asked_futures_processes", "asked_unkept_processes"),
    ),
    "constants": tuple(f"constant_{what}_{kind}" for kind in KINDS for what in ("bytes", "array")),
    "record": tuple(f"record_{kind}" for kind in KINDS),
    "record_http": ("record_http", "record_away"),
    "schedules": (*(f"schedules_{place}" for place in ("memory", "sqlite", "postgres")), "schedules_idle"),
    "explain": ("explain",),
    "claims": ("claims_http", "claims_postgres"),
    "ordered": ("ordered",),
    "executors": (
        *("executor_trip_threads", "executor_trip_processes", "executor_map_threads", "executor_map_processes"),
        *("joblib_search", "scipy_workers"),
    ),
    "compat": ("compat_map", "compat_import"),
    "server": ("server_start", "server_idle"),
    "recovery": tuple(f"recovery_{what}" for what in ("server", "agent", "driver", "alone", "postgres")),
    "resuming": ("resumable_small", "resumable_large", "resume_threads", "resume_processes"),
}
NAMES = [name for names in MODULES.values() for name in names]


def find(name: str) -> Row:
    """The row of that name.

    Raises:
        KeyError: there is none.
    """
    for module, names in MODULES.items():
        if name in names:
            rows: tuple[Row, ...] = importlib.import_module(f"benchmarks.subjects.{module}").ROWS
            return next(row for row in rows if row.name == name)
    raise KeyError(name)
