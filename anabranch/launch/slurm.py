"""Jobs of Slurm, by its own commands.

    start           sbatch; where its answer is lost: squeue by the job's name, before sbatch is called once more
    look, cancel    `batch.slurm`
    logs            the file in the job's folder

A question that fails raises: it never means that a job has ended.
"""

from __future__ import annotations

import math
import re
import time
from typing import TYPE_CHECKING

from anabranch.batch import slurm
from anabranch.batch.commands import run
from anabranch.batch.slurm_refusals import job_id, refusal, unclear
from anabranch.core import slurm_words
from anabranch.core.errors import LaunchError
from anabranch.launch import script
from anabranch.launch.handing_over import hand_over

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    from anabranch.batch.commands import Command, Ran
    from anabranch.core.launching import Job, Reference, Sight

_WARNING = 120  # seconds before the end of the walltime at which the driver is told


class SlurmLauncher:
    """Starts a job by `sbatch`.

    Args:
        without: directives that the site forbids, such as "--mem": they are left out.
        environ: variables that Slurm's commands and the job get.
        command, sleep: what runs them, and what waits before one is run again.
    """

    kind = slurm.KIND
    queue_name = "Slurm"

    def __init__(
        self, *, without: Collection[str] = (), environ: Mapping[str, str] | None = None, command: Command = run,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:  # fmt: skip
        self._without = frozenset(without)
        self._slurm = slurm.Slurm(environ, command)
        self._ask = self._slurm.ask
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
        for cluster in self.goes_to(job) or [""]:
            for line in sorted(self._slurm.named(job.name, cluster), key=lambda line: line.state in slurm_words.ENDS):
                return f"{line.job};{cluster}" if cluster else line.job
        return ""

    def goes_to(self, job: Job) -> list[str]:
        """Return the clusters that sbatch chooses from for a job; none: this machine's."""
        given = self._slurm.environ.get("SBATCH_CLUSTERS", "")
        for option in job.options:
            if _key(option) in ("--clusters", "--cluster"):
                given = option.partition("=")[2] if "=" in option else option[2:]
        return [name for name in given.split(",") if name]

    def cluster(self) -> str:
        """Return the name of this machine's cluster; "" where Slurm does not say."""
        return self._slurm.cluster()

    def look(self, references: Iterable[Reference]) -> dict[Reference, Sight]:
        """As of `Launcher`; a job that Slurm has forgotten is gone. See `batch.slurm.Slurm.look`."""
        return script.with_last_lines(self._slurm.look(references))

    def cancel(self, reference: Reference) -> None:
        """As of `Launcher`."""
        self._slurm.cancel([reference])

    def kill(self, reference: Reference) -> None:
        """As of `Launcher`."""
        self._slurm.cancel([reference])
        self._slurm.cancel([reference], at_once=True)

    def logs(self, reference: Reference) -> Iterator[str]:
        """As of `Launcher`."""
        return script.log_lines(reference.folder)


def directives(job: Job, without: Collection[str] = ()) -> list[str]:
    """Return the options of sbatch for a job; those that the job brings itself replace ours."""
    asked = job.resources
    ours = [
        f"--job-name={job.name}",
        f"--output={script.quoted(_log(job))}",
        f"--array=1-{job.copies}" if job.copies else "",
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
            raise LaunchError(f"{option!r} is not an option for sbatch: write it as --NAME=VALUE")
    left_out = own | {_key(word) for word in without} | {_INSTEAD[name] for name in own & _INSTEAD.keys()}
    return [line for line in ours if line and _key(line) not in left_out] + [_directive(word) for word in job.options]


def one_processor(job: Job) -> str:
    """Return the sentence that a job may get one processor a node; "" where it says how many it wants."""
    if job.resources.cpus or {_key(option) for option in job.options} & _PROCESSORS:
        return ""
    return "Slurm gives one processor a node: --cpus N, or --option=--exclusive"


def _log(job: Job) -> str:
    """Return where a job writes, as Slurm reads it."""
    folder = str(job.folder).replace("%", "%%")
    return f"{folder}/{script.log_of('%a') if job.copies else script.LOG}"


_SHORT = {"-p": "--partition", "-A": "--account", "-q": "--qos", "-c": "--cpus-per-task", "-N": "--nodes",
          "-t": "--time", "-J": "--job-name", "-o": "--output", "-e": "--error", "-a": "--array", "-W": "--wait",
          "-C": "--constraint", "-G": "--gpus", "-M": "--clusters"}  # fmt: skip

# Options that take the place of one of ours: Slurm refuses the two together.
_INSTEAD = {"--no-requeue": "--requeue", "--mem-per-cpu": "--mem", "--mem-per-gpu": "--mem",
            "--gres": "--gpus-per-node", "--gpus": "--gpus-per-node", "--ntasks": "--ntasks-per-node"}  # fmt: skip

# Options by which a job says how many processors it wants.
_PROCESSORS = {"--cpus-per-task", "--cpus-per-gpu", "--ntasks", "-n", "--ntasks-per-node", "--exclusive"}


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
