"""Which clients a server serves: those of its own version, newer ones, and those at most two minors older."""

from __future__ import annotations

import re

HEADER = "Anabranch-Version"
OLDER = 2  # minors


def served(client: str, server: str) -> bool:
    """Return whether a server of this version serves a client that says that one; one that says none is served."""
    theirs, ours = _numbers(client), _numbers(server)
    if theirs is None or ours is None:
        return True
    return theirs[0] > ours[0] or (theirs[0] == ours[0] and theirs[1] >= ours[1] - OLDER)


def _numbers(version: str) -> tuple[int, int] | None:
    found = re.match(r"(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else None
