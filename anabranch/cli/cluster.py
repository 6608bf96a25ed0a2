"""`anabranch cluster`: clusters that outlive one program, by name."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from anabranch import settings
from anabranch.cli import tables
from anabranch.cli.on_cluster import bounds
from anabranch.clusters import named, named_file
from anabranch.clusters import tunnel as tunnels
from anabranch.clusters.held import check_name, clusters_folder
from anabranch.clusters.kinds import KINDS, cluster_class, options_of
from anabranch.clusters.kubernetes import logs as pod_logs
from anabranch.clusters.named import NamedCluster
from anabranch.core import login_nodes
from anabranch.core.errors import AnabranchError

if TYPE_CHECKING:
    from anabranch.clusters.held import HeldCluster

_COMMANDS = {"slurm": "sbatch", "pbs": "qsub"}  # by which a machine of that kind is known


@click.group("cluster")
def command() -> None:
    """Start, look at, scale and stop clusters that outlive one program.

    A flow uses one by its name: runner=DaskRunner(cluster="NAME").
    """


@command.command("start")
@click.argument("name")
@click.option("--kind", type=click.Choice(sorted(KINDS)), help="Default: the batch system of this machine, else local.")
@click.option("--cores", type=float, required=True, help="Of each job or pod.")
@click.option("--memory", required=True, metavar="SIZE", help='Of each job or pod, as "16 GiB".')
@click.option("--walltime", default="01:00:00", show_default=True, help="Of each job.")
@click.option("--jobs", default="0..4", show_default=True, metavar="N|MIN..MAX", help="So many, or as work asks.")
@click.option("--processes", type=int, help="Workers of each job; default: one for each core.")
@click.option("--queue", default="", help="Partition or queue.")
@click.option("--account", default="", help="Account that pays.")
@click.option("--directive", "directives", multiple=True, help="A further line of the job's head, such as --qos=long.")
@click.option("--skip", multiple=True, help="A text; lines of the job's head that contain it are left out.")
@click.option("--prologue", multiple=True, help="A line of shell before the worker, such as 'module load cuda'.")
@click.option("--python", help="The interpreter on the nodes; default: this one.")
@click.option("--interface", help="The network between nodes, such as ib0; default: the one that reaches us.")
@click.option("--worker-option", "worker_options", multiple=True, help="A further word for `dask worker`.")
@click.option("--patience", type=float, metavar="SECONDS", help="Flows end with the queue's reason after so long.")
@click.option("--idle", type=float, default=60.0, show_default=True, help="Seconds until jobs without work end.")
@click.option("--security/--no-security", default=True, help="Encrypt, and admit only programs with its certificate.")
@click.option("--image", help="Kubernetes: of scheduler and workers, with anabranch in it.")
@click.option("--namespace", help="Kubernetes; default: that of the kubeconfig's context.")
@click.option("--context", help="Kubernetes: of the kubeconfig.")
@click.option("--gpus", type=int, help="Kubernetes: of each worker.")
@click.option("--env", multiple=True, metavar="NAME=VALUE", help="Kubernetes: a variable of the pods.")
@click.option("--secret", "secrets", multiple=True, help="Kubernetes: a Secret; its keys become variables.")
@click.option("--spot", is_flag=True, default=None, help="Kubernetes: workers on nodes that may be taken away.")
@click.option("--dry-run", is_flag=True, help="Show the script of one job, or the manifest, and start nothing.")
@click.pass_context
def start(around: click.Context, /, name: str, kind: str | None, jobs: str, dry_run: bool, **options: Any) -> None:
    """Start the cluster NAME; it runs until it is stopped, and its jobs or pods come and go with the work."""
    minimum, maximum = bounds(jobs)
    kind = kind or next((one for one, known in _COMMANDS.items() if shutil.which(known)), "local")
    said = {what: value for what, value in options.items() if _is_said(around, what)}
    if "env" in said:
        said["env"] = dict(_pair(one) for one in said["env"])
    try:
        cluster: HeldCluster = cluster_class(kind)(
            name=name, minimum=minimum, maximum=maximum, **options_of(kind, said)
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    if dry_run:
        click.echo(cluster.render(), nl=False)
        return
    if kind in _COMMANDS:
        login_nodes.told.said = settings.load().login_node
        lives = f"the scheduler of {name} lives here until `anabranch cluster stop {name}`"
        instead = "ask the site, or run the whole flow in a job (`anabranch submit slurm FILE`)"
        if words := login_nodes.warning_of(login_nodes.signs_here(), lives, instead):
            click.echo(f"warning: {words}", err=True)
    started = named.start(cluster)
    click.echo(f'{name}: {kind}, {jobs} jobs, at {started.scheduler_address}; runner=DaskRunner(cluster="{name}")')


@command.command("status")
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def status(name: str | None, as_json: bool) -> None:
    """Show one cluster and its jobs, or all clusters."""
    if name is None:
        _all(as_json)
        return
    found = NamedCluster(name).status()
    if as_json:
        tables.dump([found])
        return
    click.echo(
        f"{name}: {found['kind']}, {found['workers']} workers; wants {found['target']} jobs of "
        f"{found['minimum']}..{found['maximum']}; {found['submitted']} submitted, {found['lost']} lost"
    )
    if found["why"]:
        click.echo(found["why"])
    if found["jobs"]:
        rows = [(job["id"], job["name"], job["state"], job["workers"], job["reason"]) for job in found["jobs"]]
        tables.show(["job", "name", "state", "workers", ""], rows, right=["workers"])


def _all(as_json: bool) -> None:
    found = [_seen(name) for name in named_file.names(clusters_folder())]
    if as_json:
        tables.dump(found)
    elif not found:
        click.echo("no clusters; `anabranch cluster start NAME --cores 4 --memory 8GiB` starts one")
    else:
        rows = [[one.get(what) for what in ("name", "kind", "workers", "target", "why")] for one in found]
        tables.show(["cluster", "kind", "workers", "jobs", ""], rows, right=["workers", "jobs"])


def _seen(name: str) -> dict[str, Any]:
    """Return a cluster's status; of one that does not answer the reason."""
    try:
        return NamedCluster(name).status()
    except AnabranchError as error:
        return {"name": name, "why": str(error)}


@command.command("scale")
@click.argument("name")
@click.argument("jobs", metavar="N|MIN..MAX")
def scale(name: str, jobs: str) -> None:
    """Have N jobs from now on, or as many as the work asks for between MIN and MAX."""
    minimum, maximum = bounds(jobs)
    NamedCluster(name).adapt(minimum=minimum, maximum=maximum)
    click.echo(f"{name}: {jobs} jobs from now on")


@command.command("logs")
@click.argument("name")
@click.argument("job", required=False)
@click.option("-n", "lines", type=int, default=20, show_default=True, help="Last lines of each log.")
def logs(name: str, job: str | None, lines: int) -> None:
    """Show the last lines of the logs of its jobs or pods, and of its own; of one JOB alone by its number.

    The number is the one that `cluster status` shows; of local clusters and pods, JOB is the name that it shows.
    """
    found = named_file.read(clusters_folder(), name)
    if through := found.get("tunnel"):
        raise click.ClickException(f"its logs are there: ssh {through} anabranch cluster logs {name}")
    if found["kind"] == "kubernetes":
        _pods(found, job, lines)
        return
    folder = Path(found["folder"])
    chosen = named.logs(folder, job)
    if not chosen:
        raise click.ClickException(
            f"no log of a job {job!r} in {folder / 'logs'}: `anabranch cluster status {name}` lists the jobs"
        )
    for path in chosen:
        click.echo(f"==> {path}")
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]:
            click.echo(line)


@command.command("tunnel")
@click.argument("name")
@click.argument("host")
@click.option("-o", "options", multiple=True, metavar="WORD", help="An option of ssh, as in -o Port=2222.")
@click.option("--home", default="", metavar="PATH", help="anabranch's home on HOST, where it is not ~/.anabranch.")
@click.option("--port", type=int, default=0, help="Of this machine; default: a free one.")
def tunnel(name: str, host: str, options: tuple[str, ...], home: str, port: int) -> None:
    """Reach the cluster NAME of HOST from this machine, by ssh, until Ctrl-C.

    Start the cluster on HOST before. As long as this command runs, programs here find it by its name:
    runner=DaskRunner(cluster="NAME").
    """
    try:
        check_name(name)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    for one in (signal.SIGTERM, signal.SIGHUP):  # or ssh would stay, and the key
        if signal.getsignal(one) is not signal.SIG_IGN:  # as below `nohup`
            signal.signal(one, lambda number, frame: sys.exit(128 + number))
    with contextlib.suppress(KeyboardInterrupt), tunnels.opened(tunnels.Way(name, host, options, home), port) as opened:
        click.echo(shlex.join(opened.line), err=True)
        click.echo(
            f"{name}: {opened.status['kind']}, {opened.status['workers']} workers, through {host}; until Ctrl-C: "
            f'runner=DaskRunner(cluster="{name}")'
        )
        raise click.ClickException(f"the tunnel has ended: {opened.wait()}")


def _pods(found: dict[str, Any], job: str | None, lines: int) -> None:
    """Show the logs of a cluster of pods."""
    chosen = pod_logs.of_pods(found, job, lines)
    if not chosen:
        raise click.ClickException(f"no pod {job!r} has a log: `anabranch cluster status {found['name']}` lists them")
    for pod, text in chosen:
        click.echo(f"==> {pod}\n{text}", nl=not text.endswith("\n"))


@command.command("stop")
@click.argument("name")
def stop(name: str) -> None:
    """End a cluster and its jobs; one that has died is cleared away."""
    click.echo(named.stop(name))


def _is_said(around: click.Context, option: str) -> bool:
    """Return whether the user has given an option; what all kinds need has a default of the command."""
    return around.get_parameter_source(option) is not ParameterSource.DEFAULT


def _pair(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign:
        raise click.UsageError(f"--env must be NAME=VALUE, got {text!r}")
    return name, value
