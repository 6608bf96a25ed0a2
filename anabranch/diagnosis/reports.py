"""`anabranch.report`: the report of a recorded run, in a notebook or as a page."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anabranch import session as sessions
from anabranch.core import context, states
from anabranch.core.errors import AccessError, OptionError, RecordsError
from anabranch.core.future_lists import FutureList
from anabranch.core.futures import Future
from anabranch.core.runs import FlowRunRow
from anabranch.diagnosis import from_record
from anabranch.display import run_cards, run_figures, run_report, summary

if TYPE_CHECKING:
    from anabranch.core.maps import MapRun
    from anabranch.core.runs import Records
    from anabranch.display.run_figures import RunFigures
    from anabranch.session import Session


class Report:
    """The report of a run as of one moment; a notebook shows it, `write` makes a page of it."""

    def __init__(self, figures: RunFigures) -> None:
        self._figures = figures

    @property
    def shares(self) -> dict[str, float]:
        """Where wall x workers went, by part: 1 is all of it. Empty where no task of the run ran on a worker."""
        return {share.name: share.part for share in self._figures.shares}

    def html(self) -> str:
        """Return the report as one page, which needs nothing else."""
        return run_report.page(self._figures)

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write the page in one step: what was there stays until it is complete. Returns its path.

        Raises:
            OSError: it cannot be written there.
        """
        target = Path(path)
        write_page(self.html(), target)
        return target

    def __repr__(self) -> str:
        return run_cards.text(self._figures)

    def _repr_html_(self) -> str:
        return run_cards.html(self._figures)


def write_page(page: str, target: Path) -> None:
    """Write a page in one step; raises OSError, with what was there as it was."""
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        draft.write_text(page, encoding="utf-8")
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def report(run: Any = None) -> Report:
    """Report on a recorded run: timeline, where the time went, states, durations, what reads what, failures, memory.

    Args:
        run: a flow run of this program, the id or name of a recorded one, or the start of an id; None: the newest run.
            A future or a future list stands for the flow run that it belongs to; outside of flows for its map, or for
            all single runs of its task.

    Raises:
        RecordsError: there is no such run in the record.
        OptionError: `run` is something else.
    """
    session = sessions.current()
    session.records.flush(5.0)
    if isinstance(run, (Future, FutureList)):
        if not run._map.header.flow_run_id:
            return Report(_of_map(session, run._map))
        run = run._map.header.flow_run_id
    if run is None:
        row = _newest(session.records)
    else:
        id = run if isinstance(run, str) else getattr(run, "id", None)
        if not isinstance(id, str):
            raise OptionError(f"report wants a flow run, or the id or name of a recorded one, got {run!r}")
        row = from_record.find_run(session.records, id)
    return Report(run_figures.gather(session.records, row, session.clock.time()))


def _newest(records: Records) -> FlowRunRow:
    """Return the newest flow run; where the key of a run does not list runs, the flow run here."""
    try:
        rows = records.flow_runs(limit=1)
    except AccessError:
        here = context.flow_here()
        if here is None:
            raise
        return from_record.find_run(records, here.id)
    if not rows:
        raise RecordsError("there is no flow run in the record yet: call a flow, or name its record")
    return rows[0]


def _of_map(session: Session, map: MapRun) -> RunFigures:
    """Return the figures of a map outside of flows, as those of a run that has its times."""
    rows = [row for row in session.records.maps("") if row.id == map.id]
    if not rows:
        raise RecordsError(f"the map of {map.spec.name!r} is not in the record")
    now, row = session.clock.time(), rows[0]
    over = map.finished or (map.kind != "map" and map.done == len(map.codes))
    state = states.RUNNING if not over else states.FAILED if states.failed_in(map.codes) else states.COMPLETED
    ended = (row.ended or now) if over else None
    what = "map" if map.kind == "map" else "single runs"
    run = FlowRunRow(
        map.id, map.spec.name, f"{what} outside of flows", state, created=row.created, started=row.created, ended=ended
    )
    return run_figures.figures_of(session.records, run, rows, summary.of_map(map), now)
