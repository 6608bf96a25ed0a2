"""`prefect_shell.commands`: ShellOperation and shell_run_command, by anabranch's operations."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, replace
from typing import Any, Self

from anabranch import shell as ours
from anabranch.compat.prefect.tasks import task
from anabranch.compat.prefect.utilities.asyncutils import in_loop
from anabranch.core.errors import StepError

__all__ = ["ShellOperation", "ShellProcess", "shell_run_command"]


class ShellProcess:
    """What `trigger` gives; its methods can be awaited in coroutines, as Prefect's."""

    def __init__(self, process: ours.ShellProcess) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def return_code(self) -> int | None:
        return self._process.return_code

    async def await_for_completion(self) -> None:
        await asyncio.to_thread(self._wait)

    def wait_for_completion(self) -> Any:
        return self.await_for_completion() if in_loop() else self._wait()

    async def afetch_result(self) -> list[str]:
        return self._process.fetch_result()

    def fetch_result(self) -> Any:
        return self.afetch_result() if in_loop() else self._process.fetch_result()

    def _wait(self) -> None:
        try:
            self._process.wait_for_completion()
        except StepError as error:
            raise RuntimeError(f"PID {self.pid} failed with return code {error.code}.") from error


@dataclass(repr=False)
class ShellOperation(ours.ShellOperation):
    """Commands that one shell runs; as in Prefect, all are run and the code of the last one counts.

    Called, it is a task with a text as its value. `continue_on_error=False` ends at the first command that fails.
    """

    continue_on_error: bool = True
    extension: str | None = None  # the name of the script ends in .sh whatever this says

    async def atrigger(self) -> ShellProcess:
        return await asyncio.to_thread(self._process)

    def trigger(self) -> Any:
        """Start the commands, and return their process; a coroutine where a loop runs."""
        return self.atrigger() if in_loop() else self._process()

    async def arun(self) -> list[str]:
        return await asyncio.to_thread(self._lines)

    def run(self) -> Any:
        """Run the commands, and return their lines; a coroutine where a loop runs."""
        return self.arun() if in_loop() else self._lines()

    def _process(self) -> ShellProcess:
        return ShellProcess(self._begun())

    def _lines(self) -> list[str]:
        with replace(self) as one:
            process = one._process()
            process._wait()
            return process._process.fetch_result()

    async def aclose(self) -> None:
        await asyncio.to_thread(self.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    @classmethod
    def load(cls, name: str, **_: Any) -> Self:
        raise NotImplementedError(f"anabranch keeps no blocks: make the ShellOperation {name!r} in the program")


@task
async def shell_run_command(
    command: str, env: dict[str, str] | None = None, helper_command: str | None = None, shell: str | None = None,
    extension: str | None = None, return_all: bool = False, stream_level: int = logging.INFO, cwd: Any = None,
) -> list[str] | str:  # fmt: skip
    """Run a command, and return the last line that it has written; with `return_all` all lines."""
    given = [command] if helper_command is None else [helper_command, command]
    operation = ours.ShellOperation(
        given, stream_output=stream_level >= logging.INFO, env=env or {}, working_dir=cwd, shell=shell,
        continue_on_error=True,
    )  # fmt: skip
    try:
        lines = await asyncio.to_thread(operation.run)
    except StepError as error:
        told = str(error).partition("its last lines:\n")[2]
        raise RuntimeError(f"Command failed with exit code {error.code}:\n{told}\n") from error
    return lines if return_all else (lines[-1] if lines else "")
