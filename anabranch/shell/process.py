"""A shell operation that runs beside the code that has started it."""

from __future__ import annotations

import tempfile
import threading
from contextlib import ExitStack
from contextvars import copy_context
from pathlib import Path
from typing import TYPE_CHECKING

from anabranch.core.errors import StepError
from anabranch.runs.programs import PATIENCE, Lines, Log, Program
from anabranch.shell.script import script, told_end

if TYPE_CHECKING:
    from collections.abc import Sequence


def _nothing(text: str) -> None:
    pass


class ShellProcess:
    """The shell that runs the commands of an operation; made by `ShellOperation.trigger`.

    It ends with the task run that has started it, with the operation's `with` block, and by `close`.
    """

    def __init__(
        self, commands: Sequence[str], shell: str, env: dict[str, str], folder: str | None, *, goes_on: bool,
        streams: bool, together: bool, kept_bytes: int, seconds: float | None,
    ) -> None:  # fmt: skip
        self._commands = commands
        self._goes_on = goes_on
        self._closed = threading.Event()
        self._error: BaseException | None = None
        self._code: int | None = None
        self._log = log = Log.here()
        self._out = Lines(log.line if streams else _nothing, kept_bytes)
        with ExitStack() as undo:
            at = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="anabranch-", ignore_cleanup_errors=True)))
            self._told = at / "failed"
            file = at / "script.sh"
            file.write_text(script(commands, str(self._told), goes_on=goes_on), "utf-8", "surrogateescape")
            errors = None if together else Lines(self._out.beside, 0)
            name = f"the shell operation `{commands[0]}`"
            self._program = Program(name, [shell, str(file)], env, folder, log, self._out, errors, PATIENCE)
            undo.push(self._program)
            self._to_the_end = undo.pop_all()
        context = copy_context()
        self._thread = threading.Thread(
            target=context.run, args=(self._run, seconds), name=f"anabranch-shell-{self._program.pid}", daemon=True
        )
        try:
            self._thread.start()
        except BaseException:
            self._to_the_end.close()
            raise

    def _run(self, seconds: float | None) -> None:
        try:
            with self._to_the_end:
                code = self._program.run(seconds, self._closed.is_set)
                if self._out.is_cut:
                    self._log.warning(
                        f"`{self._commands[0]}` has written {self._out.seen:,} bytes: its result has the last lines "
                        "alone; output_limit= keeps more, and `> file` in the command all"
                    )
                self._error = self._failure(code) if code else None
                self._code = code
        except BaseException as error:
            self._error = error
            self._code = self._program.code

    def _failure(self, code: int) -> StepError:
        at = self._told.read_text() if self._told.exists() else ""
        words = told_end(self._commands, at, code, self._out.last, goes_on=self._goes_on)
        return StepError(words, code, self._out.text)

    @property
    def pid(self) -> int:
        """The process that watches over the shell: SIGTERM to it ends the shell and all that it has started."""
        return self._program.pid

    @property
    def return_code(self) -> int | None:
        """The code of the shell, or 128 and the number of a signal; None while it runs."""
        return self._code

    def wait_for_completion(self, timeout: float | None = None) -> None:
        """Wait until all commands have ended.

        Args:
            timeout: seconds; None: for ever.

        Raises:
            StepError: a command failed, or the last one where all are run; has the code and the last lines.
            CancelledRun: the run around this code was cancelled, or the process was closed.
            TaskTimeoutError: the operation's own time limit was over.
            TimeoutError: the shell still runs after the timeout; it goes on.
        """
        self._thread.join(timeout)
        if self._thread.is_alive():
            raise TimeoutError(f"the shell of process {self.pid} still runs after {timeout:g} s")
        if self._error is not None:
            raise self._error

    def fetch_result(self) -> list[str]:
        """Return the lines that have been written to the standard output so far; of very many, the last."""
        return self.text.splitlines()

    @property
    def text(self) -> str:
        """What has been written to the standard output so far, without the end of its last line."""
        return self._out.text.removesuffix("\n")

    def close(self) -> None:
        """End the shell and all that it has started, where it still runs, and wait for the end of the shell."""
        self._closed.set()
        self._thread.join()
