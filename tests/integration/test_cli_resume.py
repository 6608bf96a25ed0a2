"""`anabranch resume` and `anabranch retry`, as people type them: in processes and with a home of their own."""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from anabranch import flow, task
from anabranch.cli import cli
from anabranch.core import states
from anabranch.core.processes import host_name, process_started
from anabranch.core.runs import FlowRunRow
from anabranch.records.sqlite import SqliteRecords
from tests.acceptance.resuming import Ledger, fails

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.session import Session

pytestmark = pytest.mark.sampled(4, "Pythons for each")
REPOSITORY = Path(__file__).resolve().parents[2]
MAIN = [sys.executable, "-c", "from anabranch.cli import main; main()"]
# `double` notes what it runs in the file "ran"; the file "mended" lets it and the flows complete.
FLOWS = """
import os
from anabranch import flow, task

@task
def double(x, plus=0):
    with open("ran", "a") as file:
        file.write(f"{x}\\n")
    if x == 3 and not os.path.exists("mended"):
        raise ValueError("three")
    return 2 * x + plus

def ended(found):
    if not os.path.exists("mended"):
        raise ValueError("not yet")
    print("made", *found)

@flow(runner="inline")
def doubled(n: int, plus: int = 0):
    ended(double.map(range(n), plus=plus).result())

@flow(runner="inline")
async def awaited(n: int):
    ended(double.map(range(n)).result())

@flow(runner="inline")
def yielding(n: int):
    for x in range(n):
        yield double.submit(x)
    ended(["all"])

@flow(runner="inline")
async def yielding_async(n: int):
    for x in range(n):
        yield double.submit(x)
    ended(["all"])

class Doubler:
    plus = 1

    @flow(runner="inline", name="in-class")
    @classmethod
    def doubled(cls, n: int):
        ended(double.map(range(n), plus=cls.plus).result())
"""
ASKING = (
    "the code of task 'double' has changed since the run was recorded: resume with --keep-changed (changed='keep') to "
    "keep what it has made, or --rerun-changed (changed='rerun') to run it again"
)


class Home:
    """A working directory with flows, and what is recorded of their runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ledger = Ledger(folder)

    def call(self, *words: str, code: int, answers: str = "") -> subprocess.CompletedProcess[str]:
        """The command; with answers its stdin is a terminal, where they are typed ahead."""
        with contextlib.ExitStack() as ends:
            source: int = subprocess.DEVNULL
            if answers:
                keyboard, source = pty.openpty()
                ends.callback(os.close, source)
                ends.callback(os.close, keyboard)
                os.write(keyboard, answers.encode())
            done = subprocess.run([*MAIN, *words], stdin=source, capture_output=True, text=True, timeout=50)
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr.partition("Error:")[2]
        return done

    def rows(self) -> list[FlowRunRow]:
        """All runs, oldest first."""
        with SqliteRecords(self.folder / "home" / "records.db") as records:
            return sorted(records.flow_runs(), key=lambda row: row.created)

    def change(self, old: str, new: str) -> None:
        """Edit the file of the flows."""
        path = self.folder / "flows.py"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    for name in [n for n in os.environ if n.startswith("ANABRANCH_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ANABRANCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flows.py").write_text(FLOWS)
    return Home(tmp_path)


# -- retry -----------------------------------------------------------------------------------------------


def test_retry_failed_goes_on_with_the_run_and_retry_makes_a_new_one(home: Home) -> None:
    home.call("run", "flows.py:doubled", "-p", "n=5", "-p", "plus=1", code=1)
    (first,) = home.rows()
    home.ledger.take()

    done = home.call("retry", first.name, "--failed", code=1)
    assert "Error: flow 'doubled' ended as Failed: " in done.stderr
    assert "ValueError: three" in done.stderr
    assert home.ledger.take() == ["3"], "only what failed runs again, and fails again"

    home.ledger.mend()
    assert home.call("retry", first.id[:18], "--failed", code=0).stdout == "made 1 3 5 7 9\n"
    assert home.ledger.take() == ["3"]
    assert [(row.id, row.state_name, row.attempt) for row in home.rows()] == [(first.id, "Completed", 3)]

    assert home.call("retry", first.name, code=0).stdout == "made 1 3 5 7 9\n"
    assert home.ledger.take() == list("01234")
    _, second = home.rows()
    assert (second.state_name, second.attempt, second.parameters) == ("Completed", 1, first.parameters)
    assert (second.id, second.name) != (first.id, first.name)
    assert second.resumable

    refused = home.call("retry", first.name, "--failed", code=1)
    assert refused.stderr.endswith(
        f"Error: run {first.name!r} has completed: there is nothing to go on with; call the flow again\n"
    )
    assert home.ledger.take() == []


def test_a_flow_that_is_a_classmethod_is_run_and_gone_on_with(home: Home) -> None:
    home.call("run", "flows.py:Doubler.doubled", "-p", "n=5", code=1)
    (first,) = home.rows()
    home.ledger.take()
    home.ledger.mend()
    assert home.call("retry", first.name, "--failed", code=0).stdout == "made 1 3 5 7 9\n"
    assert home.ledger.take() == ["3"]
    assert home.call("retry", first.name, code=0).stdout == "made 1 3 5 7 9\n"


@pytest.mark.parametrize("name", ["yielding", "yielding_async"])
def test_a_generator_flow_is_run_to_its_end_and_gone_on_with(home: Home, name: str) -> None:
    home.call("run", f"flows.py:{name}", "-p", "n=5", code=1)
    (first,) = home.rows()
    assert home.ledger.take() == list("01234")
    home.ledger.mend()
    assert home.call("retry", first.name, "--failed", code=0).stdout == "made all\n"
    assert home.ledger.take() == ["3"]


def _recorded(home: Home, name: str, state: int, **facts: Any) -> None:
    """Record a run of `doubled`, as one that this process drives."""
    entry = str(home.folder / "flows.py") + ":doubled"
    row = FlowRunRow(f"id-of-{name}", "doubled", name, state, states.NAMES[state][0], resumable=True, entry=entry)
    row.created = row.heartbeat = time.time()
    row.pid, row.pid_started, row.host = os.getpid(), process_started(os.getpid()), host_name()
    for fact, value in facts.items():
        setattr(row, fact, value)
    with SqliteRecords(home.folder / "home" / "records.db") as records:
        records.append([row])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("retry running --failed", "flow run 'running' has not ended: `anabranch resume running`"),
        ("retry cell --failed", "run 'cell' is in no file (a notebook's cell, perhaps): there, call doubled.resume("),
        ("retry nobody", "no flow run 'nobody' in the record; `anabranch runs` lists them"),
        ("retry bare", "Cannot resume flow run 'bare': it has lost its stored parameters. Start it again with `ana"),
    ],
)
def test_what_cannot_be_run_again_is_refused(home: Home, words: str, said: str) -> None:
    _recorded(home, "running", states.RUNNING)
    _recorded(home, "cell", states.FAILED, entry="")
    _recorded(home, "bare", states.FAILED)
    before = home.rows()
    assert said in home.call(*words.split(), code=1).stderr
    assert home.ledger.take() == []
    assert home.rows() == before


@pytest.mark.parametrize("noun", ["resume", "retry"])
def test_a_run_whose_flow_cannot_be_had_is_refused(home: Home, noun: str) -> None:
    """These need no process of their own: it is refused before there is a session."""
    _recorded(home, "plain", states.FAILED, resumable=False)
    _recorded(home, "moved", states.FAILED, entry=str(home.folder / "elsewhere.py:doubled"))
    before = home.rows()
    for name, code, said in (("plain", 1, "'plain' was not resumable, so nothing of it"), ("moved", 2, "is no file")):
        done = CliRunner().invoke(cli, [noun, name])
        assert (done.exit_code, said in done.output) == (code, True), done.output
    assert home.rows() == before


# -- changed code ----------------------------------------------------------------------------------------


def test_changed_code_is_an_error_that_asks_and_each_answer_has_its_option(home: Home) -> None:
    home.call("run", "flows.py:doubled", "-p", "n=3", code=1)
    (row,) = home.rows()
    home.ledger.take()

    home.change("return 2 * x", "return 20 * x")
    asked = home.call("resume", row.name, code=1)
    assert f"CodeChanged: {ASKING}\n" in asked.stderr.partition("Error: flow 'doubled' ended as Failed: ")[2]
    assert home.ledger.take() == []

    assert "not yet" in home.call("resume", row.name, "--rerun-changed", code=1).stderr
    assert home.ledger.take() == ["0", "1", "2"]

    home.change("return 20 * x", "return 200 * x")
    home.ledger.mend()
    assert home.call("retry", row.name, "--failed", "--keep-changed", code=0).stdout == "made 0 20 40\n"
    assert home.ledger.take() == []


@pytest.mark.parametrize(
    ("name", "answer", "made", "again"),
    [("doubled", "keep", "made 0 2 4\n", []), ("awaited", "rerun", "made 0 20 40\n", ["0", "1", "2"])],
)
def test_at_a_terminal_changed_code_is_asked_about(
    home: Home, name: str, answer: str, made: str, again: list[str]
) -> None:
    home.call("run", f"flows.py:{name}", "-p", "n=3", code=1)
    (row,) = home.rows()
    home.ledger.take()
    home.change("return 2 * x", "return 20 * x")
    home.ledger.mend()
    done = home.call("resume", row.name, code=0, answers=f"perhaps\n{answer}\n")
    assert f"{ASKING}\n" in done.stderr
    asked = "Keep what it made, or run it again? (keep, rerun): "
    told = done.stdout + done.stderr
    assert told.count(asked) == 2, "what is neither is asked again"
    assert "'perhaps' is not one of 'keep', 'rerun'" in told
    assert done.stdout.endswith(made)
    assert home.ledger.take() == again
    assert [(one.id, one.state_name) for one in home.rows()] == [(row.id, "Completed")]


# -- what is not asked for again -------------------------------------------------------------------------

UNMATCHED = "recorded task runs that this run did not ask for again, or whose inputs have changed: "


@pytest.fixture
def told(
    storing: Callable[[str], Session], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> Callable[[], list[str]]:
    """The lists that have been told since it was asked last; in a session of its own."""
    storing(str(tmp_path / "results"))

    def take() -> list[str]:
        found = [message.removeprefix(UNMATCHED) for message in caplog.messages if message.startswith(UNMATCHED)]
        caplog.clear()
        return found

    return take


def test_recorded_runs_that_are_not_asked_for_again_are_told_with_their_counts(
    told: Callable[[], list[str]], tmp_path: Path
) -> None:
    ran = Ledger(tmp_path)

    @task
    def kept(x: int) -> int:
        return x

    @task
    def left(x: int) -> int:
        return x

    @task
    def shorter(x: int) -> int:
        return x

    @task
    def changed(x: int) -> int:
        return x

    @flow(resumable=True, runner="inline")
    def main() -> int:
        found = sum(kept.map(range(3)).result()) + kept.submit(9).result() + kept(10)
        if not ran.mended:
            left.map(range(4)).wait()
            left.submit(7).wait()
            left(8)
        found += sum(shorter.map(range(2 if ran.mended else 5)).result())
        found += changed.submit(1).result() + changed.submit(20 if ran.mended else 2).result()
        if not (ran.folder / "end").exists():
            raise ValueError("not yet")
        return found

    run = fails(main)
    assert told() == []
    with pytest.raises(ValueError, match="not yet"):
        main.resume(run)
    assert told() == [], "all of it was asked for again"
    ran.mend()
    (ran.folder / "end").touch()
    assert main.resume(run) == 3 + 9 + 10 + 1 + 1 + 20
    assert told() == ["changed (1), left (6), shorter (3)"]


SUSPENDED = """
import os, signal
from anabranch import flow, task

@task
def told(x):
    if x == 3 and not os.path.exists("mended"):
        os.kill(os.getpid(), signal.SIGUSR1)
    return x

@flow(runner="inline")
def naps(n: int):
    print("made", sum(told.map(range(n), chunk=1).result()))
"""


def test_items_that_a_suspended_run_had_not_begun_do_not_count_as_retried(home: Home) -> None:
    (home.folder / "naps.py").write_text(SUSPENDED)
    home.call("run", "naps.py:naps", "-p", "n=40", code=75)
    (run,) = home.rows()
    home.ledger.mend()
    done = home.call("resume", run.name, code=0)
    assert done.stdout == "made 780\n"
    assert "retried" not in done.stderr, "the line of the map's progress"
    home.call("run", "show", run.name, "--html", "report.html", code=0)
    assert "more than one attempt" not in (home.folder / "report.html").read_text(encoding="utf-8")
