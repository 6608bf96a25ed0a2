"""Slurm's queue, by its own commands: what became of jobs, and their end.

    look    one squeue for all jobs, by name; one more by id, for those of this cluster that were not in the answer
    cancel  scancel

A question that fails raises: it never means that a job has ended.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from anabranch.batch import slurm_states
from anabranch.batch.commands import ask, run
from anabranch.batch.environment import scrubbed
from anabranch.core.errors import LaunchError
from anabranch.core.launching import Phase, Reference, Sight

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from anabranch.batch.commands import Command, Ran
    from anabranch.batch.slurm_states import Line

    _Found = dict[tuple[str, str], list[Line]]

KIND = "slurm"
_MANY_NAMES = 200  # with more, all jobs of the user are asked for: a command line has an end
_MANY_IDS = 100
_ENDED = re.compile(r"invalid job id|already complet", re.IGNORECASE)


class Slurm:
    """Asks Slurm.

    Args:
        environ: variables that Slurm's commands get, without those that are not for them.
        command: what runs them.
    """

    def __init__(self, environ: Mapping[str, str] | None = None, command: Command = run) -> None:
        given = os.environ if environ is None else environ
        self.environ = scrubbed(given)
        self._cluster = given.get("SLURM_CLUSTER_NAME", "")  # in a job
        self._command = command

    def ask(self, argv: Sequence[str]) -> Ran:
        """Run one of Slurm's commands. Raises LaunchError where there is none."""
        return ask(self._command, argv, self.environ, "Slurm")

    def cluster(self) -> str:
        """Return the name of this machine's cluster; "" where Slurm does not say."""
        if self._cluster:
            return self._cluster
        try:
            answer = self.ask(["scontrol", "show", "config"])
        except LaunchError:
            return ""
        found = re.search(r"^ClusterName\s*=\s*(\S+)", answer.out, re.MULTILINE)
        self._cluster = found[1] if answer.code == 0 and found else ""
        return self._cluster

    def squeue(self, which: Sequence[str], references: Sequence[Reference] = ()) -> list[Line]:
        """Ask for jobs: in the clusters that references name, else in this machine's."""
        argv = ["squeue", "-h", "-t", "all", *_clusters(references), *which, "-O", slurm_states.FORMAT]
        answer = self.ask(argv)
        if answer.code == 0:
            return slurm_states.lines(answer.out)
        if "invalid job id" in answer.told.lower():  # all of those asked for are forgotten
            return []
        raise LaunchError(f"Slurm did not say what became of its jobs: {answer.told}")

    def named(self, name: str, cluster: str = "") -> list[Line]:
        """Ask for this user's jobs of a name."""
        which = [f"--clusters={cluster}"] if cluster else []
        return [line for line in self.squeue([*which, "--me", "-n", name]) if line.name == name]

    def look(self, references: Iterable[Reference]) -> dict[Reference, Sight]:
        """Return what is seen of each job, without lines of its log; one that Slurm has forgotten is gone.

        One that is not found counts as gone in its own cluster alone, and only if its number has no other job: several
        clusters give the same numbers, and a cluster gives them again. So it is left out where that is not so.
        """
        wanted = list(references)
        if not wanted:
            return {}
        names = ",".join(sorted({reference.name for reference in wanted}))
        by_name = ["-n", names] if len(wanted) <= _MANY_NAMES else []
        found = _by_job(self.squeue(["--me", *by_name], wanted))
        missing = [reference for reference in wanted if not _of(reference, found)]
        if any(_place(reference) for reference in missing):
            here = self.cluster()
            missing = [reference for reference in missing if _place(reference) in ("", here)]
        taken = self._by_id(missing, found)  # of another user; or forgotten
        known = {reference for reference in missing if reference not in taken}
        return {one: _sight(one, found) for one in wanted if one in known or _of(one, found)}

    def _by_id(self, missing: Sequence[Reference], found: _Found) -> set[Reference]:
        """Ask for jobs by id, and add the answer to `found`; returns those with a number that another job has."""
        taken: set[Reference] = set()
        for clusters in sorted({tuple(_clusters([reference])) for reference in missing}):
            asked = [reference for reference in missing if tuple(_clusters([reference])) == clusters]
            answer = self.squeue(["-j", ",".join(_number(reference) for reference in asked)], asked)
            numbers, told = {line.job for line in answer}, _by_job(answer)
            taken |= {one for one in asked if _number(one) in numbers and not _of(one, told)}
            for job, lines in told.items():
                found.setdefault(job, []).extend(lines)
        return taken

    def cancel(self, references: Sequence[Reference], *, at_once: bool = False) -> None:
        """Ask jobs to end, by one command; those that have ended are no error.

        Args:
            at_once: kill what runs; jobs that wait stay.
        """
        for reference in references:
            if _place(reference) and (here := self.cluster()) != reference.cluster:
                raise LaunchError(
                    f"job {_number(reference)} is one of cluster {reference.cluster}, and this machine is of "
                    f"{here or 'none that it tells'}: cancel it there"
                )
        for first in range(0, len(references), _MANY_IDS):
            some = references[first : first + _MANY_IDS]
            numbers = [_number(reference) for reference in some]
            words = ["--signal=KILL", "--full"] if at_once else []
            answer = self.ask(["scancel", *words, *_clusters(some), *numbers])
            if answer.code != 0 and not _ENDED.search(answer.told):
                raise LaunchError(f"job {', '.join(numbers)} could not be cancelled: {answer.told}")


def _sight(reference: Reference, found: _Found) -> Sight:
    seen = slurm_states.whole(_of(reference, found))
    return seen or Sight(Phase.GONE, f"Slurm knows nothing of job {_number(reference)} any more")


def _number(reference: Reference) -> str:
    return reference.id.partition(";")[0]


def _place(reference: Reference) -> str:
    """Return the cluster that has to be asked on a machine of its own; "": not known, or named in each question."""
    return "" if ";" in reference.id else reference.cluster


def _clusters(references: Iterable[Reference]) -> list[str]:
    """Return the option that names the clusters of some jobs; none where there is one cluster."""
    names = sorted({reference.id.partition(";")[2] for reference in references} - {""})
    return [f"--clusters={','.join(names)}"] if names else []


def _by_job(lines: Iterable[Line]) -> _Found:
    """Lay lines out by the number and the name of their job, once for all jobs of a look: a thousand ask each."""
    found: _Found = {}
    for line in lines:
        found.setdefault((line.job, line.name), []).append(line)
    return found


def _of(reference: Reference, found: _Found) -> list[Line]:
    """Return the lines of a job: a number alone may be that of another's."""
    return found.get((_number(reference), reference.name), [])
