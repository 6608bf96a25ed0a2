"""`anabranch agent install systemd|kubernetes`: what keeps an agent running where it is installed, as text."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import click

from anabranch import serving, settings
from anabranch.cli import service_names
from anabranch.core.deployments import AGENT, DEFAULT
from anabranch.core.errors import ConfigurationError


@click.group("install")
def command() -> None:
    """Print what keeps an agent running: a unit of systemd, or objects of Kubernetes."""


POOL = click.option(
    "-p", "--pool", default=DEFAULT, show_default=True, help="Where orders wait for it.",
    shell_complete=service_names.pools,
)  # fmt: skip
LABELS = click.option("-l", "--label", "labels", multiple=True, help="It takes orders with labels among these.")
_OPTIONS = [
    POOL,
    click.option(
        "-q", "--queue", "queues", multiple=True, help="Its queues; all unless given.",
        shell_complete=service_names.queues,
    ),
    LABELS,
    click.option("--limit", default=0, type=click.IntRange(min=0), help="Runs at once; 0: as `agent start` chooses."),
]


def _of_agents(command: Any) -> Any:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@command.command("systemd")
@_of_agents
@click.option("--write", is_flag=True, help="Write it to ~/.config/systemd/user instead, and say how it is started.")
def systemd(write: bool, **asked: Any) -> None:
    """Print a unit of systemd for an agent of this user, with the present home, folder and settings.

    The agent starts again whatever ends it, and its drivers go on meanwhile. `anabranch agent install local` is the
    same, as Prefect 1 spells it.
    """
    chosen = settings.load()
    text = unit([sys.executable, "-m", "anabranch", *words(**asked)], chosen.home, chosen.profile, Path.cwd())
    if not write:
        click.echo(text, nl=False)
        return
    name = _name_of(asked["pool"])
    file = Path.home() / ".config/systemd/user" / f"{name}.service"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    click.echo(f"{file} is written; these start it now and with the machine:")
    click.echo(f"  systemctl --user daemon-reload && systemctl --user enable --now {name}\n  loginctl enable-linger")


command.add_command(systemd, "local")


@command.command("kubernetes")
@_of_agents
@click.option("--image", required=True, help="Of the agent: one with anabranch[kubernetes] in it.")
@click.option("--namespace", default="default", show_default=True, help="Where it goes.")
@click.option("--secret", default=AGENT, show_default=True, help="A Secret whose entries become its variables.")
@click.option("--records", default="", metavar="ADDRESS", help="Of the server; that of the settings unless given.")
@click.option("--safe-to-evict", type=bool, default=False, show_default=True, help="Whether autoscalers may move it.")
def kubernetes(
    image: str, namespace: str, secret: str, records: str, safe_to_evict: bool, **asked: Any
) -> None:  # fmt: skip
    """Print a Deployment with one agent, its account and its role, for `kubectl apply -f -`.

    The agent starts the runs of its pool as Jobs. Its key lies in a Secret: `kubectl create secret generic
    anabranch-agent --from-literal=ANABRANCH_API_KEY=...`, made by `anabranch key create NAME --role agent`.
    """
    import yaml

    from anabranch.launch.kubernetes_agent import manifests

    chosen = settings.load()
    address = records or chosen.records
    if not address or not (records or serving.over_http(chosen)):
        raise ConfigurationError(
            "an agent in a cluster asks a server: --records=https://flows.example.org, or `anabranch login` first"
        )
    said = words(kind="kubernetes", **asked)
    found = manifests(
        _name_of(asked["pool"]), image, said, address, secret, namespace, safe_to_evict=safe_to_evict
    )  # fmt: skip
    click.echo(yaml.safe_dump_all(found, sort_keys=False), nl=False)


def words(
    pool: str, queues: tuple[str, ...], labels: tuple[str, ...], limit: int, kind: str = ""
) -> list[str]:  # fmt: skip
    """Return the words that start an agent."""
    found = ["agent", "start", "--pool", pool]
    for option, values in (("--queue", queues), ("--label", labels), ("--kind", (kind,) if kind else ())):
        found += [word for value in values for word in (option, value)]
    return [*found, "--limit", str(limit)] if limit else found


def unit(command: list[str], home: Path, profile: str, folder: Path) -> str:
    """Return a unit of systemd. Without KillMode=process the end of the agent would end its drivers too."""
    variables = {"ANABRANCH_HOME": str(home), **({"ANABRANCH_PROFILE": profile} if profile else {})}
    return f"""[Unit]
Description=An agent of anabranch
Wants=network-online.target
After=network-online.target

[Service]
ExecStart={_told(shlex.join(command)).replace("$", "$$")}
WorkingDirectory={_told(str(folder))}
{"".join(f'Environment="{name}={_quoted(value)}"{chr(10)}' for name, value in variables.items())}Restart=always
RestartSec=5
KillMode=process

[Install]
WantedBy=default.target
"""


def _name_of(pool: str) -> str:
    """Return the name of what is installed: each pool has an agent of its own."""
    return AGENT if pool == DEFAULT else f"{AGENT}-{pool}"


def _told(text: str) -> str:
    """Return a text as a unit has it: no specifier of systemd. Only a command's `$` has to be doubled as well."""
    return text.replace("%", "%%")


def _quoted(text: str) -> str:
    """Return a text as it stands between the double quotes of a unit's Environment=."""
    return _told(text).replace("\\", "\\\\").replace('"', '\\"')
