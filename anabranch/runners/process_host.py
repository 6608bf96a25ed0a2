"""What the process runner asks of the machine: memory of a process, how one ended, what dead drivers left."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from anabranch.core.processes import process_alive

if TYPE_CHECKING:
    from pathlib import Path


def resident(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0


def exit_text(code: int | None) -> str:
    if code is not None and code < 0:
        return f"was killed by signal {-code}"
    return f"ended with exit code {code}"


def sweep(root: Path) -> None:
    """Remove what drivers that died left behind."""
    for folder in root.glob("anabranch-*-*"):
        try:
            pid, started = (folder / "owner").read_text().split()
        except (OSError, ValueError):
            continue
        if not process_alive(int(pid), float(started)):
            shutil.rmtree(folder, ignore_errors=True)
