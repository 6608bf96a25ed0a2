"""How this interpreter was started, so that the processes that are started from it behave alike."""

from __future__ import annotations

import subprocess


def interpreter_flags() -> list[str]:
    """The options of the command line that a child interpreter has to be given again."""
    found: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    return found
