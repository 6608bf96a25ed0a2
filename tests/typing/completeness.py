"""Whether the types of all public names are complete, by `pyright --verifytypes`: python -m tests.typing.completeness.

That counts every module of the package as public, since none has an underscore. Here the names count that
`anabranch` and its public modules give; so do the members of public classes.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import anabranch

# Members for the house alone, where a public class or module has them.
OURS = {
    "anabranch.engine.triggers.describe",
    "anabranch.engine.triggers.handled",
    "anabranch.named_limits.slots_of",
    "anabranch.runners.thread.runner.ThreadRunner.settle",
    "anabranch.runners.thread.runner.ThreadRunner.write_off",
    *(
        f"anabranch.runners.{runner}.{verb}"  # of the protocol, and lent by what they hold
        for runner in ("inline.runner.InlineRunner", "thread.runner.ThreadRunner")
        for verb in ("release", "fetch", "spill", "move")
    ),
}


def public() -> set[str]:
    """The dotted names, where they are defined, of what users import; `session` is the wiring."""
    found = set()
    for home, name in anabranch._HOMES.values():
        if name is not None:
            value = getattr(importlib.import_module(home), name)
            found.add(f"{value.__module__}.{name}")
    modules = {home for homes in anabranch._MODULES.values() for home in homes} | {"anabranch.context"}
    for home in modules:
        there = importlib.import_module(home)
        for name, value in vars(there).items():
            if not name.startswith("_") and getattr(value, "__module__", home) == home:
                found.add(f"{home}.{name}")
    return found - OURS


def verified() -> list[dict[str, Any]]:
    """What pyright says of every symbol of the package."""
    checker = Path(sys.executable).with_name("basedpyright")
    asked = ["--pythonpath", sys.executable, "--verifytypes", "anabranch", "--ignoreexternal", "--outputjson"]
    # On the path: pyright does not look for a package to verify where an editable install points.
    around = os.environ | {"PYTHONPATH": str(Path(anabranch.__file__).parents[1])}
    told = subprocess.run([checker, *asked], capture_output=True, text=True, check=False, env=around)
    symbols: list[dict[str, Any]] = json.loads(told.stdout)["typeCompleteness"]["symbols"]
    return symbols


def main() -> int:
    names = public()
    checked = bad = 0
    for symbol in verified():
        full = symbol["name"]
        if full in OURS or not any(full == name or full.startswith(f"{name}.") for name in names):
            continue
        checked += 1
        faults = [one["message"] for one in symbol["diagnostics"] if "docstring" not in one["message"]]
        if faults and (symbol["isTypeAmbiguous"] or not symbol["isTypeKnown"]):
            bad += 1
            print(full, *faults, sep="\n    ")
    print(f"types of {checked - bad} of {checked} public names are complete")
    return int(bool(bad) or not checked)


if __name__ == "__main__":
    sys.exit(main())
