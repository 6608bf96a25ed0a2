"""The command `anabranch`: one file per noun, loaded when its noun is called."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

# noun -> (module, one line of help): the help page is shown without loading any of them.
COMMANDS = {
    "config": ("config", "See and change settings."),
    "demo": ("demo", "Survey the standard library's own source files."),
    "run": ("run", "Run a flow from a file; show, follow or cancel a recorded run."),
    "runs": ("runs", "List recorded flow runs, newest first."),
    "version": ("version", "Show versions of anabranch and what it runs on."),
}


class Nouns(click.Group):
    """A group whose commands live in modules that are imported when called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"anabranch.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in sorted(COMMANDS.items())])


@click.group(cls=Nouns, context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Plain Python functions as flows and tasks, on threads, processes or Dask."""


def main(args: list[str] | None = None) -> Any:
    """The entry point: runs the command and exits with its code; our own errors show as one line, not as a trace."""
    from anabranch.core.errors import AnabranchError

    try:
        return cli.main(args, prog_name="anabranch", standalone_mode=True)
    except AnabranchError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)
