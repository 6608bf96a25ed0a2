"""Clusters with a name: they outlive programs, which find them by it."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import DaskRunner
from anabranch.clusters.here import HereCluster
from anabranch.core.errors import RunnerError, VersionMismatch
from tests.integration.clusters.by_name import command, own_home, status
from tests.integration.clusters.conftest import in_queue, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.dask, pytest.mark.timeout(300)]

PROGRAM = """
import os, sys
from anabranch import DaskRunner, flow, task

@task
def pid(x):
    return os.getpid()

@flow
def pids():
    return sorted(set(pid.map(range(50)).result()))

if __name__ == "__main__":
    print(*pids.with_options(runner=DaskRunner(cluster=sys.argv[1]))())
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    yield from own_home(tmp_path, monkeypatch)


def started(name: str, kind: str = "local", jobs: str = "1") -> None:
    command("start", name, "--kind", kind, "--cores", "1", "--memory", "500MiB", "--jobs", jobs)


@pytest.mark.slurm
def test_two_programs_use_the_same_workers_and_the_cluster_stays(slurm: str, home: Path, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    name = f"n{os.getpid()}"
    started(name, "slurm")
    assert stat.S_IMODE((home / f"{name}.json").stat().st_mode) == 0o600
    said = [
        subprocess.run([sys.executable, str(program), name], check=True, capture_output=True, text=True).stdout
        for _ in range(2)
    ]
    assert said[0] == said[1] != ""
    assert status(name)["workers"] == len(in_queue(name)) == 1
    command("scale", name, "2")
    until(lambda: status(name)["workers"] == 2, "two workers")
    assert "Registered to" in command("logs", name)
    command("stop", name)
    until(lambda: not in_queue(name), "no job is left")
    assert list(home.iterdir()) == []


@pytest.mark.sampled(4, "a cluster of its own")
def test_a_name_is_taken_until_its_cluster_stops(home: Path) -> None:
    started("one", jobs="0..1")
    assert "runs already" in command(
        "start", "one", "--kind", "local", "--cores", "1", "--memory", "1GiB", code=1
    )
    assert "one" in command("status")
    command("stop", "one")
    assert "no clusters" in command("status")
    started("one", jobs="0..1")


@pytest.mark.sampled(4, "a cluster of its own")
def test_of_two_starts_at_once_one_is_refused_and_leaves_nothing(home: Path) -> None:
    words = [sys.executable, "-m", "anabranch", "cluster", "start", "one", "--kind", "local", "--cores", "1"]
    starts = [
        subprocess.Popen([*words, "--memory", "1GiB", "--jobs", "0..1"], stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, text=True)
        for _ in range(2)
    ]  # fmt: skip
    said = [start.communicate()[0] for start in starts]
    assert sorted(start.returncode for start in starts) == [0, 1], said
    assert sum("runs already" in one for one in said) == 1, said
    command("stop", "one")
    assert list(home.iterdir()) == []


@pytest.mark.sampled(4, "a cluster of its own")
def test_a_cluster_that_has_died_is_told_and_cleared_away(home: Path) -> None:
    started("one", jobs="0..1")
    os.kill(status("one")["pid"], signal.SIGKILL)
    until(lambda: "has died" in command("status"), "its end is seen")
    with pytest.raises(RunnerError, match="has died"):
        DaskRunner(cluster="one").start(lambda events: None)
    assert "was dead" in command("stop", "one")
    assert command("stop", "one", code=1).startswith("Error: there is no cluster 'one'")


def test_an_unknown_name_lists_those_that_are_known(home: Path) -> None:
    with pytest.raises(RunnerError, match=r"no cluster 'two' \(known: none\); `anabranch cluster start two"):
        DaskRunner(cluster="two").start(lambda events: None)


def test_a_cluster_of_other_versions_is_refused(home: Path) -> None:
    started("one", jobs="0..1")
    file = home / "one.json"
    before = file.read_text()
    found = json.loads(before)
    file.write_text(json.dumps({**found, "versions": {**found["versions"], "Python": "3.99"}}))
    with pytest.raises(VersionMismatch, match=r"Python 3\.1\d here, 3\.99 there"):
        DaskRunner(cluster="one").start(lambda events: None)
    file.write_text(before)


def test_a_file_that_is_damaged_is_told(home: Path) -> None:
    home.mkdir(parents=True)
    (home / "one.json").write_text('{"host": ')
    with pytest.raises(RunnerError, match=r"one\.json of the cluster 'one' cannot be read"):
        DaskRunner(cluster="one").start(lambda events: None)
    command("stop", "one")


@pytest.mark.parametrize("jobs", ["-1", "0", "4..1", "many", "1..x"])
def test_numbers_of_jobs_that_cannot_be_are_refused(home: Path, jobs: str) -> None:
    said = command("start", "x", "--kind", "local", "--cores", "1", "--memory", "1GiB", f"--jobs={jobs}", code=2)
    assert "jobs " in said


@pytest.mark.parametrize(
    ("kind", "line"), [("slurm", "#SBATCH --mem=16384M"), ("pbs", "#PBS -l select=1:ncpus=8:mem=16384mb")]
)
def test_a_dry_run_shows_the_script_and_starts_nothing(home: Path, kind: str, line: str) -> None:
    script = command("start", "x", "--kind", kind, "--cores", "8", "--memory", "16GiB", "--queue", "long", "--dry-run")
    lines = script.splitlines()
    assert line in lines
    assert lines[0].startswith("#!/bin/bash")
    assert lines[-1].startswith("exec ")
    assert not home.exists()


@pytest.mark.sampled(4, "a cluster of its own")
def test_lines_that_a_site_forbids_are_left_out(home: Path, size: dict[str, Any]) -> None:
    script = HereCluster(**size, prologue=["module load cuda"]).job_script()
    assert script.splitlines()[1] == "module load cuda"
    script = command(
        "start", "x", "--kind", "slurm", "--cores", "8", "--memory", "16GiB", "--skip=--mem", "--skip=--no-requeue",
        "--directive=--qos=long", "--dry-run",
    )  # fmt: skip
    assert "#SBATCH --mem" not in script
    assert "--no-requeue" not in script
    assert "#SBATCH --qos=long" in script
