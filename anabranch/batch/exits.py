"""What exit codes and signals mean, in words."""

from __future__ import annotations

import signal


def exit_reason(code: int) -> str:
    """Return what an exit code means, "" for 0."""
    if code == 0:
        return ""
    if code < 0:
        return f"killed by signal {-code}{_signal_name(-code)}"
    told = {126: ": the command cannot be executed", 127: ": the command was not found"}
    return f"exit {code}{told.get(code, '')}"


def _signal_name(number: int) -> str:
    try:
        return f" ({signal.Signals(number).name})"
    except ValueError:
        return ""
