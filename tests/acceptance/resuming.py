"""What tests of resuming note and ask: which items ran, and which run a flow that failed was."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from anabranch import flow, task
from anabranch import session as sessions

if TYPE_CHECKING:
    from pathlib import Path


class Ledger:
    """What ran, in a file: workers may be other processes. `stop` is the flag that lets a flow go on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def note(self, word: object) -> None:
        descriptor = os.open(self.folder / "ran", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        os.write(descriptor, f"{word}\n".encode())
        os.close(descriptor)

    def take(self) -> list[str]:
        path = self.folder / "ran"
        found = path.read_text().split("\n")[:-1] if path.exists() else []
        path.write_text("")
        return sorted(found)

    @property
    def mended(self) -> bool:
        return (self.folder / "mended").exists()

    def mend(self) -> None:
        (self.folder / "mended").touch()


def adding(ran: Ledger, count: int, **how: Any) -> Any:
    """A flow that adds up what a map over so many items gives, and fails once it has, until it is mended."""

    @task
    def work(x: int) -> int:
        ran.note(x)
        return x

    @flow(resumable=True)
    def main() -> int:
        found = sum(work.map(range(count), **how).result())
        if not ran.mended:
            raise ValueError("not yet")
        return found

    return main


def fails(work: Any, *args: Any) -> str:
    """Run a flow that fails, and say which run that was."""
    state = work(*args, return_state=True)
    assert state.is_failed(), state
    row = sessions.current().records.flow_run(state.run_id)
    assert row is not None
    assert row.resumable
    return row.id
