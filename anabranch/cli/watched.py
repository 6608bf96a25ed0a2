"""The record as `anabranch watch` reads it, and what its keys do."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import click

from anabranch.cli import cancelling, explain, jobs
from anabranch.core import states
from anabranch.core.errors import AnabranchError, LaunchError
from anabranch.diagnosis import from_record
from anabranch.display import summary
from anabranch.display.watch.facts import Facts
from anabranch.display.watch.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from anabranch.core.runs import FlowRunRow, LogRow, MapRow, Records

RUNS = 50  # that are listed
LINES = 200  # of a log, in the view
MANY = 10_000  # of a log, on its page
FAILURES = 3  # groups
SETTLE_EVERY = 5.0  # seconds between two looks for dead drivers


class RecordSource:
    """A `Source` over `Records`.

    Args:
        records: open as long as this.
        home: logs of retries go to its folder `retries`.
        place: of the record, in words.
        settle: ends the runs of dead drivers and ended jobs; raises LaunchError where a queue does not answer.
        clock: Unix seconds.
    """

    def __init__(
        self, records: Records, home: Path, place: str, settle: Callable[[], object],
        clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self._records = records
        self._home = home
        self._place = place
        self._settle = settle
        self._clock = clock
        self._settled, self._unsettled = 0.0, ""
        self._run = ""  # the run of which the tallies are
        self._tallies: dict[str, Tally] = {}
        self._failed = -1
        self._failures: list[str] = []
        self._last = Facts()
        self._retries: dict[str, tuple[subprocess.Popen[bytes], Path]] = {}  # by run

    def look(self, chosen: str) -> Facts:
        """As of `Source`; what cannot be read is told as trouble, beside what was seen last."""
        try:
            self._last = self._looked(chosen)
        except AnabranchError as error:
            last = self._last
            self._last = Facts(
                self._place, self._clock(), last.runs, last.total, last.run, last.maps, last.rates, last.failures,
                last.lines, str(error),
            )  # fmt: skip
        return self._last

    def _looked(self, chosen: str) -> Facts:
        now = self._clock()
        if now - self._settled >= SETTLE_EVERY or now < self._settled:
            self._settled = now
            try:
                self._settle()
                self._unsettled = ""
            except LaunchError as error:  # a queue does not answer: the record is shown all the same
                self._unsettled = str(error)
        records = self._records
        runs = records.flow_runs(limit=RUNS)
        total = len(runs) if len(runs) < RUNS else records.count_flow_runs()
        run = self._chosen(runs, chosen)
        if run is None:
            return Facts(self._place, now, runs, total, trouble=self._trouble())
        if all(one.id != run.id for one in runs):
            runs = [*runs, run]
        if run.id != self._run:
            self._run, self._tallies, self._failed = run.id, {}, -1
        maps = [(map, self._tally(map)) for map in records.maps(run.id) if not map.superseded]
        rates = {map.id: tally.rate(now) for map, tally in maps}
        lines = records.logs(run.id, limit=LINES)
        failures = self._grouped(run, sum(tally.failed for _, tally in maps))
        return Facts(self._place, now, runs, total, run, maps, rates, failures, lines, self._trouble())

    def _chosen(self, runs: list[FlowRunRow], chosen: str) -> FlowRunRow | None:
        if chosen:
            found = next((run for run in runs if run.id == chosen), None) or self._records.flow_run(chosen)
            if found is not None:
                return found
        running = (run for run in runs if not states.is_final(run.state))
        return next(running, runs[0] if runs else None)

    def _tally(self, map: MapRow) -> Tally:
        """Return what of a map has ended; an ended map is read once more, and then no more."""
        tally = self._tallies.setdefault(map.id, Tally())
        if not tally.over:
            tally.take(self._records.ended(map.id, tally.mark))
            tally.over = map.ended is not None
        return tally

    def _grouped(self, run: FlowRunRow, failed: int) -> list[str]:
        if failed != self._failed:
            self._failed = failed
            found = summary.of_records(self._records, run.id) if failed else []
            self._failures = summary.failure_lines(found, FAILURES - 1, task=True)
        return self._failures

    # -- keys --------------------------------------------------------------------------------------

    def cancel(self, run: str) -> str:
        """As of `Source`, as `anabranch run cancel` does it."""
        return self._told(run, lambda row: cancelling.cancelled(self._records, self._home, row))

    def retry(self, run: str) -> str:
        """As of `Source`: a process of its own runs `anabranch retry --failed`, and goes on when this one ends."""
        return self._told(run, self._begin_retry)

    def _begin_retry(self, row: FlowRunRow) -> str:
        if not states.is_final(row.state):
            return f"flow run {row.name!r} has not ended"
        if row.id in self._retries and self._retries[row.id][0].poll() is None:
            return f"flow run {row.name!r} is being retried"
        folder = self._home / "retries"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        place = folder / f"{row.id}.log"  # a name may have a "/"
        code = "from anabranch.cli import main; main()"
        command = [sys.executable, "-c", code, "retry", row.id, "--failed"]
        with open(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
            child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
            )
        self._retries[row.id] = (child, place)
        return f"flow run {row.name!r}: what failed runs again, in process {child.pid}; it prints to {place}"

    def _trouble(self) -> str:
        """Return why a retry could not be made, once it has ended so."""
        for run, (child, place) in self._retries.items():
            if child.poll():
                lines = place.read_text(encoding="utf-8", errors="replace").strip().splitlines()
                del self._retries[run]
                return f"retry: {lines[-1] if lines else f'exit code {child.returncode}'} ({place})"
        return self._unsettled

    def explain(self, run: str) -> str:
        """As of `Source`, as `anabranch explain` prints it."""

        def told(row: FlowRunRow) -> str:
            return "\n".join(explain.lines_of(row, from_record.explain(self._records, row.id)))

        return self._told(run, told)

    def log(self, run: str) -> list[LogRow]:
        """As of `Source`."""
        try:
            return self._records.logs(run, limit=MANY)
        except AnabranchError:
            return []

    def _told(self, run: str, act: Callable[[FlowRunRow], str]) -> str:
        try:
            row = self._records.flow_run(run)
            return act(row) if row is not None else f"flow run {run} is not in the record any more"
        except (AnabranchError, click.ClickException, OSError) as error:
            return str(error) or type(error).__name__


def source(records: Records, home: Path, place: str) -> RecordSource:
    """Return the source of the program's record."""

    def settle() -> None:
        records.mark_dead()
        jobs.settle(records, home, time.time())

    return RecordSource(records, home, place, settle)
