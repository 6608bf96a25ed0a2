"""`anabranch explain RUN [TASK[INDEX]]`: why task runs wait, or ended as they did; or what an error means."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from anabranch.cli import error_page, record, services, tables
from anabranch.cli.run_names import RunName
from anabranch.core import nearest
from anabranch.core.processes import machine_of
from anabranch.core.states import COMPLETED, is_final
from anabranch.diagnosis import from_record
from anabranch.display import units

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anabranch.core.runs import FlowRunRow


class RunOrError(RunName):
    """A recorded run, or the name of an error of anabranch."""

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        if not error_page.may_be_error(incomplete):
            return super().shell_complete(ctx, param, incomplete)
        return [CompletionItem(name) for name in error_page.sections() if name.startswith(incomplete)]


@click.command("explain")
@click.argument("run", type=RunOrError(), metavar="RUN|ERROR")
@click.argument("task", metavar="[TASK[INDEX]]", default="")
@click.option("--home", type=click.Path(file_okay=False, exists=True), callback=record.use_home, expose_value=False,
              help=record.HOME_HELP)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def command(run: str, task: str, as_json: bool) -> None:
    """Say why task runs of a recorded run waited, were skipped, cached, retried, crashed, failed or cancelled.

    RUN is a run's name, its id, or the start of the id. One task run is named 'load[17]', or 'load#2[17]' in the second
    series of a task; without an index its runs are listed in groups, with the first of each.

    ERROR is the name of an error of anabranch, such as MapError: what the page of errors says of it is printed.
    """
    if error_page.may_be_error(run) and not task and (run in error_page.sections() or not _recorded(run)):
        click.echo(_error(run))
        return
    with record.opened_run(run) as (records, row):
        found = from_record.explain(records, row.id, task)
    if as_json:
        tables.dump({"run": row.id, "state": record.state_of(row), "waits": services.waits(row), **found.plain()})
        return
    if len(found.groups) == 1 and found.groups[0].count == 1 and "[" in task:
        click.echo(str(found.groups[0]))
        return
    for line in lines_of(row, found):
        click.echo(line)
    if waits := services.waits(row):
        click.echo(f"  it waits: {waits}")


def _recorded(name: str) -> bool:
    """Return whether the record has a run of this name: a person may give one the name of a class."""
    with record.opened(marking=False) as records:
        return records is not None and records.flow_run(name) is not None


def _error(name: str) -> str:
    """Return what the page of errors says of one."""
    sections = error_page.sections()
    if not sections:
        raise click.ClickException(f"the page of errors is missing: it is not in {error_page.PLACES[0].parent}")
    if name not in sections:
        raise click.ClickException(f"anabranch has no error {name!r}; {nearest.hint(name, sections)}")
    return error_page.shown(name, sections[name])


def lines_of(row: FlowRunRow, found: from_record.Explanation) -> Iterator[str]:
    """Yield an explanation of a whole run, line by line."""
    message = f": {row.message}" if row.message else ""
    yield f"{row.flow} ({row.name}): {record.state_of(row)}{message}"
    for group in found.groups:
        first = f" (first: {group.task}[{group.index}])" if group.count > 1 else ""
        who = f"{group.task}[{group.index}]" if group.count == 1 else f"{group.task}, {units.count(group.count)} runs"
        yield f"  {who}: {group.state} [{group.reason}]"
        yield f"    {group.sentence}{first}"
    if not found.groups:
        good = "  All task runs completed at the first attempt."
        yield good if row.state == COMPLETED else "  No task run has failed or been retried."
    if not is_final(row.state) and row.pid:
        yield f"  what waits now, and for what, only its driver knows: process {row.pid} on {machine_of(row.host)}"
    if found.rest:
        yield f"  {found.rest}"
