"""`anabranch submit KIND TARGET`: start a run of a flow as a job, which has the driver and the workers in it."""

from __future__ import annotations

import glob
import re
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anabranch import settings
from anabranch.cli import jobs, load, pod_jobs
from anabranch.cli import pilots as beside
from anabranch.cli.run import EXECUTE
from anabranch.core import login_nodes, secrets, states
from anabranch.core.errors import LaunchError
from anabranch.core.ids import Ids
from anabranch.core.job_file import OWN, JobFile
from anabranch.core.launching import Job, Resources
from anabranch.core.option_checks import parse_bytes, parse_walltime
from anabranch.core.processes import host_name
from anabranch.core.runs import JOB, FlowRunRow, TransitionRow, json_parameters
from anabranch.launch.slurm import one_processor

if TYPE_CHECKING:
    from anabranch.core.launching import Launcher, Reference
    from anabranch.entrypoints.target import Target

LOOK_SECONDS = 1.0  # between two looks at the record, while a run is waited for


def seconds_of(ctx: click.Context, param: click.Parameter, text: str) -> float:
    """Handle the option --time."""
    try:
        return parse_walltime(text) if text else 0.0
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def bytes_of(ctx: click.Context, param: click.Parameter, text: str) -> int:
    """Handle the option --memory."""
    try:
        return parse_bytes(text or 0) or 0
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command("submit", short_help="Start a run of a flow as a job: of Slurm, PBS, Kubernetes or this machine.")
@click.argument("kind", type=click.Choice(jobs.KINDS))
@click.argument("target", metavar=EXECUTE)
@click.option("-p", "--param", "params", multiple=True, metavar="NAME=VALUE", help="A parameter; JSON, else text.")
@click.option("--nodes", default=1, show_default=True, type=click.IntRange(min=1), help="Machines.")
@click.option("--cpus", default=0, type=click.IntRange(min=0), help="Processors on each of them.")
@click.option("--memory", default="", callback=bytes_of, metavar="SIZE", help="Memory on each of them, as 4GiB.")
@click.option("--gpus", default=0, type=click.IntRange(min=0), help="Accelerators on each of them.")
@click.option("--time", "walltime", default="", callback=seconds_of, metavar="TIME", help="90 (minutes), 1:30:00, 2h.")
@click.option("--pilots", default=1, type=click.IntRange(min=1), help="Jobs of one node that share the run.")
@click.option("--runner", type=click.Choice(["process", "dask", "ray", "thread"]), help="Where tasks run in the job.")
@click.option("--image", default="", help="Of the pod, with anabranch in it (kubernetes).")
@click.option("--in-image", default="", metavar="FILE", help="The flow's file is there in the image (kubernetes).")
@click.option("--from", "source", default="", metavar="ADDRESS", help="Of the code, git+https://.. (kubernetes).")
@click.option("--name", default="", help="Of the run and the job; made up unless given.")
@click.option("--option", "options", multiple=True, metavar="WORDS", help='As in --option="--partition=short".')
@click.option("--without", multiple=True, metavar="WORDS", help="Leave a directive out: --without=--mem.")
@click.option("--prologue", multiple=True, metavar="LINE", help='Shell before the flow: --prologue="module load cuda".')
@click.option("--dry-run", is_flag=True, help="Show the job's script, and start nothing.")
@click.option("--wait", is_flag=True, help="Wait for the run's end; exit codes as of `anabranch run`.")
def command(
    kind: str, target: str, params: tuple[str, ...], runner: str | None, name: str, dry_run: bool, wait: bool,
    without: tuple[str, ...], pilots: int, source: str, **asked: Any,
) -> None:  # fmt: skip
    """Start a run of a flow as a job: its driver and its workers run there, and this machine may be left.

    `anabranch submit slurm survey.py -p folder=src --nodes 2 --time 1:00:00` submits one job. The run is in the record
    from now on: `anabranch runs`, `run show`, `run logs -f` and `run cancel` know it while it waits.
    """
    if wait and jobs.in_batch():
        raise click.UsageError("--wait would keep this job's processors idle until another job has ended: leave it out")
    home = settings.load().home
    asked["options"] = pod_jobs.options_of(kind, asked.pop("image"), asked.pop("in_image"), source, asked["options"])
    code = pod_jobs.code_of(target, source, home)
    flow = load.flow_of(code.target.everywhere() if source else target)
    if pilots > 1:
        beside.check(kind, pilots, asked["nodes"], runner, flow.options.runner)
        runner = "dask"
    given = checked(flow, load.parameters(flow, params))
    row = waiting_row(flow, given, name)
    job, file = prepared(kind, code.target, row, name, runner, asked)
    if kind == "kubernetes":
        once = (lambda file: False) if dry_run else lambda file: pod_jobs.once(jobs.kubernetes(), file, job.options)
        job, file = pod_jobs.for_a_pod(job, file, code, params, runner, once)
    launcher = jobs.launcher(kind, without)
    file = replace(file, pilots=pilots, options=[*job.options] if pilots > 1 else [])
    others = beside.beside(job, pilots) if pilots > 1 else None
    scripts = [launcher.render(one) for one in (job, others) if one is not None]
    if kind == "slurm" and (words := one_processor(job)):
        click.echo(f"warning: {words}", err=True)
    if dry_run:
        click.echo(f"\n# {pilots - 1} pilots join it, as one array:\n".join(scripts), nl=False)
        return
    if file.record == OWN:
        pod_jobs.tell()
    reference = start(launcher, job, row, file, given, others)
    join = f", on Dask, which pilots 1 to {pilots - 1} join" if others else ""
    click.echo(f"run {row.name} is submitted: {kind} job {jobs.number(reference)}{join}")
    for words, what in (("show", "its state"), ("logs -f", "its lines"), ("cancel", "its end")):
        click.echo(f"  {f'anabranch run {words} {row.name}':<50}{what}")
    if wait:
        lives = "this command waits for the run's end"
        instead = f"the job goes on without it, and `anabranch run logs -f {row.name}` follows it again"
        if words := login_nodes.warning_of(login_nodes.signs_here(), lives, instead):
            click.echo(f"warning: {words}", err=True)
        sys.exit(waited(home, row))


def prepared(
    kind: str, target: Target, row: FlowRunRow, name: str, runner: str | None, asked: dict[str, Any]
) -> tuple[Job, JobFile]:
    """Return the job of a run, and the file that tells of it."""
    everywhere = target.everywhere()
    words = [everywhere, *(["--runner", runner] if runner else [])]
    job = job_of(row, row.flow, settings.load().home, name, words, asked)
    wanted = {word: asked[word] for word in ("nodes", "cpus", "memory", "gpus", "walltime")}
    cwd, host = str(job.cwd), host_name()
    return job, JobFile(row.id, row.name, row.flow, everywhere, kind, job.name, cwd, wanted, row.created, host)


def checked(flow: Any, given: dict[str, Any]) -> dict[str, Any]:
    """Return all parameters of a run, defaults included; what the flow would refuse is an error now."""
    from anabranch.core.validate import validate_call

    args, kwargs = flow.binder.bind((), given)
    secrets.remember(given, *given.values())
    if flow.options.validate_parameters:
        validate_call(flow.plain_fn, args, kwargs, name=flow.name)
    found: dict[str, Any] = flow.binder.as_dict(args, kwargs)
    return found


def waiting_row(flow: Any, given: dict[str, Any], name: str) -> FlowRunRow:
    """Return the row of a run that waits for its job."""
    from anabranch.runs.resumed import entry_of

    ids = Ids()
    return FlowRunRow(
        ids.new(), flow.name, name or ids.name(), states.SCHEDULED, "Scheduled", created=time.time(),
        tags=flow.options.tags, version=flow.options.version or "", parameters=json_parameters(given), resumable=True,
        run_key=flow.options.run_key or "", entry=entry_of(flow.plain_fn),
    )  # fmt: skip


def job_of(row: FlowRunRow, flow: str, home: Path, name: str, words: list[str], asked: dict[str, Any]) -> Job:
    """Return the job of a run; the run's row has the job's name from then on.

    Args:
        flow: its name.
        name: what the user calls the run; "": the job's name begins with the flow's. It ends in random digits: after a
            lost answer the job is found by its name, and no other is.
        words: target and options for the driver in the job.
        asked: resources, walltime, options and prologue.

    Raises:
        click.ClickException: there is a job of a run of that name.
    """
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", flow).strip("-._")[:40] or "flow"
    for there in (home / "jobs").glob(f"{glob.escape(name)}-{'[0-9a-f]' * 6}") if name else ():
        raise click.ClickException(f"there is a job of a run {name!r} already, in {there}: take another --name")
    name = f"{name or f'{slug}-{row.name}'}-{row.id[-6:]}"
    folder = home / "jobs" / name
    row.host = f"{JOB}{name}"
    command = (sys.executable, "-P", "-m", "anabranch", "pilot", *words, "--job", str(folder))
    environment = {"ANABRANCH_HOME": str(home), "PYTHONUNBUFFERED": "1"}
    resources = Resources(asked["nodes"], asked["cpus"], asked["memory"], asked["gpus"])
    return Job(
        name, command, folder, Path.cwd(), environment, resources, asked["walltime"], asked["options"],
        asked["prologue"],
    )  # fmt: skip


def start(
    launcher: Launcher, job: Job, row: FlowRunRow, file: JobFile, given: dict[str, Any], others: Job | None = None
) -> Reference:
    """Write the run to the record and start its job; where no job can be started, the run has crashed.

    Args:
        others: jobs that join it. Where they cannot be started, the job is cancelled.

    Raises:
        LaunchError: no job could be started; says why, and what to do.
        click.ClickException: the run was cancelled meanwhile, and so is its job.
    """
    from anabranch import session as sessions
    from anabranch.runs import resumed

    session = sessions.current()
    try:
        job.folder.mkdir(mode=0o700, parents=True)
    except OSError as error:
        raise LaunchError(f"{job.folder} cannot be made: {error.strerror or error}") from error
    file.write(job.folder)
    if file.kind != "kubernetes":  # a pod gets them by itself: the result store may be out of its sight
        resumed.keep_parameters(session, row.id, given, asked=True)
    session.write([row, TransitionRow(row.id, -1, 0, row.state, row.state_name, "", row.created)])
    session.records.publish(30.0)  # the job may begin at once, on another machine, and looks for its run
    reference = None
    try:
        reference = launcher.start(job)
        if others is not None:
            launcher.start(others)
    except BaseException as error:
        if reference is not None:
            if others is not None:
                beside.withdraw(others)
            launcher.cancel(reference)
        session.records.end(row, states.CRASHED, f"no job was started: {error}")
        if isinstance(error, KeyboardInterrupt) and str(error):
            click.echo(f"\nrun {row.name} was {error}", err=True)
        raise
    now = session.records.flow_run(row.id)
    if now is not None and now.ended_unbegun:  # cancelled by a program that found no job yet
        jobs.cancel(jobs.Submitted(job.folder, file, reference), launcher)
        raise click.ClickException(f"run {row.name} has ended as {now.state_name} meanwhile: its job is cancelled")
    return reference


def waited(home: Path, row: FlowRunRow) -> int:
    """Wait until a run has ended, telling what it waits for; returns the exit code of `anabranch run`."""
    from anabranch import session as sessions

    records, said = sessions.current().records, ""
    try:
        while True:
            try:
                jobs.settle(records, home, time.time())
                now = records.flow_run(row.id) or row
                found = jobs.of_run(home, now)
                if states.is_final(now.state) and not (found and jobs.goes_on(home, now, found)):
                    return _told_end(now)
                job = found and jobs.looked(home, now, found)
                words = f"job {job}" if job else f"run {now.state_name}"
            except LaunchError as error:
                words = str(error)
            if words != said:
                said = words
                click.echo(words, err=True)
            time.sleep(LOOK_SECONDS)
    except KeyboardInterrupt:
        click.echo(f"\nno longer waited for; the job goes on: `anabranch run cancel {row.name}` ends it", err=True)
        return 130


def _told_end(row: FlowRunRow) -> int:
    told = f"run {row.name} ended as {row.state_name}{f': {row.message}' if row.message else ''}"
    click.echo(told, err=not states.is_success(row.state))
    return 0 if states.is_success(row.state) else 1
