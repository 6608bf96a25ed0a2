"""`python -m anabranch.compat prefect script.py [args]`: run a script of another package's users, as it is."""

from __future__ import annotations

import importlib
import os
import runpy
import sys

_USAGE = """\
usage: python -m anabranch.compat prefect SCRIPT.py [ARGUMENT ...]
       python -m anabranch.compat prefect -m MODULE [ARGUMENT ...]

Runs the script with the names of Prefect, which anabranch carries out; Prefect need not be installed.
"""


def main(argv: list[str]) -> int:
    """Run the script that the arguments name; returns 2 with the usage where they name none."""
    if len(argv) < 2 or argv[0] != "prefect" or (argv[1] == "-m" and len(argv) < 3):
        sys.stderr.write(_USAGE)
        return 2
    importlib.import_module("anabranch.compat.prefect")
    if argv[1] == "-m":
        sys.argv = argv[2:]
        sys.path[0] = os.getcwd()
        runpy.run_module(argv[2], run_name="__main__", alter_sys=True)
        return 0
    script = argv[1]
    if not os.path.exists(script):
        sys.stderr.write(f"no script {script!r}\n\n{_USAGE}")
        return 2
    sys.argv = argv[1:]
    sys.path[0] = os.path.dirname(os.path.abspath(script))
    runpy.run_path(script, run_name="__main__")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
