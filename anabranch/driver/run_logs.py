"""Log lines for the ends of single runs: the first runs of a task get one each, the rest is counted elsewhere."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from anabranch import logs
from anabranch.core.context import TaskRun

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anabranch.core.maps import MapRun
    from anabranch.driver.pump import Pump

LOGGED_RUNS = 20  # single runs of a task with a log line of their own, in one flow run


def watch_series(pump: Pump, map: MapRun) -> None:
    """Log the first submitted runs of a task as they end."""
    left = [LOGGED_RUNS]

    def ended(map: MapRun, items: Sequence[int]) -> None:
        if left[0] <= 0:
            return
        for index in items[: left[0]]:
            left[0] -= 1
            run = TaskRun(map.spec.name, map.id, index, kind="submit", given_name=map.header.names.get(index, ""))
            pump.callback_thread.put(functools.partial(logs.task_finished, map, index, run.name))

    pump.dispatch(pump.dispatcher.readers.subscribe, map, ended)


def log_call(map: MapRun, run: TaskRun) -> None:
    """Log the first plain calls of a task in a flow run."""
    if run.index < LOGGED_RUNS and map.header.flow_run_id:
        logs.task_finished(map, run.index, run.name)
