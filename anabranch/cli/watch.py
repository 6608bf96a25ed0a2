"""`anabranch watch [RUN]`: runs, maps, workers and log, full-screen, as they change."""

from __future__ import annotations

import os
import sys

import click

from anabranch import settings
from anabranch.cli import record
from anabranch.cli.run_names import RUN
from anabranch.core.errors import MissingExtraError


@click.command("watch")
@click.argument("run", type=RUN, default="")
@click.option("--home", type=click.Path(file_okay=False, exists=True), callback=record.use_home, expose_value=False,
              help=record.HOME_HELP)  # fmt: skip
def command(run: str) -> None:
    """Show runs, their maps, workers and log, full-screen, as they change; keys cancel, retry and explain.

    RUN is a run's name, its id, or the start of the id; without it the newest run that has not ended is shown first.
    Nothing but the record is read, so a run of any process, on any machine that shares the record, can be watched.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or os.environ.get("TERM", "") in ("", "dumb"):
        raise click.ClickException("watch needs a terminal; `anabranch runs` and `anabranch run show RUN` print once")
    try:
        from anabranch.display.watch.app import WatchApp
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "textual":
            raise
        raise MissingExtraError("watch needs Textual: pip install 'anabranch[watch]'") from None
    from anabranch.cli.watched import source
    from anabranch.records import place_said

    chosen = settings.load()
    with record.opened(make=True) as records:
        assert records is not None
        if run and records.flow_run(run) is None:
            raise click.ClickException(f"no flow run {run!r} in the record; `anabranch runs` lists them")
        place = place_said(chosen.records_place, shared=chosen.records_shared)
        WatchApp(source(records, chosen.home, place), run).run()
