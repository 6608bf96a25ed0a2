"""A program with a live runner forks: its copy owns nothing, and what the copy does or how it ends harms nobody."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.sampled(3, "a Python, and often two workers, for each")
FORKING = Path(__file__).with_name("forking.py")

PROGRAM = """
import contextlib, os, signal, sys, warnings
from pathlib import Path

from anabranch import InlineRunner, ProcessRunner, ThreadRunner, flow, session, settings, task

warnings.simplefilter("ignore", DeprecationWarning)  # that a process with threads forks is what this is about
kind, home = sys.argv[1:]
runner = {"process": ProcessRunner, "thread": ThreadRunner}[kind](max_workers=2)
here = session.Session(settings.load({}, home=Path(home), runner=runner, progress=False, log_level="ERROR"))
session.use(here)


@task
def work(n):
    return os.getpid(), bytes([n]) * 200_000  # over what travels in a message: process workers keep it in shared memory


@flow
def main():
    return work.map(range(4), chunk=1)


def ends(): ...


def closes():
    runner.close(cancel=True)
    here.close()


def runs_a_flow():
    session.use(None)
    chosen = settings.load({}, home=Path(home + "-child"), runner=InlineRunner(), progress=False)
    session.use(session.Session(chosen))
    assert main()[0][0] == os.getpid()
    session.current().close()


main()
workers = [worker.pid for worker in getattr(runner, "_workers", ())]
held = work.map(range(4), chunk=1)
held.wait()
for what in (ends, runs_a_flow, closes) if kind == "process" else (ends, runs_a_flow):  # threads are not in a copy
    # Another thread may hold the runner's lock at that moment: nobody lets go of the copy's.
    with runner._in_flight.lock if what is closes else contextlib.nullcontext():
        child = os.fork()
        if child == 0:
            signal.alarm(30)  # a copy that hangs is no copy that ended
            what()
            sys.exit(7)  # an ordinary end: objects are taken down, and what stands in `atexit` is called
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code == 7, (what, code)
    assert [value for _, value in main()] == [bytes([n]) * 200_000 for n in range(4)], what
assert [value for _, value in held.result()] == [bytes([n]) * 200_000 for n in range(4)]
assert workers == [worker.pid for worker in getattr(runner, "_workers", ())]
here.close()
print("unharmed")
"""


@pytest.mark.parametrize("kind", ["process", "thread"])
def test_a_fork_harms_nobody(tmp_path: Path, kind: str) -> None:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "ANABRANCH_HOME": str(tmp_path / "other")}
    command = [sys.executable, "-c", PROGRAM, kind, str(tmp_path / "home")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, env=environ)
    assert (done.returncode, done.stdout) == (0, "unharmed\n"), done.stderr
    assert "Traceback" not in done.stderr

IN_FLOWS = ["flow", "async flow", "flow options", "subflow"]
IN_TASKS = ["task", "options", "async task"]
CODES = {"exit": 7, "raise": 1, "returns": 0, "term": -15}


def program(tmp_path: Path, *args: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "ANABRANCH_HOME": str(tmp_path / "other")}
    command = [sys.executable, str(FORKING), *args, str(tmp_path / "home")]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, env=environ)


def saw(tmp_path: Path, kind: str, place: str, *hows: str) -> Any:
    done = program(tmp_path, kind, place, ",".join(hows))
    assert done.returncode == 0, done.stderr
    assert "RecordsError" not in done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["states"] == ["Completed"]
    assert said["runs"] == len(hows) * (2 if place == "subflow" else 1)
    return said["saw"]


@pytest.mark.parametrize("place", IN_FLOWS)
def test_an_end_in_a_copy_of_a_flow_is_the_copys_own(tmp_path: Path, place: str) -> None:
    """The run goes on as if nothing had been, and the copy has the exit code of its own end."""
    for how, (found, _) in saw(tmp_path, "thread", place, *CODES).items():
        assert found[0] == [CODES[how], 0], how
        assert found[1:] == (["waited"] if place == "flow" else []), how


@pytest.mark.parametrize(
    ("kind", "place"),
    [*((kind, place) for kind in ("thread", "process") for place in IN_TASKS), ("inline", "task"), ("thread", "call")],
)
def test_an_end_in_a_copy_of_a_task_is_the_copys_own(tmp_path: Path, kind: str, place: str) -> None:
    """Each item has run once, whoever shares its worker's memory."""
    for how, (found, ran) in saw(tmp_path, kind, place, *CODES).items():
        assert found == [[0, 0], [CODES[how], 0], [0, 0]], how
        assert ran == (4 if place == "call" and how == "returns" else 3), how  # a copy of a flow goes on with it


@pytest.mark.parametrize("kind", ["thread", "process"])
@pytest.mark.parametrize("place", ["flow", "task"])
def test_a_copy_has_no_run_and_makes_its_own(tmp_path: Path, kind: str, place: str) -> None:
    for found, _ in saw(tmp_path, kind, place, "submits", *(["waits"] if place == "flow" else [])).values():
        assert [7, 0] in found


@pytest.mark.parametrize(("kind", "place"), [("thread", "flow options"), ("thread", "task"), ("process", "task")])
def test_prints_and_lines_of_a_copy_are_seen(tmp_path: Path, kind: str, place: str) -> None:
    done = program(tmp_path, kind, place, "speak")
    assert done.returncode == 0, done.stderr
    assert "a print of the copy" in done.stdout
    assert "a line of the copy" in done.stderr
