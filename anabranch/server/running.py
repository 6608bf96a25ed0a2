"""The server of a home, as its file says; read by commands that have none of a server's packages."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from anabranch.core.processes import process_alive, process_started

if TYPE_CHECKING:
    from pathlib import Path

FILE = "server.json"


@dataclass(frozen=True, slots=True)
class Running:
    """A server that was started from this home."""

    pid: int
    started: float
    address: str

    @property
    def alive(self) -> bool:
        return process_alive(self.pid, self.started)


def running(home: Path) -> Running | None:
    """Return the server of a home that runs, as far as this machine can see."""
    try:
        found = Running(**json.loads((home / FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return found if found.alive else None


def note(home: Path, address: str) -> Path:
    """Write that this process is the server of a home; returns the file, which it deletes at its end."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = home / FILE
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as written:
        json.dump(asdict(Running(os.getpid(), process_started(os.getpid()), address)), written)
    os.replace(draft, file)
    return file
