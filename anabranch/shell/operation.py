"""`ShellOperation`: commands that one shell runs, as a task on any runner, or beside the code that starts them.

    operation() --> a task run --> ShellProcess --> shell: command, command, ...
    operation.trigger() ---------> ShellProcess --> the same, while this code goes on
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from anabranch.core import secrets
from anabranch.shell.process import ShellProcess
from anabranch.shell.script import can_stop, shell_of
from anabranch.tasks import Task

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anabranch.core.futures import Future

OUTPUT_LIMIT = 16 << 20
# The last words of variables with hidden texts, as DB_PASSWORD and GITHUB_TOKEN.
_HIDDEN = ("password", "passwd", "secret", "token", "api_key", "access_key", "secret_key", "private_key")


@dataclass(repr=False)
class ShellOperation:
    """Commands that one shell runs one after another; called, it is a task, and its value is what they have written.

        wc = ShellOperation(["wc -l data.txt"])
        lines = int(wc().split()[0])
        future = wc.submit()
        with ShellOperation(["./server --port 8000"]) as server:
            process = server.trigger()

    The commands share variables, functions and the working folder, as lines of a script do. The shell and all that it
    has started end with the task run: after a cancel, at a time limit, with a worker that dies.

    Args:
        commands: each in one line or several.
        stream_output: whether lines go to the log of the run as they come, those of the standard error among them.
        env: variables that are added to this program's; their values may be `Secret` or `SecretStr`. The texts of
            these, and of variables with names that end in password, secret, token or api_key, are masked in logs and
            records.
        working_dir: where the commands run; None: the folder of the program.
        shell: the name or path of a shell; None: bash, or sh where there is none.
        return_all: whether the value has the standard error too, in the order of writing.
        continue_on_error: whether commands behind one that failed are run; the code of the last one counts then.
        timeout_seconds: how long the commands may take together; `with_options(timeout_seconds=...)` limits an attempt.
        output_limit: bytes of output that the value has at most; of more, its last lines, with a warning.

    Raises:
        ValueError: there is no command, a value is out of range, or commands of a shell that is none of sh's kind are
            to stop at the first that fails.
        TypeError: the commands or variables are no texts.

    Not promised: a command that leaves its session (`setsid`, a daemon) does not end with the others.
    """

    commands: list[str]
    stream_output: bool = True
    env: Mapping[str, Any] = field(default_factory=dict)
    working_dir: str | os.PathLike[str] | None = None
    shell: str | None = None
    return_all: bool = False
    continue_on_error: bool = False
    timeout_seconds: float | None = None
    output_limit: int = OUTPUT_LIMIT
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check(self)
        self._started: list[ShellProcess] = []

    def __repr__(self) -> str:
        shown = self.commands[0] if len(self.commands) == 1 else f"{self.commands[0]}; ..."
        return f"ShellOperation({secrets.mask(shown)!r})"  # never the variables: they may be secret

    def __getstate__(self) -> dict[str, Any]:
        return {one.name: getattr(self, one.name) for one in fields(self)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._started = []

    # -- as a task ---------------------------------------------------------------------------------

    def __call__(self) -> str:
        """Run the commands as a task run in this thread, and return what they have written to the standard output.

        Raises:
            StepError: a command failed; names it, and has its code and the last lines.
            CancelledRun: the run was cancelled.
            TaskTimeoutError: a time limit was over.
        """
        return self._task()(self)

    def submit(self, *, wait_for: Any = None) -> Future[str]:
        """Run the commands as a task run of the flow's runner, and return its future.

        Args:
            wait_for: futures that must have completed before.
        """
        future: Future[str] = self._task().submit(self, wait_for=wait_for)
        return future

    def with_options(self, **options: Any) -> Self:
        """Return this operation with options of its task, as `@task` has them: name, retries, timeout_seconds, cpus.

        Raises:
            OptionError: there is no such option.
        """
        given = {**self.options, **options}
        Task(_run, {**_NAMED, **given})  # refuses what is no option
        return replace(self, options=given)

    def _task(self) -> Task[[ShellOperation], str]:
        return Task(_run, {**_NAMED, **self.options}) if self.options else _PLAIN

    # -- without a task ----------------------------------------------------------------------------

    def run(self) -> list[str]:
        """Run the commands to their end in place, and return the lines of their standard output.

        Raises:
            StepError, CancelledRun, TaskTimeoutError: as for a call.
        """
        return self._run().splitlines()

    def trigger(self) -> ShellProcess:
        """Start the commands, and return at once; `close`, or the end of a `with` block of this operation, ends them.

        Raises:
            FileNotFoundError: there is no such shell, or no such working folder.
        """
        return self._begun()

    def close(self) -> None:
        """End all that `trigger` has started here."""
        while self._started:
            self._started.pop().close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _begun(self) -> ShellProcess:
        folder = None if self.working_dir is None else os.fspath(self.working_dir)
        if folder is not None and not Path(folder).is_dir():
            raise FileNotFoundError(f"working_dir {folder!r} is no folder here")
        process = ShellProcess(
            self.commands, shell_of(self.shell, shutil.which), {**os.environ, **_told(self.env)}, folder,
            goes_on=self.continue_on_error, streams=self.stream_output, together=self.return_all,
            kept_bytes=self.output_limit, seconds=self.timeout_seconds,
        )  # fmt: skip
        self._started.append(process)
        return process

    def _run(self) -> str:
        with replace(self) as one:  # its own processes: another thread may run the same operation
            process = one._begun()
            process.wait_for_completion()
            return process.text


def _run(operation: ShellOperation) -> str:
    return operation._run()


_NAMED: dict[str, Any] = {"name": "shell"}
_PLAIN = Task(_run, _NAMED)  # one task: submits of many operations travel together


def _told(env: Mapping[str, Any]) -> dict[str, str]:
    """Return the variables as texts; what is secret among them is masked from now on."""
    secrets.remember(dict(env))
    told = {name: value if isinstance(value, str) else value.get_secret_value() for name, value in env.items()}
    for name, text in told.items():
        if name.lower().endswith(_HIDDEN):
            secrets.note(text)
    return told


def _check(operation: ShellOperation) -> None:
    commands: Any = operation.commands
    if not isinstance(commands, str):
        operation.commands = commands = list(commands)  # an iterator is read once
    if isinstance(commands, str) or not all(isinstance(command, str) for command in commands):
        raise TypeError(f"commands must be a list of texts, got {commands!r}")
    if not commands or not all(command.strip() for command in commands):
        raise ValueError(f"commands must have at least one command, and none that is empty, got {commands!r}")
    for name, value in operation.env.items():
        if not isinstance(name, str) or not (isinstance(value, str) or hasattr(type(value), "get_secret_value")):
            raise TypeError(f"env must have texts or secrets, got {type(value).__name__} for {name!r}")
    if operation.timeout_seconds is not None and not operation.timeout_seconds > 0:
        raise ValueError(f"timeout_seconds must be greater than 0, got {operation.timeout_seconds!r}")
    if operation.output_limit < 1:
        raise ValueError(f"output_limit must be greater than 0, got {operation.output_limit!r}")
    if len(operation.commands) > 1 and not operation.continue_on_error and not can_stop(operation.shell):
        raise ValueError(
            f"{operation.shell} cannot be told to stop at a command that fails: give it one command, or "
            "continue_on_error=True"
        )
