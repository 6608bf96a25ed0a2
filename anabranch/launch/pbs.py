"""Jobs of PBS, by its own commands: written after recorded outputs of PBS 19 to 2022, and not tried on a real one.

    start   qsub; where its answer is lost: qselect by the job's name, before qsub is called once more
    look    one qstat for all jobs
    cancel  qdel
    logs    the file in the job's folder, which the job's script opens: PBS brings its own at the end only

A question that fails raises: it never means that a job has ended.
"""

from __future__ import annotations

import math
import os
import re
import time
from typing import TYPE_CHECKING

from anabranch.core.errors import LaunchError
from anabranch.core.launching import WALLTIME_END, Phase, Reference, Sight
from anabranch.launch import pbs_states, script
from anabranch.launch.commands import ask, run
from anabranch.launch.handing_over import hand_over
from anabranch.launch.pbs_states import job_id

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from anabranch.core.launching import Job
    from anabranch.launch.commands import Command, Ran

KIND = "pbs"
_UNCLEAR = ("cannot connect", "connection refused", "timed out", "timeout", "end of file", "communication failure")
_FORGOTTEN = "unknown job id"
_OF_A_JOB = re.compile(r"PBS_(?!CONF_FILE|DEFAULT|SERVER)|TMPDIR$|CUDA_VISIBLE_DEVICES$")
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

    kind = KIND
    queue_name = "PBS"

    def __init__(
        self, *, without: Collection[str] = (), environ: Mapping[str, str] | None = None, command: Command = run,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:  # fmt: skip
        self._without = frozenset(without)
        self._environ = scrubbed(os.environ if environ is None else environ)
        self._command = command
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
        if answer.code is None or answer.code < 0 or any(words in told for words in _UNCLEAR):
            return ""
        way = next((way for words, way in _WAYS_OUT.items() if words in told), "")
        return f"PBS does not take the job: {answer.told}{f'. {way[0].upper()}{way[1:]}' if way else ''}"

    def find(self, job: Job) -> str:
        """Return the id of a job of this one's name, "" where PBS has none."""
        answer = self._ask(["qselect", "-x", "-N", job.name])
        if answer.code != 0:
            raise LaunchError(f"PBS did not say whether it has job {job.name!r}: {answer.told}")
        return job_id(answer.out)

    def cluster(self) -> str:
        """Return nothing: ids of PBS name their server."""
        return ""

    def look(self, references: Iterable[Reference]) -> dict[Reference, Sight]:
        """As of `Launcher`; a job that PBS has forgotten is gone."""
        wanted = list(references)
        if not wanted:
            return {}
        found = self._qstat([reference.id for reference in wanted])
        return {reference: _sight(reference, found) for reference in wanted}

    def _qstat(self, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Ask for jobs; an answer that is broken as JSON is asked for as text."""
        answer = self._ask(["qstat", "-x", "-f", "-F", "json", *ids])
        _check(answer)
        try:
            return pbs_states.jobs(answer.out) if answer.out.strip() else {}
        except ValueError:
            answer = self._ask(["qstat", "-x", "-f", *ids])
            _check(answer)
            return pbs_states.jobs_of_text(answer.out)

    def cancel(self, reference: Reference) -> None:
        """As of `Launcher`."""
        answer = self._ask(["qdel", reference.id])
        if answer.code != 0 and not any(words in answer.told.lower() for words in (_FORGOTTEN, "finished")):
            raise LaunchError(f"job {reference.id} could not be cancelled: {answer.told}")

    def logs(self, reference: Reference) -> Iterator[str]:
        """As of `Launcher`."""
        return script.log_lines(reference.folder)

    def _ask(self, argv: Sequence[str]) -> Ran:
        return ask(self._command, argv, self._environ, "PBS")


def _check(answer: Ran) -> None:
    """Raise unless qstat has answered; it fails for jobs that it has forgotten, and tells of the others."""
    if answer.code != 0 and _FORGOTTEN not in answer.told.lower():
        raise LaunchError(f"PBS did not say what became of its jobs: {answer.told}")


def _sight(reference: Reference, found: Mapping[str, Mapping[str, Any]]) -> Sight:
    number = reference.id.partition(".")[0]
    told = found.get(reference.id) or next((one for id, one in found.items() if id.partition(".")[0] == number), None)
    if told is None:
        seen = Sight(Phase.GONE, f"PBS knows nothing of job {reference.id} any more")
    else:
        seen = pbs_states.sight(told)
    if seen.phase in (Phase.ENDED, Phase.GONE) and seen.code != 0:
        seen = seen._replace(last=script.last_lines(reference.folder))
    return seen


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
            raise LaunchError(f"{option!r} is no option for qsub: write it as '-q short' or '-l place=excl'")
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


def scrubbed(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables for PBS's commands, and so for a job: without those of a job around, and its end."""
    inside = "PBS_JOBID" in environ
    return {
        name: value
        for name, value in environ.items()
        if not (name == WALLTIME_END or (inside and _OF_A_JOB.match(name)))
    }
