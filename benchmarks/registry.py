"""Which rows there are, and in which file; a measuring process imports only its own."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.rows import Row

# Rows in the order of the table, by the module of `benchmarks.subjects` that has them.
MODULES: dict[str, tuple[str, ...]] = {
    "start": ("import", "one_task"),
    "maps": ("map_threads", "map_processes", "map_threads_options", "map_processes_options", "map_dask"),
    "busy": ("busy_1ms", "sleep_threads", "sleep_processes"),
    "submits": ("submit_threads", "submit_processes", "latency_threads", "call"),
    "chains": ("chains_threads", "chains_processes"),
    "grain": ("metg_threads", "metg_processes"),
    "memory": ("million_threads", "million_processes", "large_results", "stream"),
    "record": ("record",),
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
