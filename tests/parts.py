"""The suite in parts, side by side: each is a pytest of its own, as tests wait more than they compute.

    python -m tests.parts "not nightly" --+-- acceptance    pytest tests/acceptance -m "... and not (slurm or ...)"
                                          +-- contract      pytest tests/contract tests/docs ...
                                          +-- ...
                                          +-- waiting       pytest ... -m "... and (slurm or kubernetes)"

Each part has a home of ours and a folder for temporary files of its own. Its lines are printed when it has ended, so
that no two are mixed; until then a line a minute tells how far each is. The last lines are the closing lines of all.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

WAITING = "(slurm or kubernetes)"
AT_ONCE = 3  # with more on two processors Ray does not start in its time
MINUTE = 60.0
POLL = 0.2
UNENDED = 4  # the code of a suite with a part whose pytest ended well before its closing line
STOPPED = 130  # the code of a suite that Ctrl-C kept from starting all its parts, as a shell's
PERCENT = re.compile(r"\[ *(\d+)%\]")
CLOSING = re.compile(r"^=* ?((?:\d+ \w+|no tests ran).* in [\d.]+s[^\n]*?)[ =]*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Part:
    """Some of the tests.

    Args:
        folders: which folders of `tests/` it collects: to collect all of them takes a while.
        waits: whether it runs those tests of them that wait for a batch system or Kubernetes, or those that do not.
    """

    name: str
    folders: tuple[str, ...]
    waits: bool = False

    def command(self, marks: str, words: Sequence[str]) -> list[str]:
        """Return the command of this part.

        Args:
            marks: which tests of it, as for pytest's -m; "": all.
        """
        kind = WAITING if self.waits else f"not {WAITING}"
        chosen = f"({marks}) and {kind}" if marks else kind
        return [sys.executable, "-m", "pytest", "-q", *(f"tests/{one}" for one in self.folders), "-m", chosen, *words]


# The longest first: what begins last is short, and no part ends long after the others.
PARTS = (
    Part("integration", ("integration",)),
    Part("acceptance", ("acceptance",)),
    Part("faults", ("faults", "house")),
    Part("contract", ("contract", "docs")),
    Part("waiting", ("integration", "contract", "faults", "docs"), waits=True),
    Part("unit", ("unit", "zoo", "prefect_own")),
)


class Running:
    """A part under way: its process, what it has printed, and the folder that holds its home and temporary files."""

    def __init__(self, part: Part, command: Sequence[str]) -> None:
        self.name = part.name
        self._folder = tempfile.mkdtemp(prefix="ab-")  # short: sockets lie in it
        self._lines = Path(self._folder, "lines.txt")
        own = {"ANABRANCH_HOME": f"{self._folder}/home", "TMPDIR": self._folder}
        with self._lines.open("w") as lines:
            self.process = subprocess.Popen(command, stdout=lines, stderr=subprocess.STDOUT, env={**os.environ, **own})

    def lines(self) -> str:
        return self._lines.read_text(encoding="utf-8", errors="replace")

    def clear(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


def closing(lines: str) -> tuple[str, str]:
    """Take pytest's closing line off what it has printed; returns the rest and that line.

    The closing line is "" where there is none: pytest has not come to its end. What the end of a program that pytest
    has started prints, or Python's own end, comes after it.
    """
    found = list(CLOSING.finditer(lines))
    if not found:
        return lines.rstrip(), ""
    last = found[-1]
    return (lines[: last.start()].rstrip() + "\n" + lines[last.end() :].lstrip()).rstrip(), last[1]


def standing(lines: str) -> str:
    """How far a part is by the last percentage that it has printed."""
    found = PERCENT.findall(lines)
    return f"{found[-1] if found else 0} %"


def run(commands: Sequence[tuple[Part, Sequence[str]]], tell: Callable[[str], None], stopped: threading.Event) -> int:
    """Run all parts to their ends; returns 0 if each has passed, else the code of one that has not.

    A part that ends with code 0 before pytest's closing line has not passed: a test has ended its process.

    Args:
        stopped: once it is set, no part starts; those that never did count as not passed.
    """
    codes: list[int] = []
    ends: list[str] = []
    waiting, open_parts = list(commands), list[Running]()
    due = time.monotonic() + MINUTE
    while open_parts or waiting:
        while waiting and len(open_parts) < AT_ONCE and not stopped.is_set():
            open_parts.append(Running(*waiting.pop(0)))
        if stopped.is_set() and waiting:
            codes.append(STOPPED)
            ends += [f"not started ({part.name})" for part, _ in waiting]
            waiting.clear()
        for one in [one for one in open_parts if one.process.poll() is not None]:
            open_parts.remove(one)
            code = one.process.returncode
            rest, end = closing(one.lines())
            tell(f"\n== {one.name} ==\n{rest}")
            ends.append(f"{end or f'ended with code {code} and no closing line'} ({one.name})")
            codes.append(code or (0 if end else UNENDED))
            one.clear()
        if time.monotonic() > due:
            tell("so far: " + ", ".join(f"{one.name} {standing(one.lines())}" for one in open_parts))
            due += MINUTE
        time.sleep(POLL)
    tell("\n" + "\n".join(ends))
    return next(filter(None, codes), 0)


def main(marks: str, words: Sequence[str]) -> int:
    stopped = threading.Event()
    # Ctrl-C goes to the parts under way, too, and each prints what it has found; those that wait must not start then.
    signal.signal(signal.SIGINT, lambda *_: stopped.set())
    return run([(part, part.command(marks, words)) for part in PARTS], lambda text: print(text, flush=True), stopped)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
