"""Types the commands of a page, as a reader does: looks again, waits for a job, ends with Ctrl-C what has no end.

    $ anabranch submit slurm study.py        the page shows: run brisk-otter is submitted: slurm job 4711
    $ anabranch run show brisk-otter         the run that was submitted here takes the place of that name
    $ tail -f study-*.log                    # once it runs; until Ctrl-C

Where there is Slurm, a look is typed again until it shows what the page shows, and a command `once it runs` until it
does not fail. One `until Ctrl-C` is ended when none of the reader's jobs is left.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.docs.blocks import Block, Command, commands, first_word, missing
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Mapping

PROGRAMS = {"anabranch", "pytest", "python"}
ON_SLURM = {"salloc", "sbatch", "squeue", "tail", "pip", "python3"}
SECONDS = 120.0  # for one command
AGAIN = 150.0  # seconds in which a look shows what the page shows: a queue is looked at each half minute
AGAINS = re.compile(r"\banabranch (runs|run show|cluster status)\b|# once it runs")  # commands typed again and again
ADA = "/home/ada"  # the reader's home on all pages
SUBMITTED = re.compile(r"run (?P<run>\S+) is submitted: \w+ job (?P<job>\d+)")


class Wrong(AssertionError):
    """What a page says, and what happened."""


class Terminal:
    """The terminal in which the commands of one page are typed.

    Args:
        slurm: whether jobs of Slurm may be submitted.
    """

    def __init__(self, page: Path, *, slurm: bool = False) -> None:
        self._page = page
        self._slurm = slurm
        self._names = {ADA: os.environ.get("HOME", ADA)}  # of the page, with those of this run of it

    def type(self, block: Block) -> int:
        """Type the commands of a block; returns how many there were."""
        typed_here = commands(block)
        for one in typed_here:
            place = f"{self._page}:{block.line}"
            if Path(first_word(one.text)).name not in (PROGRAMS | ON_SLURM if self._slurm else PROGRAMS):
                raise Wrong(f"{place}: no reason says why `{one.text}` is not typed here")
            self._typed(one, place)
        if not typed_here:
            raise Wrong(f"{self._page}:{block.line}: a block of a terminal without a command behind `$`")
        return len(typed_here)

    def _typed(self, one: Command, place: str) -> None:
        command = named(one.text, self._names)
        if re.search(r"\bRUN\b", command):
            command = re.sub(r"\bRUN\b", newest(), command)
        wrong = ""

        def is_right() -> bool:
            nonlocal wrong
            wrong = self._wrong(one, command)
            return not wrong

        if self._slurm and AGAINS.search(command):
            until(is_right, lambda: f"{place}: {wrong}", seconds=AGAIN, pause=1.0)
        elif not is_right():
            raise Wrong(f"{place}: {wrong}")

    def _wrong(self, one: Command, command: str) -> str:
        """Run a command once; returns how it differs from the page, "" where it does not."""
        code, printed = self._run(command)
        self._names |= learned(one.shown, printed)
        if code != one.code:
            return f"`{command}` ended with {code}:\n{printed}"
        line = missing([named(shown, self._names) for shown in one.shown], printed)
        return f"the page shows {line!r} of `{command}`, which printed:\n{printed}" if line else ""

    def _run(self, command: str) -> tuple[int, str]:
        """Returns the exit code, and what was printed; a command that the reader ends has ended well."""
        ended = self._slurm and "until Ctrl-C" in command
        with subprocess.Popen(
            ["bash", "-c", command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, start_new_session=True,
        ) as child:  # fmt: skip
            try:
                if ended:
                    until(lambda: child.poll() is not None or not queued(), queued, seconds=4 * SECONDS, pause=0.5)
                    child.send_signal(signal.SIGINT)
                printed = "".join(child.communicate(timeout=4 * SECONDS if self._slurm else SECONDS))
            except BaseException:
                os.killpg(child.pid, signal.SIGKILL)
                raise
        return (0 if ended and child.returncode == -signal.SIGINT else child.returncode), printed


def named(text: str, names: Mapping[str, str]) -> str:
    """Put the names of this run of a page in the place of the page's own."""
    for shown, real in names.items():
        text = re.sub(rf"(?<!\w){re.escape(shown)}(?!\w)", real, text)
    return text


def learned(shown: list[str], printed: str) -> dict[str, str]:
    """Return the names that a page shows of a run that is submitted, each with the one that was printed."""
    ours, theirs = SUBMITTED.search(printed), SUBMITTED.search("\n".join(shown))
    if ours is None or theirs is None:
        return {}
    return {theirs[group]: ours[group] for group in ("run", "job")}


def queued(*words: str) -> str:
    """Return what Slurm has of this reader's jobs."""
    return subprocess.run(["squeue", "--me", "-h", *words], capture_output=True, text=True, check=True).stdout


def newest() -> str:
    """Return the name of the newest run of a flow."""
    told = subprocess.run(["anabranch", "runs", "--json"], capture_output=True, text=True, check=True, timeout=SECONDS)
    runs: list[dict[str, Any]] = json.loads(told.stdout)["runs"]
    return str(runs[0]["name"])
