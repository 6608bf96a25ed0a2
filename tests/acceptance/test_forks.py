"""A program with a live runner forks: its copy owns nothing, and what the copy does or how it ends harms nobody."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

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
    with runner._desk.lock if what is closes else contextlib.nullcontext():
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
