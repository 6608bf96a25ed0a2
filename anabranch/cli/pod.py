"""`anabranch pod`: run a flow in the pod of its job; `anabranch submit kubernetes` lets the pod call it."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from anabranch.cli import record
from anabranch.cli.pod_jobs import versions
from anabranch.core import pod_job, states
from anabranch.core.errors import LaunchError
from anabranch.core.incarnations import Incarnation
from anabranch.core.job_file import OWN
from anabranch.core.processes import machine_of
from anabranch.core.runs import JOB, FlowRunRow, TransitionRow, json_parameters
from anabranch.documents.storage.fetch import CACHE, fetch
from anabranch.launch.kubernetes_once import begun_by_another

if TYPE_CHECKING:
    from anabranch.core.pod_job import Parcel


_LEFT = (states.SUSPENDED, states.CRASHED)  # the ends with which another pod goes on


@click.command("pod", hidden=True)
def command() -> None:
    """Run the flow that this pod was made for, and tell its end in the last line. Exit codes as of `anabranch run`."""
    from anabranch import session as sessions
    from anabranch.cli import load
    from anabranch.cli.resume import resumed
    from anabranch.cli.run import to_its_end

    parcel = pod_job.unpacked(pod_job.taken_from(os.environ))
    after = os.environ.pop(pod_job.AFTER, "")
    if "ANABRANCH_HOME" not in os.environ:  # an image's user may have no home, or one that cannot be written
        os.environ["ANABRANCH_HOME"] = tempfile.mkdtemp(prefix="anabranch-")
    if (walltime := parcel.file.asked.get("walltime", 0.0)) > 0:
        sessions.choose(walltime_end=time.time() + walltime)
    here = os.environ.get(pod_job.POD_NAME, "") or platform.node()
    click.echo(f"anabranch: pod {here} on node {os.environ.get(pod_job.NODE, '') or 'unknown'}", err=True)
    if parcel.versions != versions():
        click.echo(f"anabranch: the image has {versions()}; submitted with {parcel.versions}", err=True)
    if parcel.once and (other := begun_by_another(os.environ)):
        replaced(f"flow run {parcel.file.run_name!r} was begun by pod {other} of its Job")
    flow = load.flow_of(brought(parcel))
    given = load.parameters(flow, parcel.words)
    flow = flow.with_options(resumable=True, **runner_of(parcel, flow.options.runner))
    row = row_of(parcel, flow, given, after)
    if parcel.file.record != OWN:  # SIGTERM is the cluster's, or of a deleted Job: in a shared record the run goes on
        sessions.current().ended_by_person = lambda: False
    try:
        to_its_end(flow, lambda: resumed(flow, row, None))
    finally:
        told = sessions.current().records.flow_run(row.id)
        if told is not None and told.incarnation == str(Incarnation.of(os.environ)):
            tell_end(told)


def tell_end(row: FlowRunRow) -> None:
    """Print how the run has ended, on a line of its own: what the flow printed last may have no newline."""
    name = row.state_name or states.NAMES[row.state][0]
    click.echo(f"\n{pod_job.ended_line(row.state, name, row.message)}")


def brought(parcel: Parcel) -> str:
    """Return where the flow is in this pod; files that travelled are written, those of a storage fetched.

    Raises:
        FetchError, MissingExtraError: the storage does not give them.
    """
    if parcel.storage is not None:
        code = fetch(parcel.storage, Path(os.environ["ANABRANCH_HOME"]) / CACHE)
        return os.path.join(code.folder or "", parcel.place)
    if not parcel.files:
        return parcel.place
    folder = Path(tempfile.mkdtemp(prefix="anabranch-flow-"))
    for path, text in parcel.files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    return str(folder / parcel.place)


def runner_of(parcel: Parcel, own: Any) -> dict[str, Any]:
    """Return the option `runner`, if it is not the flow's own: processes on all processors of the pod unless asked."""
    from anabranch import ProcessRunner, ThreadRunner
    from anabranch.core.own_job import own_allocation

    kind = parcel.runner or (own if isinstance(own, str) else "process" if own is None else "")
    if kind not in ("process", "thread"):
        return {"runner": kind} if kind else {}
    node = own_allocation().node
    if kind == "thread":
        return {"runner": ThreadRunner(node.cpus)}
    gpus = parcel.file.asked.get("gpus") or node.gpus
    return {"runner": ProcessRunner(node.cpus, resources={"gpus": float(gpus)} if gpus else None)}


def row_of(parcel: Parcel, flow: Any, given: dict[str, Any], after: str) -> FlowRunRow:
    """Return the row of the run, which waits for this pod; in a record of the pod's own it is made.

    Args:
        after: see `refuse`.

    Raises:
        click.ClickException: the run has ended meanwhile, or another pod has begun it.
        LaunchError: the record is to be shared, and does not have the run.
    """
    from anabranch import session as sessions
    from anabranch.runs import resumed

    with record.opened(marking=False, make=True) as records:  # not the session's: a run is claimed from another program
        assert records is not None
        row = records.flow_run(parcel.file.run)
        if row is None and parcel.file.record == OWN:
            row = _new(parcel, flow, given)
            records.append([row, TransitionRow(row.id, -1, 0, row.state, row.state_name, "", row.created)])
            records.flush(30.0)
    if row is None:
        raise LaunchError(
            f"the record of this pod has no run {parcel.file.run}, though it is to be shared: does ANABRANCH_RECORDS "
            "lead to the same record here, by a Secret (--option=secret=NAME) or a shared home?"
        )
    refuse(row, Incarnation.of(os.environ), after)
    if not row.pid:
        session = sessions.current()
        resumed.keep_parameters(session, row.id, given, asked=True)
        session.flush_records()
    return row


def refuse(row: FlowRunRow, own: Incarnation, after: str = "") -> None:
    """Raise click.ClickException for a run that this pod is not to begin, and end where another pod has it.

    Args:
        after: the incarnation that the cluster took away; this pod goes on with its run.
    """
    if row.ended_unbegun:
        raise click.ClickException(f"flow run {row.name!r} has ended as {row.state_name} before its pod began it")
    if row.pid and row.incarnation not in (str(own), after):
        replaced(f"flow run {row.name!r} was begun by another pod of its Job, on {machine_of(row.host)}")
    if row.pid and states.is_final(row.state) and row.state not in _LEFT:
        raise click.ClickException(f"flow run {row.name!r} has ended as {row.state_name}: nothing is left to do")


def replaced(words: str) -> NoReturn:
    """End this pod, which the server has made in place of another, so that its end tells that from others."""
    click.echo(f"Error: {words}, which the cluster has replaced by this one: it does not run twice", err=True)
    sys.exit(pod_job.REPLACED)


def _new(parcel: Parcel, flow: Any, given: dict[str, Any]) -> FlowRunRow:
    from anabranch.runs.resumed import entry_of

    file = parcel.file
    return FlowRunRow(
        file.run, flow.name, file.run_name, states.SCHEDULED, "Scheduled", created=file.submitted,
        tags=flow.options.tags, version=flow.options.version or "", parameters=json_parameters(given), resumable=True,
        run_key=flow.options.run_key or "", entry=entry_of(flow.plain_fn), host=f"{JOB}{file.name}",
    )  # fmt: skip
