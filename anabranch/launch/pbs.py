"""Jobs of PBS, by its own commands: written after recorded outputs of PBS 19 to 2022, and not tried on a real one.

    start           qsub; where its answer is lost: qselect by the job's name, before qsub is called once more
    look, cancel    `batch.pbs`
    logs            the file in the job's folder, which the job's script opens: PBS brings its own at the end only

A question that fails raises: it never means that a job has ended.
"""

from __future__ import annotations

import math
import re
import time
from typing import TYPE_CHECKING

from anabranch.batch import pbs
from anabranch.batch.commands import run
from anabranch.batch.pbs_states import job_id
from anabranch.batch.silences import is_silence
from anabranch.core.errors import LaunchError
from anabranch.launch import script
from anabranch.launch.handing_over import hand_over

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    from anabranch.batch.commands import Command, Ran
    from anabranch.core.launching import Job, Reference, Sight

# Part of what qsub says, in lower case, and what to do about it.
_WAYS_OUT = {
    "unknown queue": "`qstat -Q` lists the queues; give one with --option='-q NAME'",
    "job exceeds queue": "ask for less, or for another queue: `qstat -Qf` tells their limits",
    "resource limit": "ask for less, or for another queue: `qstat -Qf` tells their limits",
    "account": "give a project of yours with --option='-A NAME'",
    "project": "give a project of yours with --option='-P NAME'",
    "per-user limit": "you have as many jobs in the queue as the site allows: wait, or cancel some",
    "would exceed": "you have as many jobs in the queue as the site allows: wait, or cancel some",
    "illegal attribute": "an option is not one of this PBS: `man qsub` lists them",
}


class PbsLauncher:
    """Starts a job by `qsub`.

    Args:
        without: directives that the site forbids, such as "-V" or "-l place": they are left out.
        environ: variables that PBS's commands and the job get.
        command, sleep: what runs them, and what waits before one is run again.
    """

    kind = pbs.KIND
    queue_name = "PBS"

    def __init__(
        self, *, without: Collection[str] = (), environ: Mapping[str, str] | None = None, command: Command = run,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:  # fmt: skip
        self._without = frozenset(without)
        self._pbs = pbs.Pbs(environ, command)
        self._ask = self._pbs.ask
        self._sleep = sleep

    def render(self, job: Job) -> str:
        """As of `Launcher`."""
        return script.script(job, [f"#PBS {line}" for line in directives(job, self._without)], redirect=True)

    def start(self, job: Job) -> Reference:
        """As of `Launcher`."""
        return hand_over(self, job, self._sleep)

    def submit(self, job: Job) -> Ran:
        """Call qsub."""
        return self._ask(["qsub", str(job.folder / script.SCRIPT)])

    def id_of(self, out: str) -> str:
        """Return the id that qsub printed."""
        return job_id(out)

    def refusal(self, answer: Ran) -> str:
        """Return why qsub does not take a job; "" where the server may have it."""
        told = answer.told.lower()
        if answer.code is None or answer.code < 0 or is_silence(told):
            return ""
        way = next((way for words, way in _WAYS_OUT.items() if words in told), "")
        return f"PBS does not take the job: {answer.told}{f'. {way[0].upper()}{way[1:]}' if way else ''}"

    def find(self, job: Job) -> str:
        """Return the id of a job of this one's name, "" where PBS has none."""
        return (self._pbs.named(job.name) or [""])[-1]

    def cluster(self) -> str:
        """Return nothing: ids of PBS name their server."""
        return ""

    def look(self, references: Iterable[Reference]) -> dict[Reference, Sight]:
        """As of `Launcher`; a job that PBS has forgotten is gone."""
        return script.with_last_lines(self._pbs.look(references))

    def cancel(self, reference: Reference) -> None:
        """As of `Launcher`."""
        self._pbs.cancel([reference])

    def kill(self, reference: Reference) -> None:
        """As of `Launcher`; PBS keeps its own grace."""
        self._pbs.cancel([reference])

    def logs(self, reference: Reference) -> Iterator[str]:
        """As of `Launcher`."""
        return script.log_lines(reference.folder)


def directives(job: Job, without: Collection[str] = ()) -> list[str]:
    """Return the options of qsub for a job; those that the job brings itself replace ours."""
    asked = job.resources
    chunk = [
        f"select={asked.nodes}",
        f"ncpus={asked.cpus}" if asked.cpus else "",
        f"mem={math.ceil(asked.memory / 2**20)}mb" if asked.memory else "",
        f"ngpus={asked.gpus}" if asked.gpus else "",
    ]
    ours = [
        f"-N {job.name}",
        "-j oe",
        f"-o {script.quoted(str(job.folder / 'pbs-output'))}",
        "-V",
        f"-l {':'.join(filter(None, chunk))}",
        "-l place=scatter" if asked.nodes > 1 else "",
        f"-l walltime={_time(job.walltime)}" if job.walltime else "",
        "-r y",
    ]
    for option in job.options:
        if not re.match(r"-[A-Za-z](\s|\w|$)", option):
            raise LaunchError(f"{option!r} is not an option for qsub: write it as '-q short' or '-l place=excl'")
        if _key(option) in ("-J", "-N", "-o", "-e", "-j"):
            raise LaunchError(f"{option!r} cannot be given for {job.name!r}: one flow is one job, with a log of ours")
    left_out = {_key(word) for word in (*job.options, *without)}
    return [line for line in ours if line and _key(line) not in left_out] + list(job.options)


def _key(option: str) -> str:
    """Return what an option is about: its letter, and for a resource the resource."""
    letter, value = option[:2], option[2:].strip()
    return f"-l {re.split('[=:]', value)[0]}" if letter == "-l" else letter


def _time(seconds: float) -> str:
    whole = math.ceil(seconds)
    return f"{whole // 3600:02}:{whole % 3600 // 60:02}:{whole % 60:02}"
