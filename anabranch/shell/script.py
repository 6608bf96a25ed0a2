"""The script of a shell operation, made of its commands. Nothing runs here.

    cd data                          each command may stand in several lines, and sees what those before it have set
    { code=$?; ...; exit $code; }    after each: where it failed, its number and code go to a file, and the script ends
    make all
    { ... }
"""

from __future__ import annotations

import shlex
from pathlib import PurePath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

POSIX = frozenset({"ash", "bash", "dash", "ksh", "mksh", "sh", "zsh"})  # shells in which the check below can be read
SHOWN = 60  # letters of a command in a message


def script(commands: Sequence[str], at: str, *, goes_on: bool) -> str:
    """Return the text that a shell is given.

    Args:
        at: the path of the file that tells afterwards which command ended the script.
        goes_on: whether commands behind one that failed are run; the code of the last is the script's then.
    """
    if goes_on or len(commands) == 1:
        return "\n".join(commands) + "\n"
    told = shlex.quote(at)
    return "".join(
        f'{command}\n{{ _code=$?; [ "$_code" -eq 0 ] || {{ echo {number} > {told}; exit "$_code"; }}; }}\n'
        for number, command in enumerate(commands)
    )


def shell_of(asked: str | None, found: Callable[[str], str | None]) -> str:
    """Return the program that reads the script: the one that was asked for, else bash, else sh.

    Args:
        found: the path of a command of this name; None: there is none.

    Raises:
        FileNotFoundError: there is no such shell here.
    """
    for name in (asked,) if asked is not None else ("bash", "sh"):
        path = found(name)
        if path is not None:
            return path
    raise FileNotFoundError(f"there is no shell {asked or 'bash or sh'} on the path here: shell= names another one")


def can_stop(shell: str | None) -> bool:
    """Return whether a script for this shell can end behind a command that failed."""
    return shell is None or PurePath(shell).name in POSIX


def told_end(commands: Sequence[str], at: str, code: int, last: Sequence[str], *, goes_on: bool = False) -> str:
    """Return in words how a script failed.

    Args:
        at: what the file of that name has: the number of a command; nothing, where the shell has ended inside of one.
        last: the last lines that were written.
        goes_on: as of `script`.
    """
    known = at.strip().isdigit()
    number = int(at) if known else len(commands) - 1 if goes_on else 0
    command = " ".join(commands[number].split())
    shown = command if len(command) <= SHOWN else command[: SHOWN - 3] + "..."
    if len(commands) == 1:
        which = f"`{shown}`"
    elif known or goes_on:
        which = f"command {number + 1} of {len(commands)} (`{shown}`)"
    else:  # by `exit`, `set -e`, a signal, or words that it cannot read
        which = f"the shell of {len(commands)} commands (`{shown}`, ...)"
    signal = f" (ended by signal {code - 128})" if 128 < code < 160 else ""
    said = "\n".join(last)
    return f"{which} ended with code {code}{signal}" + (f"; its last lines:\n{said}" if said else ", without a word")
