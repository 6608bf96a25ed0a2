"""How launchers ask their infrastructure: a command, its answer, and a limit for the wait."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from typing import TYPE_CHECKING, NamedTuple, Protocol

from anabranch.core.errors import LaunchError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


_ANSWER = 60.0  # seconds for an answer


class Ran(NamedTuple):
    """The answer of a command.

    Attributes:
        code: the exit code; None: it gave none within the time, and was ended.
    """

    code: int | None
    out: str = ""
    err: str = ""

    @property
    def told(self) -> str:
        """What it said, in one line."""
        lines = (self.err.strip() or self.out.strip()).splitlines()
        text = "; ".join(" ".join(line.split()) for line in lines if line.strip())
        if self.code is None:
            return f"no answer in time{f' ({text})' if text else ''}"
        return text or f"exit {self.code}"


class Command(Protocol):
    """Runs a command to its end; tests give another."""

    def __call__(self, argv: Sequence[str], env: Mapping[str, str], seconds: float) -> Ran:
        """Run it for at most so many seconds. Raises LaunchError where there is no such command."""
        ...


def run(argv: Sequence[str], env: Mapping[str, str], seconds: float) -> Ran:
    """Run a command; one that does not end in time is killed, with what it has started."""
    try:
        process = subprocess.Popen(
            argv, env=dict(env), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            errors="replace", start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise LaunchError(f"{argv[0]} cannot be called here: {error.strerror or error}") from error
    with process:
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            return Ran(None, out, err)
    return Ran(process.returncode, out, err)


def ask(command: Command, argv: Sequence[str], env: Mapping[str, str], system: str) -> Ran:
    """Run a command of a batch system; where there is no such command, LaunchError says what may bring it."""
    try:
        return command(argv, env, _ANSWER)
    except LaunchError as error:
        raise LaunchError(
            f"{error}: is this a machine of the cluster, with {system}'s commands on the path? `module load "
            f"{system.lower()}` may bring them"
        ) from error
