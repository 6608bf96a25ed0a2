"""PBS's queue, by its own commands: written after recorded outputs of PBS 19 to 2022, and not tried on a real one.

    look    one qstat for all jobs
    cancel  qdel

A question that fails raises: it never means that a job has ended.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from anabranch.batch import pbs_states
from anabranch.batch.commands import ask, run
from anabranch.batch.environment import scrubbed
from anabranch.core.errors import LaunchError
from anabranch.core.launching import Phase, Sight

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from anabranch.batch.commands import Command, Ran
    from anabranch.core.launching import Reference

KIND = "pbs"
_FORGOTTEN = "unknown job id"
_MANY_IDS = 100


class Pbs:
    """Asks PBS.

    Args:
        environ: variables that PBS's commands get, without those that are not for them.
        command: what runs them.
    """

    def __init__(self, environ: Mapping[str, str] | None = None, command: Command = run) -> None:
        self.environ = scrubbed(os.environ if environ is None else environ)
        self._command = command

    def ask(self, argv: Sequence[str]) -> Ran:
        """Run one of PBS's commands. Raises LaunchError where there is none."""
        return ask(self._command, argv, self.environ, "PBS")

    def cluster(self) -> str:
        """Return nothing: ids of PBS name their server."""
        return ""

    def named(self, name: str, *, ended: bool = True) -> list[str]:
        """Return the ids of jobs of a name, perhaps with those that have ended."""
        answer = self.ask(["qselect", *(["-x"] if ended else []), "-N", name])
        if answer.code != 0:
            raise LaunchError(f"PBS did not say whether it has job {name!r}: {answer.told}")
        return [id for line in answer.out.splitlines() if (id := pbs_states.job_id(line))]

    def look(self, references: Iterable[Reference]) -> dict[Reference, Sight]:
        """Return what is seen of each job, without lines of its log; one that PBS has forgotten is gone."""
        wanted = list(references)
        if not wanted:
            return {}
        found = self._qstat([reference.id for reference in wanted])
        return {reference: _sight(reference, found) for reference in wanted}

    def _qstat(self, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Ask for jobs; an answer that is broken as JSON is asked for as text."""
        answer = self.ask(["qstat", "-x", "-f", "-F", "json", *ids])
        _check(answer)
        try:
            return pbs_states.jobs(answer.out) if answer.out.strip() else {}
        except ValueError:
            answer = self.ask(["qstat", "-x", "-f", *ids])
            _check(answer)
            return pbs_states.jobs_of_text(answer.out)

    def cancel(self, references: Sequence[Reference]) -> None:
        """Ask jobs to end, by one command; those that have ended are no error."""
        for first in range(0, len(references), _MANY_IDS):
            ids = [reference.id for reference in references[first : first + _MANY_IDS]]
            answer = self.ask(["qdel", *ids])
            if answer.code != 0 and not any(words in answer.told.lower() for words in (_FORGOTTEN, "finished")):
                raise LaunchError(f"job {', '.join(ids)} could not be cancelled: {answer.told}")


def _check(answer: Ran) -> None:
    """Raise unless qstat has answered; it fails for jobs that it has forgotten, and tells of the others."""
    if answer.code != 0 and _FORGOTTEN not in answer.told.lower():
        raise LaunchError(f"PBS did not say what became of its jobs: {answer.told}")


def _sight(reference: Reference, found: Mapping[str, Mapping[str, Any]]) -> Sight:
    number = reference.id.partition(".")[0]
    told = found.get(reference.id) or next((one for id, one in found.items() if id.partition(".")[0] == number), None)
    return pbs_states.sight(told) if told else Sight(Phase.GONE, f"PBS knows nothing of job {reference.id} any more")
