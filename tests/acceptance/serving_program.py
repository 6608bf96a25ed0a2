"""A script that serves, run as a user runs it, in a home of its own; for tests of what it does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anabranch import serving, session
from anabranch.core import states
from anabranch.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.core.runs import Records
    from anabranch.core.service import Service

ROOT = Path(__file__).resolve().parents[2]
WAIT = 100.0
TICK = """
from anabranch import flow

@flow(log_prints=True)
def tick(word: str = "tock"):
    print("said", word)
    return word

if __name__ == "__main__":
    tick.serve("every-second", interval=1, parameters={"word": "tick"}, tags=["clock"])
"""


class Program:
    """A script in a home of its own; what it prints goes to a file.

    Args:
        records: its setting; "": a file in its home.
    """

    def __init__(self, folder: Path, records: str = "") -> None:
        self.folder, self.home = folder, folder / "home"
        self.process: subprocess.Popen[bytes] | None = None
        self._settings = Settings(home=self.home, records=records)
        self._service: Service | None = None
        self._records: Records | None = None

    def start(self, script: str, *arguments: str) -> None:
        (self.folder / "script.py").write_text(script)
        self.command(sys.executable, "script.py", *arguments)

    def command(self, *words: str) -> None:
        environment = {**os.environ, "ANABRANCH_HOME": str(self.home), "PYTHONPATH": str(ROOT)}
        if self._settings.records:
            environment["ANABRANCH_RECORDS"] = self._settings.records
        with open(self.folder / "out", "ab") as out:
            self.process = subprocess.Popen(words, cwd=self.folder, env=environment, stdout=out, stderr=out)

    def end(self, number: int) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(WAIT)

    @property
    def out(self) -> str:
        return (self.folder / "out").read_text()

    @property
    def service(self) -> Service:
        if self._service is None:
            self.until(lambda: "Ctrl-C ends it" in self.out)
            self._service = serving.opened(self._settings)
        return self._service

    @property
    def records(self) -> Records:
        if self._records is None:
            assert self.service
            self._records = session.open_records(self._settings)
        return self._records

    def runs(self, state: str = "") -> list[Any]:
        return [row for row in self.records.flow_runs(limit=200) if not state or row.state_name == state]

    def open(self) -> list[Any]:
        """Return the runs that have not ended, and the orders that are not done."""
        return [row for row in self.runs() if not states.is_final(row.state)] + self.service.orders.all()

    def until(self, condition: Callable[[], object]) -> None:
        end = time.monotonic() + WAIT
        while not condition():
            assert time.monotonic() < end, self.out
            assert self.process is None or self.process.poll() is None, self.out
            time.sleep(0.05)

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(WAIT)
        for row in self.runs() if self._records else ():
            if row.pid and row.ended is None:
                with suppress(ProcessLookupError):
                    os.kill(row.pid, signal.SIGKILL)
        for one in (self._records, self._service):
            if one is not None:
                one.close()
