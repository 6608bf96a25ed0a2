"""The pages for users of Slurm, typed on a real one: each page from its top to its end, with what it shows.

    page.md --play--> sbatch, salloc, anabranch submit, SlurmCluster ...   as a reader with a home and ~/ab
            --then--> the queue is empty, and each run has ended well or was cancelled by the page
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.docs.blocks import ROOT, blocks, pages
from tests.docs.not_run import NOT_RUN
from tests.docs.terminal import learned, named
from tests.waiting import until

if TYPE_CHECKING:
    from tests.slurm_nodes import SlurmNodes

pytestmark = pytest.mark.timeout(1500)
NEEDS = "needs Slurm"
PAGES = [page for page, reasons in NOT_RUN.items() if NEEDS in reasons]
TEN_MINUTES = 600.0
FIRST = re.compile(r"\n## First job in ten minutes\n.*?(?=\n## )", re.DOTALL)
CANCELS = re.compile(r"^\$ .*\banabranch run cancel ", re.MULTILINE)
JOBS_LOG = 4000  # characters of it, for a message


class Reader:
    """Somebody with a home folder, a login node, and no root."""

    def __init__(self, folder: Path, conf: Path) -> None:
        self.home = folder / "home"
        self.work = folder / "work"
        self.home.mkdir()
        self.work.mkdir()
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("ANABRANCH_", "SLURM_", "SBATCH_", "PYTHON"))}
        self.env = {**kept, "HOME": str(self.home), "SLURM_CONF": str(conf), "NO_COLOR": "1"}

    def uses_this_python(self) -> None:
        """As if it had been installed in ~/ab, and the shell's PATH had it."""
        programs = Path(sys.executable).parent
        (self.home / "ab").symlink_to(programs.parent)
        self.env |= {"PATH": f"{programs}{os.pathsep}{self.env['PATH']}", "PYTHONPATH": str(ROOT)}

    def plays(self, page: Path | str, *although: str) -> dict[str, int]:
        """Play a page; returns how many blocks ran, by kind."""
        done = subprocess.run(
            [sys.executable, "-m", "tests.docs.play", str(page), *although],
            cwd=self.work,
            env={**self.env, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=1300,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{self.logs()}"
        counts: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
        return counts

    def logs(self) -> str:
        files = [*self.work.glob("*.log"), *self.home.glob(".anabranch/jobs/*/log")]
        return "\n".join(f"== {file}\n{file.read_text(errors='replace')[-JOBS_LOG:]}" for file in files)

    def says(self, *command: str) -> str:
        return subprocess.run(command, env=self.env, capture_output=True, text=True, check=True).stdout

    def runs(self) -> dict[str, str]:
        """The flow runs of the record, with their states."""
        told = self.says(str(self.home / "ab/bin/anabranch"), "runs", "--json")
        return {run["name"]: run["state"] for run in json.loads(told)["runs"]}


@pytest.fixture
def reader(slurm_site: SlurmNodes, slurm: str, tmp_path: Path) -> Reader:
    return Reader(tmp_path, slurm_site.conf)


@pytest.mark.parametrize(
    "page", [pytest.param(page, marks=pytest.mark.sampled(len(PAGES), "jobs that start Python")) for page in PAGES]
)
@pytest.mark.dask
def test_a_page_is_typed_on_slurm(page: str, reader: Reader) -> None:
    reader.uses_this_python()
    counts = reader.plays(page, NEEDS)
    until(lambda: not reader.says("squeue", "--me", "-h"), lambda: reader.says("squeue", "--me"), seconds=120)
    cancelled = len(CANCELS.findall((ROOT / page).read_text(encoding="utf-8")))
    states = sorted(reader.runs().values())
    assert counts["command"] > 0
    assert states == sorted(["Cancelled"] * cancelled + ["Completed"] * (len(states) - cancelled)), reader.logs()


def test_each_block_for_slurm_is_of_a_kind_that_is_typed() -> None:
    """A block with that reason and without commands would be passed over."""
    marked = [(page, block) for page in pages() for block in blocks((ROOT / page).read_text()) if block.reason == NEEDS]
    assert {page for page, _ in marked} == set(PAGES)
    assert [f"{page}:{block.line}" for page, block in marked if not block.runs] == []


def test_names_that_a_page_shows_of_a_run_are_those_of_the_run_that_was_submitted() -> None:
    shown = ["run brisk-otter is submitted: slurm job 4711"]
    names = learned(shown, "warning: no --time\nrun keen-newt is submitted: slurm job 9, on Dask\n")
    assert names == {"brisk-otter": "keen-newt", "4711": "9"}
    assert named("show brisk-otter: job 4711, not 47110", names) == "show keen-newt: job 9, not 47110"
    assert learned(["a table"], "run keen-newt is submitted: slurm job 9") == {}


@pytest.mark.nightly("it installs all packages from an index, as a new user does")
def test_a_first_job_from_a_clone_in_ten_minutes(reader: Reader, tmp_path: Path) -> None:
    """Typed with nothing installed beforehand: `git clone`, and the section of the page."""
    [section] = FIRST.findall((ROOT / "docs/hpc.md").read_text(encoding="utf-8"))
    (tmp_path / "first.md").write_text(section)
    began = time.monotonic()
    clone = ["git", "clone", "-q", str(ROOT), "anabranch"]
    if subprocess.run(clone, cwd=reader.work, env=reader.env, capture_output=True).returncode:  # no repository here
        skip = shutil.ignore_patterns(".*", "build", "__pycache__")
        shutil.copytree(ROOT, reader.work / "anabranch", ignore=skip)
    reader.plays(tmp_path / "first.md", NEEDS, "installs")
    took = time.monotonic() - began
    assert sorted(reader.runs().values()) == ["Completed", "Completed"], reader.logs()
    [log] = reader.work.glob("study-*.log")
    assert "20000 simulations, mean " in log.read_text()
    print(f"a first job from a clone: {took:.0f} s")
    assert took < TEN_MINUTES
