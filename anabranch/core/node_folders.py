"""Folders of this node's own disk, which no other machine sees."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from anabranch.core.network_files import shared

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRATCH = "ab-"  # how the names of our folders there begin


def node_folders() -> Iterator[str]:
    """Yield where files of this node alone may lie, the batch system's choice first; they may be missing, or full."""
    places = [outside(os.environ.get("TMPDIR", "")), "/tmp", "/var/tmp", "/dev/shm"]
    for place in dict.fromkeys(places):
        if place and not shared(place):
            yield place


def outside(folder: str) -> str:
    """Return where the batch system lets a job put such files: a folder made here is in $TMPDIR of what is started."""
    while os.path.basename(folder).startswith(SCRATCH):
        folder = os.path.dirname(folder)
    return folder
