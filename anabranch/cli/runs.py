"""`anabranch runs`: recorded flow runs, newest first."""

from __future__ import annotations

import time

import click

from anabranch.cli import record, tables
from anabranch.core.states import NAMES
from anabranch.display import units


@click.command("runs")
@click.option("--state", help="Only runs in this state, by name (Failed) or type (FAILED).")
@click.option("--flow", help="Only runs of this flow.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(min=1), help="Show at most this many runs.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def command(state: str | None, flow: str | None, limit: int, as_json: bool) -> None:
    """List recorded flow runs, newest first."""
    with record.opened() as records:
        rows = records.flow_runs(limit=limit, state=state, flow=flow) if records is not None else []
        total = len(rows)
        if records is not None and total >= limit:
            total = records.count_flow_runs(state=state, flow=flow)
    if as_json:
        tables.dump_some("runs", [record.plain(row) for row in rows], total)
        return
    if not rows:
        click.echo(_nothing(state, flow))
        return
    now = time.time()
    tables.show(
        ["run", "flow", "state", "started", "took", "runner", "id"],
        [
            (
                r.name, r.flow, record.state_of(r), record.lately(r.started or r.created, now), record.took(r),
                r.runner, r.id[:13],
            )
            for r in rows
        ],
        right=["took"],
    )  # fmt: skip
    tables.tell_rest(f"the newest {units.count(len(rows))} of {units.count(total)} runs", len(rows) < total)


def _nothing(state: str | None, flow: str | None) -> str:
    if state is None and flow is None:
        return "no flow runs recorded yet"
    known = {text.casefold() for name, kind in NAMES for text in (name, kind.value)}
    if state is not None and state.casefold() not in known:
        return f"no flow runs in state {state!r}; common ones are {', '.join(name for name, _ in NAMES)}"
    return "no flow runs like that"
