"""A folder of this node alone for what workers spill, removed at the end."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from typing import TYPE_CHECKING

from anabranch.core.errors import RunnerError
from anabranch.core.node_folders import SCRATCH, node_folders

if TYPE_CHECKING:
    from collections.abc import Iterator

SOCKET_ROOT = 38  # bytes; Ray's sockets lie far below it, and a socket's path has at most 107


@contextlib.contextmanager
def scratch(name: str, *, short: bool = False) -> Iterator[str]:
    """Make a folder with mode 0700 in $TMPDIR, or in /tmp where that one is on a network, too long or missing.

    Args:
        name: the folder's, but for its begin and end; several sets of one job have a folder each.
        short: sockets will lie in it.

    Raises:
        RunnerError: there is no room for it.
    """
    made = _made(name, short)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _made(name: str, short: bool) -> str:
    tried = []
    for place in node_folders():
        if short and len(os.fsencode(place)) + len(SCRATCH) + len(name) + 10 > SOCKET_ROOT:
            continue
        try:
            return tempfile.mkdtemp(prefix=f"{SCRATCH}{name}-", dir=place)
        except OSError as error:
            tried.append(f"{place} ({error.strerror or error})")
    raise RunnerError(f"this node has no room for scratch files: tried {', '.join(tried)}; set TMPDIR")
