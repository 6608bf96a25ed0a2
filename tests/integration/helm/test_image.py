"""The image, as far as that goes without a container engine: linted, read, its steps carried out in a Debian root."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
import tomllib
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.helm.containerfile import Instruction, instructions
from tests.integration.helm.tools import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

IMAGE = ROOT / "helm" / "image"
SOURCE = (IMAGE / "Containerfile").read_text(encoding="utf-8")
STEPS = instructions(SOURCE)
DEBIAN = "http://deb.debian.org/debian"
SHIMS = ("dask-scheduler", "dask-worker")


def of(word: str, stage: str = "") -> list[str]:
    return [step.text for step in STEPS if (step.stage, step.word) == (stage, word)]


@pytest.mark.skipif(sys.platform != "linux", reason="the linter is installed on Linux only")
def test_it_passes_the_linter() -> None:
    done = subprocess.run([Path(sys.executable).with_name("hadolint"), IMAGE / "Containerfile"], capture_output=True)
    assert (done.returncode, done.stdout) == (0, b"")


def test_it_runs_as_a_number_without_rights() -> None:
    assert of("USER") == ["10001:0"]
    assert of("ENTRYPOINT") == ['["tini", "-g", "--"]']
    assert not of("ADD")
    assert not of("VOLUME")


def test_what_is_installed_is_pinned() -> None:
    (install,) = [run for run in of("RUN", "build") if "install" in run]
    assert "--constraint constraints.txt" in install
    extras = re.search(r'"\.\[(.*)\]"', install)
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert extras
    assert set(extras[1].split(",")) <= set(known)
    assert {step.text for step in STEPS if step.word == "FROM"} == {
        "docker.io/library/python:3.13-slim-trixie AS build",
        "docker.io/library/python:3.13-slim-trixie",
    }
    assert instructions(SOURCE, BASE="python@sha256:12")[2].text == "python@sha256:12 AS build"


def test_the_build_sees_what_it_copies_and_nothing_else() -> None:
    seen = [line[1:] for line in (IMAGE / "Containerfile.dockerignore").read_text().split() if line[0] == "!"]
    copied = [source for text in of("COPY", "build") for source in copying(text)[0]]
    assert sorted(seen) == sorted(copied)
    assert [source for source in copied if not (ROOT / source).exists()] == []


@pytest.mark.parametrize("name", SHIMS)
def test_the_operator_finds_the_commands_that_it_calls(name: str) -> None:
    lines = (IMAGE / name).read_text().splitlines()
    assert lines[0] == "#!/bin/sh"
    assert lines[-1] == f'exec dask {name.partition("-")[2]} "$@"'
    assert (IMAGE / name).stat().st_mode & stat.S_IXUSR


def copying(text: str) -> tuple[list[str], str]:
    """Return sources and destination of a COPY."""
    *sources, destination = [word for word in text.split() if not word.startswith("--")]
    return sources, destination


# -- in a root of Debian ---------------------------------------------------------------------------


class Scratch:
    """A root of Debian as the base image has one, with its Python, in which the steps are carried out.

    Both stages are one root: what a stage takes from the other is there.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        packages = "ca-certificates,python3,python3-pip,python3-venv"
        command = ["debootstrap", "--variant=minbase", f"--include={packages}", "trixie", str(place), DEBIAN]
        subprocess.run(command, check=True, capture_output=True)
        (place / "usr/local/bin/python").symlink_to("/usr/bin/python3")
        for file in ("/etc/resolv.conf", "/etc/ssl/certs/ca-certificates.crt"):
            shutil.copy(file, f"{place}{file}")

    def carry_out(self, steps: list[Instruction]) -> None:
        folder = "/"
        for step in steps:
            if step.word == "WORKDIR":
                folder = step.text
                (self.place / folder.lstrip("/")).mkdir(parents=True, exist_ok=True)
            elif step.word == "COPY" and "--from=" not in step.text:
                self._copy(*copying(step.text), folder)
            elif step.word == "RUN":
                words = ["chroot", str(self.place), "sh", "-c", f"cd {folder} && {step.text}"]
                done = subprocess.run(words, capture_output=True, text=True)
                assert done.returncode == 0, done.stderr

    def _copy(self, sources: list[str], destination: str, folder: str) -> None:
        into = self.place / str(Path(folder, destination)).lstrip("/")
        for source in map(ROOT.joinpath, sources):
            if source.is_dir():
                shutil.copytree(source, into, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, into / source.name if into.is_dir() else into)

    def size(self, folder: str) -> int:
        """Return the MB of a folder on disk."""
        found = subprocess.run(["du", "-sm", f"{self.place}{folder}"], check=True, capture_output=True, text=True)
        return int(found.stdout.split()[0])


READ_ONLY = """set -e
mount --bind "$1" "$1"; mount -o remount,bind,ro "$1"
for folder in tmp dev/shm home/anabranch; do mount -t tmpfs -o mode=1777 tmpfs "$1/$folder"; done
mount -t proc proc "$1/proc"
cp "$2" "$1/tmp/survey.py"
exec chroot --userspec="$3:0" "$1" env -i bash -c "$4"
"""
INSIDE = """set -e
export PATH=/opt/anabranch/bin:/usr/local/bin:/usr/bin:/bin HOME=/home/anabranch USER=anabranch ANABRANCH_PROGRESS=false
export DASK_SCHEDULER_ADDRESS=tcp://127.0.0.9:18786
cd /home/anabranch
! touch /opt/anabranch/touched 2>/dev/null
trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT
dask-scheduler --host 127.0.0.9 --port 18786 --dashboard-address 127.0.0.9:18787 >/tmp/scheduler 2>&1 &
dask-worker $DASK_SCHEDULER_ADDRESS --nthreads 1 --local-directory /tmp --no-dashboard >/tmp/worker 2>&1 &
tini -s -g -- anabranch run /tmp/survey.py -p n=100 --runner dask
tini -s -g -- anabranch runs
"""
FLOW = """from anabranch import flow, task

@task
def square(x: int) -> int:
    return x * x

@flow
def survey(n: int) -> int:
    assert sum(square.map(range(n)).result()) == 328350
"""


@pytest.fixture
def scratch(tmp_path: Path) -> Callable[[], Scratch]:
    if os.geteuid() or shutil.which("debootstrap") is None:
        pytest.skip("a root of Debian takes root's rights and debootstrap: apt-get install debootstrap")
    return lambda: Scratch(tmp_path / "root")


@pytest.mark.nightly("a system and 80 packages are downloaded and unpacked: four minutes")
@pytest.mark.timeout(1200)
def test_its_steps_make_what_runs_without_rights_in_a_read_only_root(
    scratch: Callable[[], Scratch], tmp_path: Path
) -> None:
    made = scratch()
    made.carry_out(STEPS)
    assert made.size("/opt/anabranch") < 250  # the base image has some 130 MB more
    (tmp_path / "survey.py").write_text(FLOW)
    with ExitStack() as stack:
        script = stack.enter_context((tmp_path / "script").open("w+"))
        script.write(READ_ONLY)
        script.flush()
        for user in ("10001", "1234567890"):  # the second as OpenShift gives them out
            words = ["unshare", "-m", "bash", script.name, str(made.place), str(tmp_path / "survey.py"), user, INSIDE]
            done = subprocess.run(words, capture_output=True, text=True, timeout=180)
            assert done.returncode == 0, done.stdout + done.stderr
            assert "Completed" in done.stdout
