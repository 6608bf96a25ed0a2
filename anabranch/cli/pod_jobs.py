"""Runs that are submitted to Kubernetes: what travels to the pod, and what comes back.

record with an address, or a home that the pod has too:  the pod writes the run itself, as any driver
record on this machine:  Scheduled --the pod runs--> Running --its log's last line, or its exit code--> final
"""

from __future__ import annotations

import json
import os
import platform
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

import anabranch
from anabranch import settings
from anabranch.core import states
from anabranch.core.errors import KubernetesError, LaunchError
from anabranch.core.job_file import OWN
from anabranch.core.launching import Phase
from anabranch.core.pod_job import VARIABLE, Parcel, end_of
from anabranch.core.runs import LogRow, TransitionRow
from anabranch.core.secrets import has_password
from anabranch.entrypoints.target import Target, target_of
from anabranch.launch.script import started

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from anabranch.core.job_file import JobFile
    from anabranch.core.launching import Job, Reference, Sight
    from anabranch.core.runs import FlowRunRow, Records
    from anabranch.launch.kubernetes import KubernetesLauncher
    from anabranch.settings import Settings

_KEPT = 10_000  # lines of a log that go into the record
_DONE = "in its pod"
_REST = 10.0  # seconds for the last lines, once the run has ended
_HOME = "env=ANABRANCH_HOME="
_LOGINS = ("service-account=", "env=KUBECONFIG=")  # options by which a pod may ask the API
_COMMAND = ("python", "-P", "-m", "anabranch", "pod")


class Code(NamedTuple):
    """Where the code of a flow is.

    Attributes:
        target: on this machine.
        within: the same target below the storage.
        storage: its reference; None: no storage has it.
    """

    target: Target
    within: str = ""
    storage: dict[str, Any] | None = None


def versions() -> str:
    """Return what a job is submitted by, and what its image has."""
    return f"Python {platform.python_version()}, anabranch {anabranch.__version__}"


def options_of(kind: str, image: str, in_image: str, source: str, given: Sequence[str]) -> tuple[str, ...]:
    """Return the options of a job, with the image and the flow's place in it among them.

    Raises:
        click.UsageError: there is an image or a storage, and the job is of no pod; or the code is in two places.
    """
    if kind != "kubernetes" and (image or in_image or source):
        raise click.UsageError(f"--image, --in-image and --from are for pods, and a job of {kind} has none")
    if in_image and source:
        raise click.UsageError("the flow's code is either in the image (--in-image) or in a storage (--from)")
    words = (("image", image), ("in-image", in_image))
    return (*(f"{name}={value}" for name, value in words if value), *given)


def record_of(chosen: Settings, options: Sequence[str]) -> tuple[str, dict[str, str]]:
    """Return OWN or "" for a shared record, and the variables by which the pod finds record and results.

    Raises:
        LaunchError: an address has a password, which does not travel in a manifest; says what to do.
    """
    secret = any(word.startswith("secret=") for word in options)
    found = {}
    if "://" in chosen.results and not _kept_back("results", chosen.results, secret):
        found = {"ANABRANCH_RESULTS": chosen.results}
    if "://" in chosen.records:
        _kept_back("records", chosen.records, secret)
        return "", found if secret else {**found, "ANABRANCH_RECORDS": chosen.records}
    homes = [word.removeprefix(_HOME) for word in options if word.startswith(_HOME)]
    home = homes[-1] if homes else ""
    return ("" if home and Path(home) == chosen.home else OWN), found


def _kept_back(what: str, address: str, secret: bool) -> bool:
    """Return whether an address has a password, which the pod gets from its Secret; without a Secret it is refused."""
    if not has_password(address):
        return False
    if not secret:
        name = f"ANABRANCH_{what.upper()}"
        raise LaunchError(
            f"the address of the {what} ({name}) has a password, and any reader of the Job would read it: kubectl "
            f'create secret generic anabranch --from-literal={name}="${name}", and --option=secret=anabranch'
        )
    return True


def for_a_pod(
    job: Job, file: JobFile, code: Code, words: Sequence[str], runner: str | None,
    once: Callable[[JobFile], bool] = lambda file: False,
) -> tuple[Job, JobFile]:  # fmt: skip
    """Return job and file for a pod: what it needs is in its variables, and nothing of this machine is.

    Args:
        words: parameters as NAME=VALUE.
        once: see the function of this name.

    Raises:
        LaunchError: the flow's files are too large to travel, or cannot be read; or see `record_of`.
    """
    given = [word.split("=", 1) for word in job.options if "=" in word]
    own, variables = record_of(settings.load(), job.options)
    file = replace(file, record=own)
    in_image = next((value for name, value in given if name == "in-image"), "")
    place, files = _place(code, in_image)
    parcel = Parcel(file, tuple(words), place, files, code.storage, runner or "", versions(), once(file))
    env = dict(value.split("=", 1) for name, value in given if name == "env" and "=" in value)
    variables = {"PYTHONUNBUFFERED": "1", **variables, **env, VARIABLE: parcel.packed()}
    options = tuple(word for word in job.options if not word.startswith("in-image="))
    return replace(job, command=_COMMAND, cwd=Path(), environment=variables, options=options), file


def _place(code: Code, in_image: str) -> tuple[str, dict[str, str]]:
    """Return where the flow is in the pod, and the texts of its files where these travel."""
    from anabranch.entrypoints import travelling

    target = code.target
    name = f":{target.flow}" if target.flow else ""
    if code.storage is not None:
        return code.within, {}
    if in_image or target.module:
        return f"{in_image or target.module}{name}", {}
    return f"{target.place.name}{name}", travelling.files_of(target.place)


def code_of(text: str, source: str, home: Path) -> Code:
    """Return where the code of a target is; that of a storage is fetched, and of git the pod gets that very commit.

    Raises:
        click.UsageError: the storage is no address.
        AnabranchError: the code cannot be had.
    """
    if not source:
        return Code(target_of(text))
    from anabranch.documents.storage import references  # `runs` reads this file too, and fetches nothing
    from anabranch.documents.storage.fetch import CACHE, fetch

    try:
        reference = references.checked(json.loads(source) if source.startswith("{") else source)
    except ValueError as error:
        raise click.UsageError(f"--from: {error}") from None
    if reference is None or references.kind_of(reference) not in ("git", "url"):
        raise click.UsageError(
            f"--from must be an address that the pod reaches, such as git+https://... or s3://..., got {source!r}; "
            "code in the image is named by --in-image"
        )
    code = fetch(reference, home / CACHE)
    if code.digest.startswith("git:"):
        reference = {**reference, "commit": code.digest.removeprefix("git:")}
    return Code(target_of(os.path.join(code.folder or "", text)), text, reference)


# -- what comes back -------------------------------------------------------------------------------


def began(records: Records, row: FlowRunRow, sight: Sight, now: float) -> None:
    """Record that a run has begun in a pod that keeps a record of its own."""
    if sight.phase is Phase.RUNNING and row.state != states.RUNNING:
        row = replace(row, state=states.RUNNING, state_name="Running", started=now)
        records.append([row, TransitionRow(row.id, -1, row.attempt, row.state, row.state_name, "", now)])
        records.flush(30.0)


def ended(
    records: Records, row: FlowRunRow, reference: Reference, sight: Sight, launcher: KubernetesLauncher, now: float
) -> None:
    """Record how a run has ended in a pod that kept a record of its own, and its log.

    Raises:
        KubernetesError: the cluster does not answer, or not to this login; the run is left as it is.
    """
    try:
        lines, read = launcher.keep_log(reference), True
    except KubernetesError as error:
        if error.code in (0, 401):
            raise
        # Its node is away, or a right is missing: no later question is sure to find more.
        lines, read = [f"the log cannot be had: {error}"], False
        sight = sight if sight.last else sight._replace(last=tuple(lines))
    state, message = end_told(lines, sight, read=read)
    if records.end(row, state, message):
        records.append([LogRow(now, 20, "anabranch.job", line, row.id) for line in lines[-_KEPT:]])
        records.flush(30.0)


def end_told(lines: Sequence[str], sight: Sight, *, read: bool = True) -> tuple[int, str]:
    """Return the state and the message of a run by its log and by what is seen of its pod.

    Args:
        read: whether the log could be read: what is not in one that could not says nothing.
    """
    told = end_of(lines) or end_of(sight.last)
    if told is not None and told[0] == states.CANCELLED and taken_away(sight):
        return states.CRASHED, f"{sight.reason}; its driver was told to end"
    if told is not None and states.is_final(told[0]):
        return told[0], told[2] or _DONE
    if told is not None:
        return states.CRASHED, f"its pod ended while it was {told[1]}: {sight.reason}; its record went with the pod"
    if sight.code == 0:
        return states.COMPLETED, _DONE
    reason = sight.reason or f"exit {sight.code}"
    last = f", last lines: {' | '.join(sight.last[-5:])}" if sight.last else ""
    before = "the pod failed before the flow began" if not _had_begun(lines) else "its driver ended with the pod"
    before = before if read else "its pod ended"
    return states.CRASHED, f"{before}: {reason}{last}"


def taken_away(sight: Sight) -> bool:
    """Return whether the cluster ended a pod: its reason is then another than the program's exit code."""
    return bool(sight.reason) and not sight.reason.startswith(("exit ", "killed by signal "))


def _had_begun(lines: Sequence[str]) -> bool:
    return any("Flow run '" in line for line in lines)


# -- following -------------------------------------------------------------------------------------


def new_lines(launcher: KubernetesLauncher, folder: Path, over: Callable[[], bool]) -> Iterator[list[str]]:
    """Yield the lines of a job's pods that have come since the last time; once its run is over, wait for the last ones.

    Where another pod goes on with the run, its lines follow.
    """
    while (reference := started(folder)) is not None:
        following = launcher.follow(reference)
        try:
            while True:
                until = time.monotonic() + _REST
                while over() and not following.done and time.monotonic() < until:
                    time.sleep(0.1)
                followed = started(folder) != reference
                yield following.lines()
                if followed:
                    break
        finally:
            following.close()


def tell() -> None:
    """Say what is to be known of a run with a record of the pod's own, before its job starts."""
    click.echo(
        "the run's record is the pod's own: state and log come back here, maps and values do not. Where the cluster "
        "takes the pod away, the record goes with it: the run is Crashed then, cannot be resumed, and is not started "
        "again. "
        "With ANABRANCH_RECORDS=postgresql://... it goes on in another pod",
        err=True,
    )


def once(launcher: KubernetesLauncher, file: JobFile, words: Sequence[str]) -> bool:
    """Return whether the pod has to ask the API before it begins a run, lest two pods run it.

    Raises:
        LaunchError: the server replaces pods, and this pod could ask nobody; says what to do.
    """
    if file.record != OWN or any(word.removeprefix("--") == "twice=allowed" for word in words):
        return False
    words = [word for word in words if not word.startswith("in-image=")]  # not one of the launcher's
    try:
        if not launcher.replaces_pods(words):
            return False
    except KubernetesError:  # the start of the job says so
        return False
    if any(word.removeprefix("--").startswith(_LOGINS) for word in words):
        return True
    raise LaunchError(
        "this server (before 1.26) makes a new pod in place of one that is deleted, and the run's record would be the "
        "pod's own: nothing could keep the flow from running twice. Let ANABRANCH_RECORDS be an address that the pod "
        "reaches too; or give the pod an account that may get and patch jobs, --option=service-account=NAME; or, where "
        "the flow may run twice, --option=twice=allowed"
    )
