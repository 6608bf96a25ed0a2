"""`anabranch pilot TARGET`: run a flow in the allocation that this process is in, on all of its nodes."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
import tempfile
import time
import zlib
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anabranch import session as sessions
from anabranch import settings
from anabranch.cli import going_on, pilots, record
from anabranch.cli.jobs import RUN
from anabranch.cli.resume import flow_of, resumed
from anabranch.cli.run import EXECUTE, to_its_end
from anabranch.core.errors import LaunchError
from anabranch.core.job_file import JobFile
from anabranch.core.launching import WALLTIME_END
from anabranch.core.states import is_success
from anabranch.launch.requeue import FOLDER as FOLLOWS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from anabranch.cli.pilots import Pilots
    from anabranch.core.allocation import Allocation
    from anabranch.core.runs import FlowRunRow

ENGINES = ("dask", "ray")  # whose workers may be other tasks of the user's own srun
RUNNERS = ("process", *ENGINES, "thread")


@click.command("pilot", short_help="Run a flow on all nodes of the job that this shell is in.")
@click.argument("target", metavar=EXECUTE)
@click.option("-p", "--param", "params", multiple=True, metavar="NAME=VALUE", help="A parameter; JSON, else text.")
@click.option("--runner", type=click.Choice(RUNNERS), help="Where tasks run, instead of what fits the job.")
@click.option("--job", "folder", type=click.Path(path_type=Path), help="The folder of the job.")
@click.option("--interface", default="", help="The network between the nodes, such as ib0.")
@click.option("--join", is_flag=True, hidden=True, help="Work for the run of that job, which has its driver.")
def pilot(
    target: str, params: tuple[str, ...], runner: str | None, folder: Path | None, interface: str, join: bool
) -> None:
    """Run a flow on all nodes of the job that this process is in: Slurm's, PBS's, or this machine alone.

    In a script for sbatch, as its last line: exec anabranch pilot survey.py -p folder=src. On one node tasks run on
    processes; on several nodes on Dask or Ray, whose workers are started by srun. Exit codes are those of
    `anabranch run`.
    """
    from anabranch.core.own_job import own_allocation

    allocation = own_allocation()
    if join and folder:
        sys.exit(pilots.join(allocation, folder))
    own = own_folder(allocation, [target, *params])
    followed = None if folder else going_on.before(own)
    place = folder or followed or own
    submitted = JobFile.read(folder) if folder else None
    shared = submitted is not None and submitted.pilots > 1
    file = pilots.meeting(place) if shared else meeting_place(allocation, place)
    if allocation.rank:
        sys.exit(be_a_set(allocation, file))
    drop_old_keys(place, file)
    # Not by the environment: jobs that are submitted from here would take the end for their own.
    sessions.choose(walltime_end=own_end(allocation, settings.load().walltime_end, time.time()))
    os.environ.pop(WALLTIME_END, None)
    again = allocation.restarts > 0 or followed is not None
    flow, start = what_to_run(target, params, allocation, place, submitted=folder is not None, again=again)
    kind = runner or kind_of(allocation, flow.options.runner)
    click.echo(said(allocation, kind), err=True)
    if allocation.ranks > 1 and kind not in ENGINES:
        let_sets_go(file)
    crew = pilots.Pilots(place, submitted, again=again or FOLLOWS in os.environ) if shared and submitted else None
    stopped = crew.end if crew else lambda: None
    with going_on.going_on(allocation, place, stopped) as told, ExitStack() as until_the_end:
        until_the_end.enter_context(own_scratch(allocation))
        if crew:
            until_the_end.enter_context(crew)
        if (made := runner_of(kind, allocation, file, interface, until_the_end, crew, told)) is not None:
            flow = flow.with_options(runner=made)
        until_the_end.callback(sessions.current().close)  # before the cluster, which its runs are on
        to_its_end(flow, lambda: start(flow))


def own_end(allocation: Allocation, given: float, now: float) -> float:
    """Return when this program is to end, in seconds since 1970; 0.0: not known.

    Args:
        given: the end in the settings. It holds where it is earlier than the job's. One that has passed is that of
            another job, from which this one was submitted.
    """
    return min((end for end in (given if given > now else 0.0, allocation.end) if end), default=0.0)


# -- which run -------------------------------------------------------------------------------------


def what_to_run(
    target: str, params: tuple[str, ...], allocation: Allocation, place: Path, *, submitted: bool, again: bool
) -> tuple[Any, Callable[[Any], Any]]:
    """Return the flow, and what starts its run: a new one, or that of an earlier start of this job.

    Args:
        place: the job's folder; where the run was submitted, its file names the run.
        again: whether this is a later start of the job, or a job that follows it. A second call in one start is a new
            run.
    """
    from anabranch.cli import load

    if submitted:
        job = JobFile.read(place)
        with record.opened_run(job.run) as (_, row):
            if row.ended_unbegun:
                ended = f"flow run {row.name!r} has ended as {record.state_of(row)} before this job began it"
                raise click.ClickException(f"{ended}: submit it again")
            return flow_of(row), lambda flow: resumed(flow, row, None)
    flow = load.flow_of(target)
    given = load.parameters(flow, params)
    if flow.options.resumable is None:
        flow = flow.with_options(resumable=True)
    if again and (earlier := earlier_run(place)) is not None:
        if is_success(earlier.state):
            click.echo(f"flow run {earlier.name!r} has completed in an earlier start of this job", err=True)
            sys.exit(0)
        return flow, lambda flow: resumed(flow, earlier, None)
    if allocation.job:
        flow = flow.with_options(on_running=(*flow.options.on_running, lambda flow, run, state: note(place, run.id)))
    return flow, lambda flow: flow(**given, return_state=True)


def note(place: Path, run: str) -> None:
    """Keep the id of this job's run for the job's later starts; raises LaunchError where it cannot be kept."""
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = place / f".{RUN}.{os.getpid()}"
        new.write_text(run + "\n", encoding="utf-8")
        new.replace(place / RUN)
    except OSError as error:
        raise LaunchError(f"{place / RUN} cannot be written: {error.strerror or error}") from error


def earlier_run(place: Path) -> FlowRunRow | None:
    """Return the run that an earlier start of this job began; None where none has begun."""
    try:
        run = (place / RUN).read_text(encoding="utf-8").strip()
    except OSError:
        return None
    return sessions.current().records.flow_run(run)


def own_folder(allocation: Allocation, words: list[str]) -> Path:
    """Return the folder of a job that was not submitted by anabranch: one for each command line in its script."""
    name = f"{allocation.kind}-{allocation.job or os.getpid()}"
    return settings.load().home / "jobs" / f"{name}-{zlib.crc32(repr(words).encode()):08x}"


@contextlib.contextmanager
def own_scratch(allocation: Allocation) -> Iterator[None]:
    """Let this program's spilled values go to a folder of this node."""
    from anabranch.clusters.scratch import scratch

    with scratch(f"{allocation.job or os.getpid()}.{allocation.restarts}") as folder:
        os.environ["TMPDIR"] = tempfile.tempdir = folder
        yield


# -- where tasks run -------------------------------------------------------------------------------


def kind_of(allocation: Allocation, own: Any) -> str:
    """Return where tasks run: on what the flow says, else on what fits the allocation."""
    if own is not None and not (isinstance(own, str) and own in RUNNERS):
        return ""
    several = len(allocation.nodes) > 1 or allocation.ranks > 1 or allocation.node.gpus > 1
    if own in ENGINES or (own == "thread" and not several):
        return str(own)
    if not several:
        return "process"
    for engine, package in (("dask", "distributed"), ("ray", "ray")):
        if importlib.util.find_spec(package):
            return engine
    raise click.ClickException("several nodes need Dask or Ray: pip install 'anabranch[hpc]'")


def runner_of(
    kind: str, allocation: Allocation, file: Path, interface: str, until_the_end: ExitStack, crew: Pilots | None,
    told: Callable[[], object],
) -> Any:  # fmt: skip
    """Return the runner, with its cluster where one is started; None for that of the flow.

    Args:
        told: called when SIGTERM has reached workers.
    """
    from anabranch import DaskRunner, ProcessRunner, RayRunner, ThreadRunner
    from anabranch.clusters.in_allocation import AllocationCluster

    node = allocation.node
    if kind == "process":
        return ProcessRunner(node.cpus, resources={"gpus": float(node.gpus)} if node.gpus else None)
    if kind == "thread":
        return ThreadRunner(node.cpus)
    if not kind:
        return None

    def hear(news: dict[str, Any]) -> None:
        if "told" in news:
            told()
        elif crew:
            crew.hear(news)

    pilots = crew.count if crew else 0
    made = AllocationCluster(allocation, kind, file, interface=interface, pilots=pilots, hear=hear)
    cluster = until_the_end.enter_context(made)
    return DaskRunner(cluster) if kind == "dask" else RayRunner(address=cluster.address)


def be_a_set(allocation: Allocation, file: Path) -> int:
    """Bring this task of the user's own srun to the driver, which is the task with number 0; returns an exit code."""
    from anabranch.clusters.in_allocation import rank_cpus
    from anabranch.clusters.node import Orders, run

    node = allocation.node
    job = f"{allocation.job}.{allocation.restarts}"
    cpus = rank_cpus(allocation)
    return run(Orders(str(file), job, cpus, node.memory // node.tasks, node.gpus, node.tasks))


def let_sets_go(file: Path) -> None:
    """Tell the other tasks of the user's own srun that they are not needed.

    The file stays: one of them may begin to look for it after a short flow has ended.
    """
    from anabranch.clusters.rendezvous import Rendezvous

    Rendezvous((), "", "").write(file)


def meeting_place(allocation: Allocation, place: Path) -> Path:
    """Return the file by which nodes find the driver: one for each start of a job, and for each step in it."""
    step = os.environ.get("SLURM_STEP_ID", "") if allocation.ranks else ""
    start = f"{allocation.job or os.getpid()}.{allocation.restarts}"
    return place / start / f"driver{f'-{step}' if step else ''}.json"


def drop_old_keys(place: Path, file: Path) -> None:
    """Delete the files that earlier starts of the job left behind, killed: the keys of their clusters are in them."""
    for old in place.glob("*/*driver*.json*"):
        if old.parent != file.parent:
            old.unlink(missing_ok=True)


def said(allocation: Allocation, kind: str) -> str:
    """Return the line that says what the pilot has, and where its record lies."""
    from anabranch.records import place_said

    chosen = settings.load()
    where = f"job {allocation.job}" if allocation.job else "no job"
    nodes = len(allocation.nodes)
    until = datetime.fromtimestamp(allocation.end).strftime(", until %Y-%m-%d %H:%M:%S") if allocation.end else ""
    record = place_said(chosen.records_place, shared=chosen.records_shared)
    return (
        f"anabranch: {where}: {nodes} node{'s' * (nodes > 1)}, {allocation.cpus} processors{until}; runner: "
        f"{kind or 'the flow’s own'}; record: {record}"
    )
