"""`anabranch drive RUN --token N`: the driver of an order; agents call it."""

from __future__ import annotations

import contextlib
import sys
import traceback
from typing import TYPE_CHECKING

import click

from anabranch.cli.run import to_its_end
from anabranch.core.clock import SYSTEM
from anabranch.core.errors import AnabranchError, RecordsError, RunTakenError, UnreachableError
from anabranch.core.recovery import UNREACHED

if TYPE_CHECKING:
    from anabranch.core.orders import Begun
    from anabranch.core.service import Service


@click.command("drive", hidden=True)
@click.argument("run")
@click.option("--token", type=int, required=True, help="Of the claim.")
def command(run: str, token: int) -> None:
    """Begin an order that an agent has claimed, and run its flow. Exit codes as of `anabranch run`.

    Where another driver has it, the claim is over or the run has ended, nothing runs and the exit code is 0. Where the
    service cannot be reached for half a minute, nothing runs and the exit code is 75: the run may begin elsewhere.
    """
    from anabranch import serving
    from anabranch.entrypoints import ordered

    try:
        service = ordered.reached(serving.current, SYSTEM)
        begun = ordered.reached(lambda: ordered.begun(service, run, token), SYSTEM)
    except RunTakenError as error:
        click.echo(f"anabranch: {error}", err=True)
        return
    except (RecordsError, UnreachableError) as error:
        click.echo(f"anabranch: run {run} was not begun: {error}", err=True)
        sys.exit(UNREACHED)
    try:
        _drive(service, begun)
    finally:
        ordered.stay()


def _drive(service: Service, begun: Begun) -> None:
    """Run the flow of an order that this process has begun, and exit with the code of its final state."""
    from anabranch.entrypoints import ordered
    from anabranch.serving import lending

    try:
        if begun.deployment.document.get("written_for") == "prefect":
            import anabranch.compat.prefect  # noqa: F401  # its code imports prefect, and finds ours
        lending.drive(service, begun.order)
        prepared = ordered.prepared(begun)
    except KeyboardInterrupt as error:
        with contextlib.suppress(RecordsError):
            ordered.told_to_end(begun, str(error) or "Interrupted by Ctrl-C.")
        sys.exit(143 if str(error) else 130)
    except (Exception, SystemExit) as error:
        told = str(error) if isinstance(error, AnabranchError) else "".join(traceback.format_exception(error)).rstrip()
        order = begun.order
        with contextlib.suppress(RecordsError, UnreachableError):  # its agent tells of it then, and it is tried anew
            ordered.reached(lambda: service.claims.could_not_begin(order.run, order.token, told), SYSTEM)
        raise click.ClickException(told) from None
    to_its_end(prepared.flow, lambda: ordered.start(prepared))
