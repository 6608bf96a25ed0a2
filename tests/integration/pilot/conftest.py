"""Jobs of a real Slurm in which pilots run, and what they leave."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import waiting

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[3]
PATIENCE = 240.0  # seconds for anything: the machine may be busy
FLOWS = Path(__file__).with_name("flows.py")


class Jobs:
    """Submits scripts; each test has a home and a folder of logs of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.tmp = folder / "tmp"
        self.tmp.mkdir()
        self.scripts = 0

    def pilot(self, flow: str, *words: str, srun: str = "") -> str:
        """The line of a script that runs a flow of flows.py."""
        command = shlex.join([sys.executable, "-P", "-m", "anabranch", "pilot", f"{FLOWS}:{flow}", *words])
        return f"srun {srun} {command}" if srun else f"exec {command}"

    def submit(self, line: str, *options: str, before: str = "") -> str:
        """Submit a script with this last line; returns the job's id."""
        self.scripts += 1
        script = self.folder / f"script{self.scripts}"
        script.write_text(
            f"#!/bin/bash\nexport PYTHONPATH={shlex.quote(str(ROOT))} ANABRANCH_HOME={shlex.quote(str(self.home))}\n"
            f"export ANABRANCH_PROGRESS=false TMPDIR={shlex.quote(str(self.tmp))}\n{before}\n{line}\n"
        )
        asked = ["sbatch", "--parsable", "--time=10", f"--output={self.folder}/%j.log", "--open-mode=append", *options]
        done = subprocess.run([*asked, str(script)], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def log(self, job: str) -> str:
        try:
            return (self.folder / f"{job}.log").read_text()
        except FileNotFoundError:
            return ""

    def state(self, job: str) -> str:
        done = subprocess.run(["scontrol", "show", "job", "-o", job], capture_output=True, text=True, check=True)
        return dict(word.partition("=")[::2] for word in done.stdout.split())["JobState"]

    def ended(self, *jobs: str) -> list[str]:
        """Wait until these jobs have ended, and return their states."""
        until(lambda: all(self.state(job) not in ("PENDING", "RUNNING", "COMPLETING") for job in jobs), self.log, *jobs)
        return [self.state(job) for job in jobs]

    def completed(self, *jobs: str) -> None:
        states = self.ended(*jobs)
        assert states == ["COMPLETED"] * len(jobs), "\n".join(map(self.log, jobs))

    def left(self) -> list[str]:
        """What lies in the job's scratch and in the home."""
        found = [file for place in (self.tmp, self.home) for file in place.rglob("*")]
        return sorted(str(file.relative_to(self.folder)) for file in found)


def until(true: Callable[[], object], log: Callable[[str], str], *jobs: str, seconds: float = PATIENCE) -> None:
    waiting.until(true, lambda: "\n".join(map(log, jobs)), seconds=seconds, pause=0.3)


def mine(word: str) -> list[int]:
    """The processes whose command line or environment has this word."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            text = (place / "cmdline").read_bytes() + (place / "environ").read_bytes()
        except OSError:
            continue
        if word.encode() in text and int(place.name) != os.getpid():
            found.append(int(place.name))
    return found


@pytest.fixture
def jobs(slurm: str, tmp_path: Path) -> Jobs:
    return Jobs(tmp_path)
