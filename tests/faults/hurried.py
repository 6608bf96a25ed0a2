"""Leases, silences and pauses of the service that are over soon, for tests that wait for their end.

    HURRIED='{"lease": 6}' python -m tests.faults.hurried WORDS...      the command `anabranch WORDS...` with them

A process has those that the variable names, so a server, its agents and their drivers can each have their own.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import anabranch
from anabranch.core import recovery
from anabranch.records import remote as records_remote
from anabranch.records import sending
from anabranch.records.service import beats, choosing, remote, upkeep
from anabranch.services import loop

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ROOT = Path(__file__).resolve().parents[2]
VARIABLE = "HURRIED"
MODULE = "tests.faults.hurried"
PLACES = {
    "lease": [(module, name) for module in (beats, choosing, upkeep) for name in ("LEASE", "RECENT")],
    "silence": [(upkeep, "SILENCE"), (recovery, "SILENCE")],
    "longest_silence": [(recovery, "LONGEST_SILENCE")],
    "back_off": [(recovery, "BACK_OFF")],
    "reap": [(loop, "REAP")],
    "answer": [(sending, "_TIMEOUT"), (remote, "ANSWER"), (records_remote, "_ANSWER")],  # that never comes
    "version": [(anabranch, "__version__")],
}


def hurry(values: Mapping[str, object], put: Callable[[object, str, object], object] = setattr) -> None:
    """Have this process use these values; `put`: such as a monkeypatch's setattr."""
    for name, value in values.items():
        for module, attribute in PLACES[name]:
            getattr(module, attribute)  # one that is not there any more would change nothing
            put(module, attribute, value)


def as_told() -> None:
    """Have this process use the values of its variable."""
    hurry(json.loads(os.environ.get(VARIABLE) or "{}"))


def job(values: Mapping[str, object]) -> dict[str, object]:
    """Job variables of a deployment whose drivers have these values."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {VARIABLE: json.dumps(dict(values)), "PYTHONPATH": path}
    return {"command": [sys.executable, "-m", MODULE], "env": environment}


if __name__ == "__main__":
    as_told()
    from anabranch.cli import main

    main()
