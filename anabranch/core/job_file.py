"""The file `job.json` in a job's folder: the run that the job is for, and what it asks for.

The program that starts the job writes the file, and the run's row and parameters to the record and the result store.
The job's driver reads the file and goes on with that run, as `anabranch resume` does.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Self

from anabranch.core.errors import LaunchError

if TYPE_CHECKING:
    from pathlib import Path

FILE = "job.json"
OWN = "own"


@dataclass(frozen=True, slots=True)
class JobFile:
    """What the folder of a job says of it.

    Attributes:
        run: id of the flow run, which waits in the record.
        run_name: the run's name.
        flow: the flow's name.
        target: where the flow is, as file:flow or folder/module:flow.
        kind: of the launcher: "process", "slurm", ...
        name: the job's.
        cwd: the working folder.
        asked: the job's resources by name, and its walltime in seconds; what is missing is up to the infrastructure.
        submitted: Unix seconds.
        host: where it was submitted from.
        record: OWN where the job keeps a record of its own, and its end alone comes back.
        pilots: jobs that the run has, this one among them; the others join it.
        options: of the batch system, for pilots that are asked for anew.
    """

    run: str
    run_name: str
    flow: str
    target: str
    kind: str
    name: str
    cwd: str = ""
    asked: dict[str, float] = field(default_factory=dict)
    submitted: float = 0.0
    host: str = ""
    record: str = ""
    pilots: int = 1
    options: list[str] = field(default_factory=list)

    def write(self, folder: Path) -> None:
        """Write the file in one step. Raises LaunchError where it cannot be written."""
        new = folder / f".{FILE}.{os.getpid()}"
        try:
            new.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")
            new.replace(folder / FILE)
        except OSError as error:
            raise LaunchError(f"{folder / FILE} cannot be written: {error.strerror or error}") from error

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the file of a folder; fields of a newer version are left out. Raises LaunchError where there is none."""
        try:
            found: Any = json.loads((folder / FILE).read_text(encoding="utf-8"))
            return cls(**{f.name: found[f.name] for f in fields(cls) if f.name in found})
        except FileNotFoundError:
            raise LaunchError(f"there is no {FILE} in {folder}: it is not the folder of a job") from None
        except (OSError, ValueError, TypeError) as error:
            raise LaunchError(f"{folder / FILE} cannot be read: {error}") from error
