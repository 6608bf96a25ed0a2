"""`anabranch completion bash|zsh|fish`: the script that completes commands, options and names."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print a script for a shell that completes commands, options and names: of runs, deployments, pools and queues.

    \b
    bash: eval "$(anabranch completion bash)" in ~/.bashrc
    zsh:  eval "$(anabranch completion zsh)" in ~/.zshrc, after compinit
    fish: anabranch completion fish > ~/.config/fish/completions/anabranch.fish
    """
    from anabranch.cli import cli

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(cli, {}, "anabranch", "_ANABRANCH_COMPLETE").source())
