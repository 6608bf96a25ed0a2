"""Jobs of Slurm, by its own commands.

    start   sbatch; where its answer is lost: squeue by the job's name, before sbatch is called once more
    look    one squeue for all jobs, by name; one more by id, for those of this cluster that were not in the answer
    cancel  scancel
    logs    the file in the job's folder

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
from anabranch.launch import script, slurm_states
from anabranch.launch.commands import ask, run
from anabranch.launch.handing_over import hand_over
from anabranch.launch.slurm_refusals import job_id, refusal, unclear

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from anabranch.core.launching import Job
    from anabranch.launch.commands import Command, Ran
    from anabranch.launch.slurm_states import Line

KIND = "slurm"
_MANY_NAMES = 200  # with more, all jobs of the user are asked for: a command line has an end
_WARNING = 120  # seconds before the end of the walltime at which the driver is told
_KEPT = re.compile(r"SLURM_(CONF|CLUSTERS)|SBATCH_(ACCOUNT|PARTITION|QOS|CONSTRAINT|RESERVATION|CLUSTERS|WCKEY)")
_OURS = re.compile(r"SBATCH_|SQUEUE_|SCANCEL_|SLURM_TIME_FORMAT")
_OF_A_JOB = re.compile(r"SLURM_|PMI|TMPDIR$|CUDA_VISIBLE_DEVICES$|ROCR_VISIBLE_DEVICES$|GPU_DEVICE_ORDINAL$")


class SlurmLauncher:
    """Starts a job by `sbatch`.

    Args:
        without: directives that the site forbids, such as "--mem": they are left out.
        environ: variables that Slurm's commands and the job get.
        command, sleep: what runs them, and what waits before one is run again.
    """

    kind = KIND
    queue_name = "Slurm"

    def __init__(
        self, *, without: Collection[str] = (), environ: Mapping[str, str] | None = None, command: Command = run,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:  # fmt: skip
        self._without = frozenset(without)
        given = os.environ if environ is None else environ
        self._environ = scrubbed(given)
        self._cluster = given.get("SLURM_CLUSTER_NAME", "")  # in a job
        self._command = command
        self._sleep = sleep

    def render(self, job: Job) -> str:
        """As of `Launcher`."""
        return script.script(job, [f"#SBATCH {line}" for line in directives(job, self._without)])

    def start(self, job: Job) -> Reference:
        """As of `Launcher`."""
        return hand_over(self, job, self._sleep)

    def submit(self, job: Job) -> Ran:
        """Call sbatch; options stand on its command line too, where they are stronger than SBATCH_PARTITION."""
        return self._ask(["sbatch", "--parsable", *job.options, str(job.folder / script.SCRIPT)])

    def id_of(self, out: str) -> str:
        """Return the id that sbatch printed."""
        return job_id(out)

    def refusal(self, answer: Ran) -> str:
        """Return why sbatch does not take a job; "" where the controller may have it."""
        return "" if unclear(answer.code, answer.told) else refusal(answer.told)

    def find(self, job: Job) -> str:
        """Return the id of a job of this one's name, "" where Slurm has none; one that has not ended comes first."""
        for cluster in self._goes_to(job) or [""]:
            which = [f"--clusters={cluster}"] if cluster else []
            found = [line for line in self._squeue([*which, "--me", "-n", job.name]) if line.name == job.name]
            for line in sorted(found, key=lambda line: line.state in slurm_states.ENDS):
                return f"{line.job};{cluster}" if cluster else line.job
        return ""

    def _goes_to(self, job: Job) -> list[str]:
        """Return the clusters that sbatch chooses from for a job; none: this machine's."""
        given = self._environ.get("SBATCH_CLUSTERS", "")
        for option in job.options:
            if _key(option) in ("--clusters", "--cluster"):
                given = option.partition("=")[2] if "=" in option else option[2:]
        return [name for name in given.split(",") if name]

    def cluster(self) -> str:
        """Return the name of this machine's cluster; "" where Slurm does not say."""
        if self._cluster:
            return self._cluster
        try:
            answer = self._ask(["scontrol", "show", "config"])
        except LaunchError:
            return ""
        found = re.search(r"^ClusterName\s*=\s*(\S+)", answer.out, re.MULTILINE)
        return found[1] if answer.code == 0 and found else ""

    def look(self, references: Iterable[Reference]) -> dict[Reference, Sight]:
        """As of `Launcher`; a job that Slurm has forgotten is gone.

        One that is not found counts as gone in its own cluster alone, and only if its number has no other job: several
        clusters give the same numbers, and a cluster gives them again. So it is left out where that is not so.
        """
        wanted = list(references)
        if not wanted:
            return {}
        names = ",".join(sorted({reference.name for reference in wanted}))
        by_name = ["-n", names] if len(wanted) <= _MANY_NAMES else []
        found = self._squeue(["--me", *by_name], wanted)
        missing = [reference for reference in wanted if not _of(reference, found)]
        if any(_place(reference) for reference in missing):
            here = self.cluster()
            missing = [reference for reference in missing if _place(reference) in ("", here)]
        taken = self._by_id(missing, found)  # of another user; or forgotten
        known = {reference for reference in missing if reference not in taken}
        return {one: self._sight(one, found) for one in wanted if one in known or _of(one, found)}

    def _by_id(self, missing: Sequence[Reference], found: list[Line]) -> set[Reference]:
        """Ask for jobs by id, and add the answer to `found`; returns those with a number that another job has."""
        taken: set[Reference] = set()
        for clusters in sorted({tuple(_clusters([reference])) for reference in missing}):
            asked = [reference for reference in missing if tuple(_clusters([reference])) == clusters]
            answer = self._squeue(["-j", ",".join(_number(reference) for reference in asked)], asked)
            numbers = {line.job for line in answer}
            taken |= {one for one in asked if _number(one) in numbers and not _of(one, answer)}
            found += answer
        return taken

    def _sight(self, reference: Reference, found: list[Line]) -> Sight:
        seen = slurm_states.whole(_of(reference, found))
        if seen is None:
            seen = Sight(Phase.GONE, f"Slurm knows nothing of job {_number(reference)} any more")
        if seen.phase in (Phase.ENDED, Phase.GONE) and seen.code != 0:
            seen = seen._replace(last=script.last_lines(reference.folder))
        return seen

    def _squeue(self, which: Sequence[str], references: Sequence[Reference] = ()) -> list[Line]:
        argv = ["squeue", "-h", "-t", "all", *_clusters(references), *which, "-O", slurm_states.FORMAT]
        answer = self._ask(argv)
        if answer.code == 0:
            return slurm_states.lines(answer.out)
        if "invalid job id" in answer.told.lower():  # all of those asked for are forgotten
            return []
        raise LaunchError(f"Slurm did not say what became of its jobs: {answer.told}")

    def cancel(self, reference: Reference) -> None:
        """As of `Launcher`."""
        if _place(reference) and (here := self.cluster()) != reference.cluster:
            raise LaunchError(
                f"job {_number(reference)} is one of cluster {reference.cluster}, and this machine is of "
                f"{here or 'none that it tells'}: cancel it there"
            )
        answer = self._ask(["scancel", *_clusters([reference]), _number(reference)])
        if answer.code != 0 and "invalid job id" not in answer.told.lower():
            raise LaunchError(f"job {_number(reference)} could not be cancelled: {answer.told}")

    def logs(self, reference: Reference) -> Iterator[str]:
        """As of `Launcher`."""
        return script.log_lines(reference.folder)

    def _ask(self, argv: Sequence[str]) -> Ran:
        return ask(self._command, argv, self._environ, "Slurm")


def directives(job: Job, without: Collection[str] = ()) -> list[str]:
    """Return the options of sbatch for a job; those that the job brings itself replace ours."""
    asked = job.resources
    ours = [
        f"--job-name={job.name}",
        f"--output={script.quoted(str(job.folder / script.LOG).replace('%', '%%'))}",
        "--open-mode=append",
        "--export=ALL",
        f"--nodes={asked.nodes}",
        "--ntasks-per-node=1",
        f"--cpus-per-task={asked.cpus}" if asked.cpus else "",
        f"--mem={math.ceil(asked.memory / 2**20)}M" if asked.memory else "",
        f"--gpus-per-node={asked.gpus}" if asked.gpus else "",
        f"--time={_time(job.walltime)}" if job.walltime else "",
        f"--signal=B:USR1@{_warning(job.walltime)}",
        "--requeue",
    ]
    own = {_key(option) for option in job.options}
    for banned in own & {"--array", "--job-name", "--output", "--error", "--parsable", "--wait", "--wrap"}:
        raise LaunchError(f"{banned} cannot be given for job {job.name!r}: one flow is one job, with a log of ours")
    for option in job.options:
        if not re.match(r"--?[A-Za-z][\w-]*(=|$)", option):
            raise LaunchError(f"{option!r} is no option for sbatch: write it as --NAME=VALUE")
    left_out = own | {_key(word) for word in without} | {_INSTEAD[name] for name in own & _INSTEAD.keys()}
    return [line for line in ours if line and _key(line) not in left_out] + [_directive(word) for word in job.options]


_SHORT = {"-p": "--partition", "-A": "--account", "-q": "--qos", "-c": "--cpus-per-task", "-N": "--nodes",
          "-t": "--time", "-J": "--job-name", "-o": "--output", "-e": "--error", "-a": "--array", "-W": "--wait",
          "-C": "--constraint", "-G": "--gpus", "-M": "--clusters"}  # fmt: skip

# Options that take the place of one of ours: Slurm refuses the two together.
_INSTEAD = {"--no-requeue": "--requeue", "--mem-per-cpu": "--mem", "--mem-per-gpu": "--mem",
            "--gres": "--gpus-per-node", "--gpus": "--gpus-per-node", "--ntasks": "--ntasks-per-node"}  # fmt: skip


def _key(option: str) -> str:
    """Return the name of an option; a short one's long name."""
    if not option.startswith("--"):
        return _SHORT.get(option[:2], option[:2])
    return option.partition("=")[0]


def _directive(option: str) -> str:
    name, equals, value = option.partition("=")
    return f"{name}={script.quoted(value)}" if equals else option


def _time(seconds: float) -> str:
    """Return a walltime as Slurm reads it; it counts whole minutes."""
    minutes = max(1, math.ceil(seconds / 60))
    days, rest = divmod(minutes, 24 * 60)
    return f"{f'{days}-' if days else ''}{rest // 60:02}:{rest % 60:02}:00"


def _warning(walltime: float) -> int:
    """Return how many seconds before its end a job is told: less for a short one, which would be told at once."""
    return _WARNING if not walltime else max(1, min(_WARNING, int(walltime // 4)))


def scrubbed(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables for Slurm's commands, and so for a job.

    Variables that change what the commands do or print are left out, and so is the end of a walltime. Inside a job
    those are left out too that tell of that job: the new one would take them for its own. What a site or a user chooses
    by a variable stays.
    """
    inside = "SLURM_JOB_ID" in environ
    return {
        name: value
        for name, value in environ.items()
        if _KEPT.fullmatch(name)
        or not (name == WALLTIME_END or _OURS.match(name) or (inside and _OF_A_JOB.match(name)))
    }


def _number(reference: Reference) -> str:
    return reference.id.partition(";")[0]


def _place(reference: Reference) -> str:
    """Return the cluster that has to be asked on a machine of its own; "": not known, or named in each question."""
    return "" if ";" in reference.id else reference.cluster


def _clusters(references: Iterable[Reference]) -> list[str]:
    """Return the option that names the clusters of some jobs; none where there is one cluster."""
    names = sorted({reference.id.partition(";")[2] for reference in references} - {""})
    return [f"--clusters={','.join(names)}"] if names else []


def _of(reference: Reference, found: Iterable[Line]) -> list[Line]:
    """Return the lines of a job: a number alone may be that of another's."""
    return [line for line in found if line.job == _number(reference) and line.name == reference.name]
