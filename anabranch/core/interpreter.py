"""How this interpreter was started, so that the processes that are started from it behave alike."""

from __future__ import annotations

import subprocess
import sys

_CALL = (
    "import json, sys; t = sys.argv[1]; o = json.loads(t) if t[0] == '{{' else json.load(open(t)); "
    "sys.path[:] = o.pop('path'); from {} import main; main(o)"
)


def interpreter_flags() -> list[str]:
    """The options of the command line that a child interpreter has to be given again."""
    found: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    return found


def program(module: str, told: str) -> list[str]:
    """Return the command of a process that calls `main` of a module of ours with options.

    A json.py in the working folder is not the library's there, before the process has its search path.

    Args:
        told: the options, as JSON, or the path of a file with them; `path` among them is the search path.
    """
    flags = interpreter_flags()
    return [sys.executable, *flags, *([] if "-P" in flags else ["-P"]), "-c", _CALL.format(module), told]
