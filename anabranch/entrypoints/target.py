"""Where a flow is, as a person types it or as the record has it: in a file, or in a module.

    FILE[:FLOW]              survey.py:survey       /home/me/survey.py:Class.survey
    [FOLDER/]MODULE[:FLOW]   pkg.flows:survey       /home/me/src/pkg.flows:survey

A module is looked for in FOLDER, or the working folder, and then where Python looks. A file that exists goes first.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


class Target(NamedTuple):
    """Where a flow is.

    Attributes:
        place: a file; of a module, the folder in which it is looked for first.
        module: its dotted name; "" for a file.
        flow: as the user calls it; "" where it is the only one there.
    """

    place: Path
    module: str
    flow: str

    def __str__(self) -> str:
        """Return the file or the module in words of an error."""
        return repr(self.module or str(self.place))

    def with_flow(self, name: str) -> str:
        """Return what a person types for a flow of this file or module."""
        return f"{self.module or self.place}:{name}"

    def everywhere(self) -> str:
        """Return the text that names the same flow from any folder."""
        return f"{os.path.abspath(self.place / self.module)}{self.flow and f':{self.flow}'}"


def target_of(text: str) -> Target:
    """Read a target; a colon within a file's own name does not split it."""
    place, colon, flow = text.rpartition(":")
    if not colon or Path(text).exists() or not _DOTTED.fullmatch(flow) or flow.endswith(".py"):
        place, flow = text, ""
    folder, module = _module(place) or (Path(place), "")
    return Target(folder, module, flow)


def _module(place: str) -> tuple[Path, str] | None:
    """Return the folder and the name of a module; None for a file, and for a folder that is no package."""
    folder, name = os.path.split(place)
    if not _DOTTED.fullmatch(name) or name.endswith(".py") or not os.path.isdir(folder or "."):
        return None
    if os.path.exists(place) and not os.path.isfile(os.path.join(place, "__init__.py")):
        return None
    return Path(folder or "."), name
