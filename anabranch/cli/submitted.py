"""The job of a run, as its folder on this machine tells of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

    from anabranch.core.job_file import JobFile
    from anabranch.core.launching import Reference


class Submitted(NamedTuple):
    """The job of a run.

    Attributes:
        reference: None: it is being started, or could not be.
    """

    folder: Path
    file: JobFile
    reference: Reference | None
