"""A PostgreSQL of the test bed, stopped, killed and started again."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from anabranch.core.processes import process_alive, process_started
from tests.waiting import until

_AS_NOBODY = (  # PostgreSQL refuses root; the data belongs to nobody, in folders that others may not enter
    "setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--inh-caps=+dac_override",
    "--ambient-caps=+dac_override",
)  # fmt: skip


class Postgres:
    """One that runs.

    Args:
        state: the folder of its bed.
        address: of its database.
    """

    def __init__(self, state: Path, address: str) -> None:
        self.address = address
        self._pid_file = state / "data" / "postmaster.pid"
        self._log = state / "log" / "again.log"
        self._seen()
        words = Path(f"/proc/{self.pid}/cmdline").read_bytes().split(b"\0")[:-1]
        self._command = [*(() if os.geteuid() else _AS_NOBODY), *map(os.fsdecode, words)]
        self._process: subprocess.Popen[bytes] | None = None

    def _seen(self) -> None:
        self.pid = int(self._pid_file.read_text().split()[0])
        self._started = process_started(self.pid)

    @property
    def alive(self) -> bool:
        return process_alive(self.pid, self._started)

    def end(self, number: signal.Signals = signal.SIGQUIT) -> None:
        """End it and all connections: at once, as a crash does; SIGINT: in order."""
        os.kill(self.pid, number)
        if self._process is not None:
            self._process.wait(60)
        until(lambda: not self.alive)

    def start(self) -> None:
        """Start it again, and wait until it answers."""
        import psycopg

        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/")

        def answers() -> bool:
            try:
                psycopg.connect(self.address, connect_timeout=5).close()
            except psycopg.Error:
                assert self._process is not None
                if self._process.poll() is not None:
                    raise AssertionError(f"PostgreSQL did not start again: {self._log.read_text()}") from None
                return False
            return True

        until(answers, "PostgreSQL to answer again")
        self._seen()
