"""The shell script of a job, as every launcher writes it; and the files in a job's folder that launchers make.

    script      what the infrastructure executes; it ends in `exec`, so that signals reach the driver
    log         what the job and its parts wrote; a restarted job appends
    reference   how the infrastructure knows the job: written once, when it has been started
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections import deque
from typing import TYPE_CHECKING

from anabranch.core.errors import LaunchError
from anabranch.core.launching import Phase, Reference

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from anabranch.core.launching import Job, Sight

SCRIPT, LOG, REFERENCE = "script", "log", "reference"
LAST = 20  # lines of a log that tell why a job ended
_LAST_BYTES = 16_384
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def quoted(text: str) -> str:
    """Return a text as one word of a shell; plain words stay as they are."""
    if text and re.fullmatch(r"[A-Za-z0-9_@%+=:,./-]+", text):
        return text
    return "'" + text.replace("'", "'\"'\"'") + "'"


def script(job: Job, directives: Iterable[str], *, redirect: bool = False) -> str:
    """Return the script of a job.

    Args:
        directives: lines for the infrastructure, at the head.
        redirect: the script itself opens the log: the infrastructure would overwrite it, or bring it late.

    Raises:
        LaunchError: the job has a name, a variable or a line that no script can hold; says which.
    """
    _check(job)
    lines = ["#!/bin/bash -l" if job.prologue else "#!/bin/bash", *directives, ""]
    if redirect:
        lines.append(f"exec >>{quoted(str(job.folder / LOG))} 2>&1")
    lines += [f"export {name}={quoted(value)}" for name, value in job.environment.items()]
    lines.append(f"cd {quoted(str(job.cwd))} || exit 1")
    lines += job.prologue
    lines.append("exec " + " ".join(quoted(word) for word in job.command))
    return "\n".join(lines) + "\n"


def _check(job: Job) -> None:
    if not _NAME.fullmatch(job.name):
        raise LaunchError(
            f"{job.name!r} is not a name for a job: take up to 100 letters, digits, '-', '_' and '.', "
            "and begin with a letter or digit"
        )
    if not job.command:
        raise LaunchError(f"job {job.name!r} has no command")
    for name in job.environment:
        if not _VARIABLE.fullmatch(name):
            raise LaunchError(f"job {job.name!r}: {name!r} is not a name of an environment variable")
    for text in (str(job.folder), str(job.cwd), *job.options):
        if "\n" in text or "\r" in text:
            raise LaunchError(f"job {job.name!r}: {text!r} has more than one line")


# -- files of the folder -------------------------------------------------------------------------


def variable(folder: Path, name: str) -> str:
    """Return a variable that the script of a job sets; "" where it does not, or there is no script."""
    begin = f"export {name}="
    try:
        lines = (folder / SCRIPT).read_text(encoding="utf-8").splitlines()
        return next((shlex.split(line)[1].removeprefix(f"{name}=") for line in lines if line.startswith(begin)), "")
    except (OSError, ValueError):
        return ""


def write_script(job: Job, text: str) -> None:
    """Write the script into the job's folder, which is made. Raises LaunchError where that cannot be."""
    try:
        job.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = job.folder / f".{SCRIPT}.{os.getpid()}"
        with open(os.open(new, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o700), "w", encoding="utf-8") as file:
            file.write(text)
        new.replace(job.folder / SCRIPT)  # in one step: a shell that reads the earlier one reads it to its end
        if not job.copies:
            (job.folder / LOG).touch(0o600)
    except OSError as error:
        raise LaunchError(f"the folder of job {job.name!r}, {job.folder}, cannot be written: {error}") from error


def started(folder: Path) -> Reference | None:
    """Return the reference of the job that was started from this folder; None where none was."""
    try:
        found = json.loads((folder / REFERENCE).read_text(encoding="utf-8"))
        return Reference(**found)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError) as error:
        raise LaunchError(f"{folder / REFERENCE} cannot be read: {error}") from error


def note(reference: Reference, folder: Path) -> None:
    """Write the reference of a started job; one that is there already stays, and raises FileExistsError."""
    new = folder / f".{REFERENCE}.{os.getpid()}"
    new.write_text(json.dumps(reference._asdict()), encoding="utf-8")
    try:
        os.link(new, folder / REFERENCE)  # not `replace`: of two that start one job, the first stays
    finally:
        new.unlink()


def succeed(folder: Path, id: str) -> None:
    """Note that the job of this folder is followed by another, which goes on with its run.

    In a folder without a reference, of a job that was started by other means, nothing is noted.
    """
    before = started(folder)
    if before is not None:
        cluster = before.id.partition(";")[2]  # a job that submits another names no cluster: it is in it
        id = f"{id};{cluster}" if cluster and ";" not in id else id
        new = folder / f".{REFERENCE}.{os.getpid()}"
        new.write_text(json.dumps(before._replace(id=id)._asdict()), encoding="utf-8")
        new.replace(folder / REFERENCE)


# -- the log -------------------------------------------------------------------------------------


def log_of(number: int | str) -> str:
    """Return the name of the log of one of several jobs alike."""
    return f"{LOG}-{number}"


def last_lines(folder: str, log: str = LOG) -> Sequence[str]:
    """Return the last lines of a job's log, without empty ones; none where there is no log."""
    try:
        with open(os.path.join(folder, log), "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _LAST_BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ()
    return tuple(deque((line.rstrip() for line in text.splitlines() if line.strip()), maxlen=LAST))


def with_last_lines(seen: Mapping[Reference, Sight]) -> dict[Reference, Sight]:
    """Return what is seen of jobs; with the last lines of the logs of those that ended badly."""

    def bad(sight: Sight) -> bool:
        return sight.phase in (Phase.ENDED, Phase.GONE) and sight.code != 0 and not sight.last

    return {
        one: sight._replace(last=last_lines(one.folder)) if bad(sight) else sight for one, sight in seen.items()
    }


def log_lines(folder: str) -> Iterator[str]:
    """Yield the lines of a job's log as far as they are there; none where there is no log yet."""
    try:
        with open(os.path.join(folder, LOG), encoding="utf-8", errors="replace") as file:
            for line in file:
                yield line.rstrip("\n")
    except FileNotFoundError:
        return
    except OSError as error:
        raise LaunchError(f"the log {os.path.join(folder, LOG)} cannot be read: {error.strerror or error}") from error
