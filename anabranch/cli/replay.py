"""`anabranch replay RUN TASK[INDEX]`: a failed task run again, in this process."""

from __future__ import annotations

import bdb
import sys
import traceback

import click

from anabranch.cli import record
from anabranch.cli.run_names import RUN
from anabranch.core import tracebacks


@click.command("replay")
@click.argument("run", type=RUN)
@click.argument("task", metavar="TASK[INDEX]")
@click.option("--pdb", "debug", is_flag=True, help="Open the debugger where it raises.")
@click.option("--recorded", is_flag=True, help="Call the function as it was recorded, not as its file has it now.")
@click.option("--home", type=click.Path(file_okay=False, exists=True), callback=record.use_home, expose_value=False,
              help=record.HOME_HELP)  # fmt: skip
def command(run: str, task: str, debug: bool, recorded: bool) -> None:
    """Call a failed task run of a resumable flow again, here, with the inputs it had.

    The task is called as its file has it now, so breakpoints and mends count. Nothing is recorded; hooks, retries, time
    limits and caching stay out. Exit code: 0 when it returns, 1 when it raises.
    """
    from anabranch.diagnosis import replay

    sys.path.insert(0, "")  # for modules of the present folder, as in `python`
    with record.opened_run(run):
        pass
    found = replay.prepare(run, task, recorded=recorded)
    click.echo(f"recorded: {found.ended}", err=True)
    click.echo(f"calling {found.code.note}", err=True)
    try:
        value = found.call()
    except bdb.BdbQuit:
        sys.exit(1)
    except Exception as error:
        click.echo(_trace(error), err=True)
        if debug:
            import pdb

            pdb.post_mortem(error.__traceback__)
        sys.exit(1)
    click.echo(repr(value))


def _trace(error: Exception) -> str:
    """Return the trace from the user's code on, without the frames of anabranch above it."""
    shown = error.__traceback__
    while shown is not None and tracebacks.ours(shown.tb_frame.f_code.co_filename):
        shown = shown.tb_next
    return "".join(traceback.format_exception(type(error), error, shown or error.__traceback__)).rstrip()
