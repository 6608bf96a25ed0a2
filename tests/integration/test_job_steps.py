"""A task runs a program to its end, on this machine; the program ends with its run, however that ends."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import flow, get_run_logger, run_step, session, task
from anabranch.core.processes import process_alive
from anabranch.errors import CancelledRun, LaunchError, StepError, TaskTimeoutError
from anabranch.runners.process.runner import ProcessRunner
from anabranch.runners.thread.runner import ThreadRunner
from tests.acceptance.gates import Gate, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.sampled(4, "programs and their signals for each")
HOLDS = 'echo $$ > "$1".new && mv "$1".new "$1"; while :; do sleep 0.1; done'  # a program that ends when it is told to
REFUSES = f"trap '' TERM; {HOLDS}"


@pytest.fixture(autouse=True)
def no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)


@pytest.fixture(params=["thread", "process"])
def runner(request: pytest.FixtureRequest) -> Iterator[Any]:
    with ThreadRunner(max_workers=2) if request.param == "thread" else ProcessRunner(max_workers=2) as made:
        yield made


def pid_in(file: Path) -> int:
    until(file.exists, "the program's begin")
    return int(file.read_text())


@task
def hold(file: str, script: str = HOLDS) -> str:
    return run_step(["sh", "-c", script, "sh", file])


def test_a_task_gets_what_its_program_wrote_and_the_log_has_its_lines(runner: Any) -> None:
    @task
    def greet(name: str) -> str:
        get_run_logger().info("before")
        return run_step(["sh", "-c", 'echo "hello $1"; echo "to $OTHER" >&2', "sh", name], env={"OTHER": "all"})

    @flow(runner=runner)
    def run() -> list[str]:
        return list(greet.map(["a", "b"]).result())

    state = run(return_state=True)
    assert state.result() == ["hello a\n", "hello b\n"]
    now = session.current()
    now.flush_records()
    [row] = now.records.flow_runs(limit=1)
    said = sorted(line.message for line in now.records.logs(row.id))
    assert [line for line in said if line.startswith(("hello", "to"))] == ["hello a", "hello b", "to all", "to all"]


def test_a_program_that_fails_is_an_error_with_its_last_lines(runner: Any) -> None:
    @task
    def fail() -> str:
        return run_step(["sh", "-c", "for n in $(seq 30); do echo line $n; done; exit 3"])

    @flow(runner=runner)
    def run() -> Exception | None:
        return fail.submit().exception()

    error = run()
    assert isinstance(error, StepError)
    assert error.code == 3
    assert error.output.splitlines()[0] == "line 1"
    assert str(error).splitlines() == [
        "sh ended with code 3; its last lines:", *(f"line {n}" for n in range(21, 31)),
    ]  # fmt: skip


def test_lines_are_in_the_log_while_the_program_runs(runner: Any, tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate")

    @task
    def wait(path: str) -> str:
        return run_step(["sh", "-c", 'echo begun; while [ ! -e "$1" ]; do sleep 0.1; done', "sh", path])

    def lines() -> list[str]:
        now = session.current()
        now.flush_records()
        return [line.message for line in now.records.logs(now.records.flow_runs(limit=1)[0].id)]

    @flow(runner=runner)
    def run() -> str:
        future = wait.submit(gate.path)
        try:
            until(lambda: "begun" in lines(), "the line")
        finally:
            gate.open()
        return future.result()

    assert run() == "begun\n"


def test_a_signal_and_a_missing_program_are_told(tmp_path: Path) -> None:
    with pytest.raises(StepError, match=r"ended with code 137 .ended by signal 9., without a word"):
        run_step(["sh", "-c", "kill -9 $$"])
    with pytest.raises(StepError, match=r"code 127; its last lines:\n\./nosuch cannot be started: No such file"):
        run_step(["./nosuch"], cwd=tmp_path)


@pytest.mark.parametrize(
    ("words", "given", "message"),
    [
        ([], {}, "a list of a program and its arguments"),
        ("./solver x", {}, "a list of a program and its arguments"),
        (["x"], {"ntasks": 0}, "ntasks must be 1 or more, got 0"),
        (["x"], {"cpus_per_task": 1.5}, "cpus_per_task must be 1 or more, got 1.5"),
        (["x"], {"gpus_per_task": -1}, "gpus_per_task must be 0 or more"),
        (["x"], {"launcher": "aprun"}, "launcher is one of srun, mpirun, mpiexec, itself, got 'aprun'"),
        (["x"], {"launcher": "itself", "ntasks": 2}, "for one rank, got ntasks=2"),
    ],
)
def test_bad_arguments_are_refused_before_anything_starts(words: Any, given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run_step(words, **given)


def test_many_ranks_without_slurm_and_without_mpi_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(LaunchError, match="4 ranks need srun inside of a Slurm job, or mpirun"):
        run_step([sys.executable], ntasks=4)


def test_mpi_starts_many_ranks_on_a_machine_without_slurm() -> None:
    if not (shutil.which("mpirun") or shutil.which("mpiexec")):
        pytest.skip("there is no mpirun here: apt-get install mpich")
    assert run_step(["echo", "here"], ntasks=3) == "here\n" * 3


def test_of_a_long_output_the_last_part_is_kept() -> None:
    text = run_step(["sh", "-c", "seq 100000; printf '10%%\\r20%%\\n'; printf end"])
    assert text.endswith("100000\n10%\r20%\nend")
    assert 60_000 < len(text) <= 65_537


def test_a_program_knows_its_threads_and_its_folder(tmp_path: Path) -> None:
    text = run_step(["sh", "-c", "echo $OMP_NUM_THREADS; pwd"], cpus_per_task=3, cwd=tmp_path)
    assert text.split() == ["3", str(tmp_path)]


@pytest.mark.parametrize(
    "script", [HOLDS, pytest.param(REFUSES, marks=pytest.mark.nightly("it waits ten seconds for SIGKILL"))]
)
def test_a_time_limit_ends_the_program(runner: Any, tmp_path: Path, script: str) -> None:
    """On a busy machine the program may not have begun at its first limit."""
    file = tmp_path / "pid"

    @flow(runner=runner)
    def run(seconds: float) -> Exception | None:
        return hold.with_options(timeout_seconds=seconds).submit(str(file), script).exception()

    limits = iter([2.0, 10.0, 25.0])
    while not file.exists():
        assert isinstance(run(next(limits)), TaskTimeoutError)
    pid = int(file.read_text())
    until(lambda: not process_alive(pid), "the program's end")


def test_a_cancel_ends_the_program(runner: Any, tmp_path: Path) -> None:
    file = tmp_path / "pid"

    @flow(runner=runner)
    def run() -> None:
        future = hold.submit(str(file))
        pid_in(file)
        future.cancel()
        future.result()

    with pytest.raises(CancelledRun):
        run()
    pid = int(file.read_text())
    until(lambda: not process_alive(pid), "the program's end")


DRIVER = """
import sys
from anabranch import flow, run_step, task

@task
def hold(file):
    run_step(["sh", "-c", {script!r}, "sh", file])

@flow(runner={kind!r})
def run():
    hold.submit({file!r}).result()

if __name__ == "__main__":
    run()
"""


@pytest.mark.parametrize("kind", ["thread", "process"])
def test_a_killed_driver_takes_the_program_along(tmp_path: Path, kind: str) -> None:
    script = tmp_path / "driver.py"
    script.write_text(DRIVER.format(script=HOLDS, kind=kind, file=str(tmp_path / "pid")))
    env = {**os.environ, "ANABRANCH_HOME": str(tmp_path / "home"), "ANABRANCH_PROGRESS": "false"}
    with subprocess.Popen([sys.executable, str(script)], env=env) as driver:
        try:
            pid = pid_in(tmp_path / "pid")
        finally:
            driver.send_signal(signal.SIGKILL)
    until(lambda: not process_alive(pid), "the program's end")


def test_what_a_program_leaves_behind_holds_nobody_up(tmp_path: Path) -> None:
    """A daemon that it has started has its output open."""
    gate = Gate(tmp_path / "gate")
    try:
        text = run_step(["sh", "-c", f"while [ ! -e {gate.path} ]; do sleep 0.1; done & echo started"])
        assert text == "started\n"
    finally:
        gate.open()


@pytest.mark.parametrize(
    ("output", "whole"),
    [
        *((text, True) for text in ("", "5", "5\n\n", "a\rb\r\nc", "\n", "y" * (64 << 10))),
        ("\u00e9\u20ac" * 40_000, False),
        ("x\n" * 9 + "y" * 70_000, False),
        ("xy\n" * 100_000, False),
    ],
)
def test_what_is_returned_is_what_was_written(output: str, whole: bool, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(output.encode())
    text = run_step(["cat", str(tmp_path / "file")])
    assert output.endswith(text), "cut inside of a character"
    least = len(output.encode()) if whole else (64 << 10) - 4
    assert least <= len(text.encode()) <= 64 << 10
    assert whole or not text.startswith("y\n")


def test_what_was_written_before_something_was_left_behind_is_returned(tmp_path: Path) -> None:
    """A process that holds the output open says nothing more; the last line has no end."""
    script = 'while [ ! -e "$1" ]; do sleep 0.1; done & printf 5'
    try:
        assert run_step(["sh", "-c", script, "sh", str(tmp_path / "gate")]) == "5"
    finally:
        (tmp_path / "gate").touch()
