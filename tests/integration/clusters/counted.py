"""Tasks that leave a line in a file of their item each time that they begin: how often it ran is counted."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from anabranch import task

if TYPE_CHECKING:
    from pathlib import Path


@task
def gated(x: int, folder: str) -> int:
    """Ends once the gate is open; a second run of an item leaves a second line."""
    with open(f"{folder}/{x}", "a") as file:
        file.write("begun\n")
    while x < 2 and not os.path.exists(f"{folder}/gate"):
        time.sleep(0.05)
    return x


@task
def large(x: int, folder: str) -> bytes:
    with open(f"{folder}/{x}", "a") as file:
        file.write("begun\n")
    return bytes([x % 256]) * 200_000


@task
def length(block: bytes) -> int:
    return len(block)


def begun(folder: Path) -> dict[int, int]:
    """How often each item has begun."""
    return {int(file.name): len(file.read_text().splitlines()) for file in folder.glob("[0-9]*")}
