"""Whether text is coloured: the program's environment and the terminal decide."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def wanted(terminal: bool, environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether to colour what goes to a stream.

    NO_COLOR wins over FORCE_COLOR, and both over the terminal; either counts where it is not empty.

    Args:
        terminal: whether the stream is a terminal.
    """
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR"):
        return environ["FORCE_COLOR"] != "0"
    return terminal and environ.get("TERM", "") != "dumb"
