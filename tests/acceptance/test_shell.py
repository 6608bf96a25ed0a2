"""`ShellOperation`: commands as task runs on every runner, and beside the code that starts them."""

from __future__ import annotations

import os
import pickle
import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr

from anabranch import Secret, flow, session, task
from anabranch.core.processes import process_alive
from anabranch.errors import CancelledRun, OptionError, StepError, TaskTimeoutError
from anabranch.shell import ShellOperation
from tests.acceptance.gates import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HOLDS = "sleep 1000 & echo $! $$ > {0}.new; mv {0}.new {0}; wait"  # a shell and a child of it, whose pids are told


def pids_in(file: Path) -> list[int]:
    until(file.exists, "the shell's begin")
    return [int(word) for word in file.read_text().split()]


def all_gone(pids: list[int]) -> Callable[[], bool]:
    return lambda: not any(process_alive(pid) for pid in pids)


def lines_of(run_name: str) -> list[str]:
    now = session.current()
    now.flush_records()
    [row] = [row for row in now.records.flow_runs(limit=50) if row.name == run_name]
    return [line.message for line in now.records.logs(row.id)]


# -- as a task -----------------------------------------------------------------------------------------


def test_its_value_is_what_it_writes_on_every_runner(runner: str, tmp_path: Path) -> None:
    (tmp_path / "data.txt").write_text("a\nb\nc\n")

    @flow(flow_run_name=f"shell on {runner}")
    def main() -> Any:
        count = ShellOperation(["wc -l data.txt"], working_dir=tmp_path)
        words = [ShellOperation([f"echo {n}", 'echo "$MINE" >&2'], env={"MINE": "mine"}) for n in range(3)]
        return int(count().split()[0]), count.submit().result().split()[0], [word.submit() for word in words]

    assert main() == (3, "3", ["0", "1", "2"])
    said = lines_of(f"shell on {runner}")
    assert sorted(line for line in said if line in {"0", "1", "2", "mine"}) == ["0", "1", "2", "mine", "mine", "mine"]


def test_inside_of_a_task_its_lines_are_the_tasks(concurrent: str) -> None:
    @task
    def both(n: int) -> list[str]:
        return ShellOperation([f"echo {n}", "echo twice"]).run()

    assert both.map([1, 2]).result() == [["1", "twice"], ["2", "twice"]]


def test_it_stops_at_the_first_command_that_fails(concurrent: str) -> None:
    stops = ShellOperation(["echo one", "echo why >&2; (exit 7)", "echo three"])

    @flow
    def main() -> Any:
        return stops.submit().exception()

    error = main()
    assert type(error) is StepError
    assert (error.code, error.output) == (7, "one\n")
    assert str(error) == "command 2 of 3 (`echo why >&2; (exit 7)`) ended with code 7; its last lines:\none\nwhy"


def test_it_goes_on_when_asked_to(threads: str) -> None:
    commands = ["echo one", "(exit 7)", "echo three"]
    assert ShellOperation(commands, continue_on_error=True)() == "one\nthree"
    with pytest.raises(StepError, match=r"command 2 of 2 .*code 7"):
        ShellOperation(commands[:2], continue_on_error=True)()


def test_both_outputs_come_in_their_order(threads: str) -> None:
    assert ShellOperation(["echo 1; echo 2 >&2; echo 3"], return_all=True)() == "1\n2\n3"
    assert ShellOperation(["echo 1; echo 2 >&2; echo 3"])() == "1\n3"


def test_options_of_its_task(concurrent: str, tmp_path: Path) -> None:
    tries = tmp_path / "tries"
    once = ShellOperation([f"echo x >> {tries}", f"test $(wc -l < {tries}) -gt 2", "echo done"])
    state = once.with_options(name="build", retries=2).submit().wait()
    assert (state.name, state.result()) == ("Completed", "done")
    assert tries.read_text() == "x\n" * 3
    with pytest.raises(OptionError, match="retries"):
        once.with_options(retrys=2)


def test_nothing_is_logged_when_its_stream_is_off(threads: str) -> None:
    @flow(flow_run_name="quiet")
    def main() -> str:
        return ShellOperation(["echo unheard"], stream_output=False)()

    assert main() == "unheard"
    assert "unheard" not in lines_of("quiet")


def test_secrets_among_its_variables_are_masked(concurrent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOR_SHELL", "first-hidden-text")
    second = SecretStr("second-hidden-text")
    env = {"A": Secret("FOR_SHELL"), "B": second, "GIT_TOKEN": "third-hidden-text", "C": "open"}
    tells = ShellOperation(['echo "$A $B $GIT_TOKEN $C"', "false"], env=env)
    assert "hidden" not in repr(tells)

    @flow(flow_run_name=f"secrets on {concurrent}")
    def main() -> Any:
        return tells.submit().wait()

    state = main(return_state=True)
    assert "hidden" not in str(state)
    said = lines_of(f"secrets on {concurrent}")
    stars = "*" * 10
    assert f"{stars} {stars} {stars} open" in said
    assert not [line for line in said if "hidden" in line]


def test_of_much_output_the_last_lines_are_kept(threads: str) -> None:
    much = ShellOperation(["seq 2000000"], stream_output=False, output_limit=1000)  # 15 MB

    @flow(flow_run_name="much")
    def main() -> str:
        return much()

    lines = main().splitlines()
    assert lines == [str(n) for n in range(2_000_001 - len(lines), 2_000_001)]
    assert 100 < len(lines) <= 125
    assert [line for line in lines_of("much") if line.startswith("`seq 2000000` has written 14,888,896 bytes")]


# -- its end -------------------------------------------------------------------------------------------


def test_all_that_it_has_started_ends_with_a_cancel(concurrent: str, tmp_path: Path) -> None:
    future = ShellOperation([HOLDS.format(tmp_path / "pids")]).submit()
    pids = pids_in(tmp_path / "pids")
    assert not all_gone(pids)()
    future.cancel()
    assert future.wait().is_cancelled()
    until(all_gone(pids), "the end of the shell and its child")


def test_what_does_not_end_when_told_to_is_killed(
    threads: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anabranch.shell.process.PATIENCE", 0.1)
    future = ShellOperation(["trap '' TERM; " + HOLDS.format(tmp_path / "pids")]).submit()
    pids = pids_in(tmp_path / "pids")
    future.cancel()
    until(all_gone(pids), "the end of the shell and its child")


def held_until_late(folder: Path, run: Callable[[str, float], None]) -> list[int]:
    """The pids of a shell that was late; with a limit long enough for it to begin, however slow the machine is."""
    for seconds in (1.0, 4.0, 16.0, 64.0):
        file = folder / f"{seconds:g}"
        run(HOLDS.format(file), seconds)
        if file.exists():
            return pids_in(file)
    pytest.fail("it never began")


def test_it_ends_with_a_time_limit_of_its_task(concurrent: str, tmp_path: Path) -> None:
    def run(command: str, seconds: float) -> None:
        assert ShellOperation([command]).with_options(timeout_seconds=seconds).submit().wait().name == "TimedOut"

    until(all_gone(held_until_late(tmp_path, run)), "the end of the shell and its child")


def test_it_ends_with_its_own_time_limit(threads: str, tmp_path: Path) -> None:
    def run(command: str, seconds: float) -> None:
        with pytest.raises(TaskTimeoutError, match=f"took more than {seconds:g} s"):
            ShellOperation([command], timeout_seconds=seconds)()

    until(all_gone(held_until_late(tmp_path, run)), "the end of the shell and its child")


def test_it_ends_with_its_worker(processes: str, tmp_path: Path) -> None:
    @task(crash_retries=0)
    def hold(file: str) -> None:
        ShellOperation([f"echo {os.getpid()} > {file}.worker", HOLDS.format(file)]).run()

    future = hold.submit(str(tmp_path / "pids"))
    pids = pids_in(tmp_path / "pids")
    os.kill(int((tmp_path / "pids.worker").read_text()), signal.SIGKILL)
    assert future.wait().is_crashed()
    until(all_gone(pids), "the end of the shell and its child")


# -- beside its caller ---------------------------------------------------------------------------------


def test_it_runs_beside_its_caller(tmp_path: Path) -> None:
    go = tmp_path / "go"
    os.mkfifo(go)
    with ShellOperation(["echo begun", f"read word < {go}", "echo $word", "exit 3"]) as operation:
        process = operation.trigger()
        until(lambda: process.fetch_result() == ["begun"], "its first line")
        assert process.return_code is None
        assert process_alive(process.pid)
        with pytest.raises(TimeoutError, match=r"still runs after 0.01 s"):
            process.wait_for_completion(timeout=0.01)
        go.write_text("on\n")
        with pytest.raises(StepError, match=r"the shell of 4 commands .`echo begun`, .... ended with code 3"):
            process.wait_for_completion()
        assert (process.return_code, process.fetch_result()) == (3, ["begun", "on"])


def test_a_block_ends_what_it_has_started(tmp_path: Path) -> None:
    with ShellOperation([HOLDS.format(tmp_path / "pids")]) as operation:
        process = operation.trigger()
        pids = pids_in(tmp_path / "pids")
    until(all_gone(pids), "the end of the shell and its child")
    with pytest.raises(CancelledRun, match="was ended"):
        process.wait_for_completion()
    name = f"anabranch-shell-{process.pid}"
    assert not [thread for thread in threading.enumerate() if thread.name == name]


def test_it_leaves_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    assert ShellOperation(["echo $0"]).run()[0].startswith(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


# -- bad input -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "kind", "words"),
    [
        ({"commands": "echo a"}, TypeError, "commands must be a list of texts, got 'echo a'"),
        ({"commands": []}, ValueError, "at least one command"),
        ({"commands": ["echo", " "]}, ValueError, "none that is empty"),
        ({"env": {"A": 1}}, TypeError, "env must have texts or secrets, got int for 'A'"),
        ({"timeout_seconds": 0}, ValueError, "timeout_seconds must be greater than 0, got 0"),
        ({"output_limit": 0}, ValueError, "output_limit must be greater than 0"),
        ({"commands": ["1", "2"], "shell": "python3"}, ValueError, "python3 cannot be told to stop"),
    ],
)
def test_what_it_refuses(more: dict[str, Any], kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        ShellOperation(**{"commands": ["true"], **more})


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no shell nosuchshell"):
        ShellOperation(["true"], shell="nosuchshell").run()
    with pytest.raises(FileNotFoundError, match=r"working_dir .* is no folder here"):
        ShellOperation(["true"], working_dir=tmp_path / "gone").run()
    with pytest.raises(StepError, match="code 127"):
        ShellOperation(["nosuchcommand"]).run()


def test_other_shells_run_one_command(tmp_path: Path) -> None:
    assert ShellOperation(["import os; print(6 * 7)"], shell="python3").run() == ["42"]


def test_it_travels_without_what_it_has_started() -> None:
    with ShellOperation(["true"]) as operation:
        operation.trigger().wait_for_completion()
        assert pickle.loads(pickle.dumps(operation)) == operation
