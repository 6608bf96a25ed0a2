"""The command `anabranch`: one file per noun, loaded when its noun is called."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

from anabranch import __version__

# noun -> (module[:command], one line of help): the help page is shown without loading any of them.
COMMANDS = {
    "agent": ("agent", "Start, list and install agents, which start drivers for the runs of deployments."),
    "backend": ("login:backend", "Choose a server, in the words of Prefect 1."),
    "bench": ("bench", "Measure this machine or cluster beside the raw engine, for a minute."),
    "cloud": ("login:cloud", "Log in to a server, in the words of Prefect 2 and 3."),
    "cluster": ("cluster", "Start, look at, scale and stop clusters that outlive one program."),
    "completion": ("completion", "Print a script that completes commands in bash, zsh or fish."),
    "config": ("config", "See and change settings."),
    "create": ("project:creating", "Make things by the spelling of older programs."),
    "demo": ("demo", "Survey the standard library's own source files."),
    "deploy": ("deploy", "Deploy a flow, or the deployments of a file of YAML."),
    "deployment": ("deployment", "See and change deployments, order runs of them, write and read them as files."),
    "drive": ("drive", "Run the flow of an order, as its agent asks."),
    "init": ("init", "Write a small project: a flow, its test, a notebook."),
    "key": ("key", "Make, list and revoke keys for a server; list what was changed with them."),
    "limits": ("limits", "See and set limits that all programs of a record share."),
    "login": ("login:login", "Choose a server for record and service, with a key."),
    "metrics": ("metrics", "Print counts of recorded flow runs for Prometheus, or answer it at a port."),
    "migrate": ("migrate", "Say what of a program written for Prefect runs as it is."),
    "records": ("records", "Check, compact or export the record."),
    "resume": ("resume:resume", "Go on with a run whose driver is gone."),
    "retry": ("resume:retry", "Run a recorded run once more, or only what failed in it."),
    "doctor": ("doctor", "Say what will hurt on this machine, with the remedy."),
    "explain": ("explain", "Say why task runs of a recorded run waited, failed, were retried; or what an error means."),
    "replay": ("replay", "Call a failed task run again, here, with the inputs it had."),
    "profile": ("profile", "Make, choose and delete profiles: named sets of settings."),
    "pilot": ("pilot:pilot", "Run a flow on all nodes of the Slurm or PBS job that this shell is in."),
    "pod": ("pod", "Run the flow of a job of Kubernetes, in its pod."),
    "pool": ("pool", "See and change pools, where runs of deployments wait for agents."),
    "project": ("project", "See, make and delete projects, under which deployments stand together."),
    "queue": ("queue", "See and change the queues of a pool."),
    "run": ("run", "Run a flow from a file; show, follow or cancel a recorded run."),
    "runs": ("runs", "List recorded flow runs, newest first."),
    "schedule": ("schedule", "See, pause, delete and backfill schedules of deployments."),
    "serve": ("serve", "Serve a flow: run it here, by a schedule and whenever it is asked for."),
    "server": ("server", "Start, stop and look at the server: record and service over HTTP."),
    "submit": ("submit", "Start a run of a flow as a job: of Slurm, PBS, Kubernetes or this machine."),
    "watch": ("watch", "Show runs, maps, workers and log, full-screen, as they change."),
    "work-pool": ("work_pool", "As pool, under the name that Prefect 3 has for it."),
    "work-queue": ("work_pool:queues", "As queue, under the name that Prefect 3 has for it."),
    "worker": ("agent", "As agent, under the name that Prefect 3 has for it."),
    "version": ("version", "Show versions of anabranch and what it runs on."),
}
HIDDEN = {"backend", "cloud", "create", "drive", "pod", "work-pool", "work-queue"}  # spellings of others; our own


class Nouns(click.Group):
    """A group whose commands live in modules that are imported when called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        place, _, name = COMMANDS[cmd_name][0].partition(":")
        module = importlib.import_module(f"anabranch.cli.{place}")
        command: click.Command = getattr(module, name or "command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            shown = [(name, text) for name, (_, text) in sorted(COMMANDS.items()) if name not in HIDDEN]
            formatter.write_dl(shown)


# Of all commands; shown below the help.
EXIT_CODES = """\b
Exit codes:
  0    done, the flow completed
  1    the flow failed, crashed or was cancelled; or the command failed
  2    bad arguments
  75   the run was suspended, as its walltime is near, and can be resumed
  130  ended by Ctrl-C
  143  ended by SIGTERM"""


@click.group(cls=Nouns, context_settings={"help_option_names": ["-h", "--help"]}, epilog=EXIT_CODES)
@click.version_option(__version__, message="anabranch %(version)s")
def cli() -> None:
    """Plain Python functions as flows and tasks, on threads, processes, Dask or Ray."""


def main(args: list[str] | None = None) -> Any:
    """Run the command and exit with its code; errors of anabranch show as one line, not as a trace."""
    from anabranch.core.errors import AnabranchError

    try:
        return cli.main(args, prog_name="anabranch", standalone_mode=True)
    except AnabranchError as error:
        from anabranch.cli import error_page

        name = error_page.name_of(error)
        more = f"\n(`anabranch explain {name}` says more)" if name else ""
        click.echo(f"Error: {error}{more}", err=True)
        sys.exit(1)
