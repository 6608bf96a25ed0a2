"""Jobs alike of Slurm, by its own commands: an array, and those of it that are asked for anew under another id.

They have one name, by which all of them are found and cancelled, and each has a number, whatever its id.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from anabranch.batch import slurm_states
from anabranch.batch.commands import run
from anabranch.batch.slurm import Slurm
from anabranch.batch.slurm_refusals import job_id, refusal
from anabranch.core.errors import LaunchError
from anabranch.core.launching import Phase
from anabranch.launch import script

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from anabranch.batch.commands import Command
    from anabranch.core.launching import Sight


class SlurmCopies:
    """The jobs alike of a folder that a launcher has started; see `Job.copies`.

    Args:
        name: of the jobs.
        cluster: that they are in, where Slurm has several; "": this machine's.
        options: of sbatch; those of the jobs' script.
        environ: variables that Slurm's commands and the jobs get.
        command: what runs them.
    """

    def __init__(
        self, folder: Path, name: str, *, cluster: str = "", options: Sequence[str] = (),
        environ: Mapping[str, str] | None = None, command: Command = run,
    ) -> None:  # fmt: skip
        self._folder = folder
        self._name = name
        self._cluster = cluster
        self._there = [f"--clusters={cluster}"] if cluster else []
        self._options = options
        self._slurm = Slurm(environ, command)

    def look(self) -> dict[int, Sight]:
        """Return what is seen of each, by its number, by one question; forgotten ones are left out."""
        found = self._slurm.named(self._name, self._cluster)
        numbers = sorted({number for line in found for number in line.parts})
        seen = {number: slurm_states.whole(line for line in found if number in line.parts) for number in numbers}
        return {number: self._with_last(number, one) for number, one in seen.items() if one}

    def _with_last(self, number: int, seen: Sight) -> Sight:
        if seen.phase is not Phase.ENDED or seen.code == 0:
            return seen
        return seen._replace(last=script.last_lines(str(self._folder), script.log_of(number)))

    def start(self, numbers: Sequence[int]) -> str:
        """Start some of them once more; returns their id. Raises LaunchError where Slurm does not take them.

        Options stand on the command line too, where they are stronger than SBATCH_PARTITION. Where they name several
        clusters, the last word is the one that the others are in.
        """
        options = [*self._options, *self._there, f"--array={','.join(map(str, numbers))}"]
        answer = self._slurm.ask(["sbatch", "--parsable", *options, str(self._folder / script.SCRIPT)])
        if answer.code == 0 and (id := job_id(answer.out)):
            return id
        raise LaunchError(refusal(answer.told))

    def cancel(self, *, waiting: bool = False) -> None:
        """Ask all of them to end; those that have ended are no error.

        Args:
            waiting: only those that have not begun.
        """
        which = [*self._there, f"--name={self._name}", *(["--state=PENDING"] if waiting else [])]
        answer = self._slurm.ask(["scancel", *which])
        if answer.code != 0 and "invalid job id" not in answer.told.lower():
            raise LaunchError(f"jobs {self._name!r} could not be cancelled: {answer.told}")
