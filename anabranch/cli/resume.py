"""`anabranch resume RUN`: continue a run without a living driver; `anabranch retry RUN`: run it once more."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from anabranch.cli import record
from anabranch.cli.run import run_to_state, to_its_end
from anabranch.cli.run_names import RUN
from anabranch.core.states import is_final

if TYPE_CHECKING:
    from anabranch.core.runs import FlowRunRow


def changed_options(command: Any) -> Any:
    """Add the options for changed code to a command."""
    rerun = click.option("--rerun-changed", "changed", flag_value="rerun", help="Run tasks with changed code again.")
    keep = click.option("--keep-changed", "changed", flag_value="keep", help="Keep what tasks with changed code made.")
    return keep(rerun(command))


@click.command("resume")
@click.argument("run", type=RUN)
@changed_options
def resume(run: str, changed: str | None) -> None:
    """Continue a run whose driver is gone: completed task runs do not run again.

    RUN is a run's name, its id, or the start of the id. The flow is found in the file it was run from. Exit codes are
    those of `anabranch run`.
    """
    row = _row(run)
    flow = flow_of(row)
    to_its_end(flow, lambda: resumed(flow, row, changed))


@click.command("retry")
@click.argument("run", type=RUN)
@click.option("--failed", is_flag=True, help="The same run: only what failed, and what follows from it, runs again.")
@changed_options
def retry(run: str, failed: bool, changed: str | None) -> None:
    """Run a recorded run once more, with its parameters: all of it, or (--failed) only failed task runs.

    RUN is a run's name, its id, or the start of the id. Exit codes are those of `anabranch run`.
    """
    row = _row(run)
    flow = flow_of(row)
    if failed:
        if not is_final(row.state):
            raise click.ClickException(f"flow run {row.name!r} has not ended: `anabranch resume {row.name}`")
        to_its_end(flow, lambda: resumed(flow, row, changed))
        return
    from anabranch import session
    from anabranch.runs.resumed import parameters_of

    args, kwargs = flow.binder.call_of(parameters_of(session.current(), row))
    to_its_end(flow, lambda: flow(*args, **kwargs, return_state=True))


def _row(run: str) -> FlowRunRow:
    with record.opened_run(run) as (_, row):
        return row


def flow_of(row: FlowRunRow) -> Any:
    """Return the flow of a recorded run, from the file it was run from."""
    from anabranch.cli import load

    if not row.resumable:
        raise click.ClickException(
            f"flow run {row.name!r} was not resumable, so nothing of it was stored; `anabranch run` makes runs that "
            "are, and so does @flow(resumable=True)"
        )
    if not row.entry:
        raise click.ClickException(
            f"the flow of run {row.name!r} is in no file (a notebook's cell, perhaps): there, "
            f"call {row.flow.replace('-', '_')}.resume({row.name!r})"
        )
    flow: Any = load.flow_of(row.entry)
    flow = getattr(flow, "__func__", flow)  # the recorded parameters include the class of a classmethod
    return flow if flow.options.resumable else flow.with_options(resumable=True)


def resumed(flow: Any, row: FlowRunRow, changed: str | None) -> Any:
    """Continue a run, and ask about changed code on a terminal; an async flow's state is awaited."""
    from anabranch.core.errors import CodeChanged

    def with_answer(answer: str) -> Any:
        return run_to_state(flow, lambda: flow.resume(row.id, changed=answer, return_state=True))

    state = with_answer(changed or "ask")
    error = None if state.is_completed() else state.exception()
    if isinstance(error, CodeChanged) and sys.stdin.isatty() and "JPY_PARENT_PID" not in os.environ:
        # A notebook's `!` has a terminal that nobody can answer.
        click.echo(str(error), err=True)
        # Asked between two loops of an async flow: within one, Ctrl-C would not reach the question.
        state = with_answer(click.prompt("Keep what it made, or run it again?", type=click.Choice(["keep", "rerun"])))
    if not flow.isasync:
        return state
    import asyncio

    return asyncio.sleep(0, state)  # `to_its_end` awaits the result of an async flow
