"""Writes docs/reference/cli.md from the command itself: `make docs`."""

from __future__ import annotations

import inspect
from pathlib import Path

import click

from anabranch import cli

PAGE = Path(__file__).parent / "reference" / "cli.md"
HEAD = """# The command

`anabranch --help` lists the nouns, and `anabranch NOUN --help` says the same as this page, which `make docs` writes.
Data go to standard output, everything else to standard error.
"""


def page() -> str:
    """The whole page as Markdown."""
    context = click.Context(cli.cli, info_name="anabranch")
    parts = [HEAD, f"```text\n{inspect.cleandoc((cli.cli.epilog or '').replace(chr(8), ''))}\n```\n"]
    for name in cli.cli.list_commands(context):
        command = cli.cli.get_command(context, name)
        if name not in cli.HIDDEN and command is not None:
            parts += told(command, click.Context(command, context, info_name=name), "##")
    return "\n".join(parts)


def told(command: click.Command, context: click.Context, level: str) -> list[str]:
    """The parts about a command and those below it."""
    usage = " ".join(command.collect_usage_pieces(context))
    parts = [f"{level} {context.command_path}\n", f"`{context.command_path} {usage}`\n"]
    parts.append(inspect.cleandoc(command.help or "").replace("\b\n", "").replace("\f", "") + "\n")
    rows = [row for parameter in command.get_params(context) if (row := parameter.get_help_record(context))]
    rows = [(name, text) for name, text in rows if text and "--help" not in name]
    if rows:
        table = "".join(f"| `{cell(name)}` | {cell(text)} |\n" for name, text in rows)
        parts.append(f"| option | what it does |\n|---|---|\n{table}")
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below is not None and not below.hidden:
                parts += told(below, click.Context(below, context, info_name=name), level + "#")
    return parts


def cell(text: str) -> str:
    """Text for a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
