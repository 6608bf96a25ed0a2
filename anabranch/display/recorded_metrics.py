"""What the record has of flow runs, in Prometheus' text format: `anabranch metrics`.

    record --newest runs--> counts by flow, state and runner --> text

Unlike `integrations.metrics` it needs no program that runs, and counts those of all programs. Runs leave the record, so
these are gauges.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from anabranch.core.exposition import family
from anabranch.core.states import NAMES, is_final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anabranch.core.exposition import Labels
    from anabranch.core.runs import FlowRunRow, MapRow, Records

NEWEST = 10_000  # flow runs that are counted


def text(records: Records | None, now: float, newest: int = NEWEST) -> str:
    """Return the text; of runs that have not ended also their task runs and their age at `now`.

    Args:
        records: None: there is no record yet.
        newest: flow runs that are looked at.
    """
    if records is None:
        return ""
    runs: Counter[Labels] = Counter()
    seconds: Counter[Labels] = Counter()
    ages: Counter[Labels] = Counter()
    tasks: Counter[Labels] = Counter()
    for row in records.flow_runs(limit=newest):
        of = (("flow", row.flow), ("runner", row.runner))
        runs[(("flow", row.flow), ("state", _state(row)), ("runner", row.runner))] += 1
        if row.started is not None and row.ended is not None:
            seconds[of] += row.ended - row.started  # type: ignore[assignment]
        elif row.started is not None and not is_final(row.state):
            ages[of] = max(ages[of], now - row.started)  # type: ignore[assignment]
        if not is_final(row.state):
            _add(records.maps(row.id), tasks)
    families = [
        ("recorded_flow_runs", "Flow runs in the record, the newest ones.", runs),
        ("recorded_flow_run_seconds", "Seconds that ended ones of these took.", seconds),
        ("open_flow_run_age_seconds", "Seconds since the oldest flow run began that has not ended.", ages),
        ("open_task_runs", "Task runs of flow runs that have not ended.", tasks),
    ]
    return "".join(line for name, told, values in families for line in family(name, "gauge", told, values))


def _state(row: FlowRunRow) -> str:
    return row.state_name or NAMES[row.state][0]


def _add(maps: Sequence[MapRow], tasks: Counter[Labels]) -> None:
    for map in maps:
        if not map.superseded:
            for state, many in map.counts.items():
                tasks[(("task", map.task), ("state", state))] += many
