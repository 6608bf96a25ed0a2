"""`anabranch.report`: the report of a recorded run, in a notebook or as a page."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anabranch import session as sessions
from anabranch.core.errors import OptionError, RecordsError
from anabranch.diagnosis import from_record
from anabranch.display import run_cards, run_figures, run_report

if TYPE_CHECKING:
    from anabranch.display.run_figures import RunFigures


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
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            draft.write_text(self.html(), encoding="utf-8")
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)
        return target

    def __repr__(self) -> str:
        return run_cards.text(self._figures)

    def _repr_html_(self) -> str:
        return run_cards.html(self._figures)


def report(run: Any = None) -> Report:
    """Report on a recorded run: timeline, where the time went, states, durations, what reads what, failures, memory.

    Args:
        run: a flow run of this program, the id or name of a recorded one, or the start of an id; None: the newest run.

    Raises:
        RecordsError: there is no such run in the record.
        OptionError: `run` is something else.

    What a run outside of flows mapped is not in any flow run, and has no report.
    """
    session = sessions.current()
    session.records.flush(5.0)
    if run is None:
        rows = session.records.flow_runs(limit=1)
        if not rows:
            raise RecordsError("there is no flow run in the record yet: call a flow, or name its record")
        row = rows[0]
    else:
        id = run if isinstance(run, str) else getattr(run, "id", None)
        if not isinstance(id, str):
            raise OptionError(f"report wants a flow run, or the id or name of a recorded one, got {run!r}")
        row = from_record.find_run(session.records, id)
    return Report(run_figures.gather(session.records, row, session.clock.time()))
