"""Flows that agents run in the tests of faults: each tells what it does in a file, and waits at a gate."""

from __future__ import annotations

import ctypes
import fcntl
import os
import time
from pathlib import Path

from anabranch import context, flow, task


def tell(folder: str, line: str) -> None:
    """Add a line, in one write: what happened, however often."""
    with open(os.open(Path(folder) / "effects", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600), "w") as file:
        file.write(f"{line}\n")


@task
def effect(folder: str, number: int) -> int:
    tell(folder, f"effect {number}")
    return number


@flow(resumable=True)
def works(folder: str, number: int = 0) -> int:
    """Do something once, then wait at a gate."""
    found = effect.submit(folder, number).result()
    tell(folder, f"at the gate {number}")
    while (Path(folder) / "gate").exists():
        time.sleep(0.02)
    return found


@flow(resumable=True)
def counts(folder: str, number: int = 0) -> int:
    """Do something once; tell of another driver of the run that does it at the same time."""
    with open(Path(folder) / f"lock-{context.flow_run().id}", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tell(folder, f"overlap {number}")
        found = effect.submit(folder, number).result()
        time.sleep(0.1 + number % 7 * 0.15)
    return found


@flow(resumable=True)
def keeps_the_lock(folder: str, seconds: float = 0.0) -> int:
    """Do something once, then keep all threads of this process from running for a while: none tells of life."""
    found = effect.submit(folder, 0).result()
    tell(folder, "silent")
    ctypes.PyDLL(None).usleep(int(seconds * 1e6))  # a PyDLL keeps the interpreter's lock
    tell(folder, "awake")
    return found


@flow
def obeys(folder: str) -> None:
    """Go on until somebody wants it to end."""
    tell(folder, "begun")
    while True:
        effect.submit(folder, 0).result()
        time.sleep(0.02)


@flow
def ignores(folder: str) -> None:
    """Ignore every wish to end."""
    tell(folder, "begun")
    while True:
        try:
            time.sleep(0.05)
        except BaseException:
            tell(folder, "ignored")


@flow(resumable=True)
def fails(folder: str) -> None:
    """Do something once, wait at a gate, and fail."""
    works(folder)
    raise ValueError("as it was to")


@flow(resumable=True)
def twice(folder: str) -> None:
    """Wait at a gate, then do something once, and wait at a second gate."""
    works(folder)
    effect.submit(folder, 1).result()
    tell(folder, "at the gate 1")
    while (Path(folder) / "second gate").exists():
        time.sleep(0.02)
