"""The command, as people type it: in processes of its own, with a home of its own."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

import anabranch
from anabranch.cli import cli
from anabranch.core.runs import FlowRunRow, ItemBlock, ItemRow, LogRow, MapRow
from anabranch.core.states import CRASHED, FAILED
from anabranch.records.sqlite import SqliteRecords
from tests.house.test_import import HEAVY as SLOW_TO_LOAD
from tests.integration.commands import MAIN, alone, run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.sampled(4, "a Python for each")
FLOWS = '''
from anabranch import flow, get_run_logger, task

@task
def double(x):
    if x == 3:
        raise ValueError(f"three is no number, nor is {x}")
    return 2 * x

@flow(runner="inline")
def good(n: int = 2, note="", **more):
    get_run_logger().info("note is %r, more is %r", note, more)
    return sum(double.map(range(n)).result())

@flow(runner="inline")
def bad(n: int = 5):
    double.map(range(n))
'''
ONE = '''
from anabranch import flow

@flow(runner="inline")
def only(size: int, colour="red"):
    print(repr((size, colour)))
'''
SLOW = '''
import time
from anabranch import flow, task

@task
def nap(n):
    if n == 0:
        print("ready", flush=True)
    time.sleep(0.05)

@flow(runner="thread")
def slow():
    nap.map(range(100_000)).wait()
'''


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    alone(tmp_path, monkeypatch)
    for name, text in {"flows.py": FLOWS, "one.py": ONE, "slow.py": SLOW, "none.py": "x = 1\n"}.items():
        (tmp_path / name).write_text(text)
    return tmp_path / "home"


def started(*args: str) -> subprocess.Popen[str]:
    return subprocess.Popen([*MAIN, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def invoke(home: Path) -> Callable[..., Any]:
    """The command in this process; only for what makes no session."""

    def call(*args: str, code: int = 0) -> Any:
        found = CliRunner().invoke(cli, args)
        assert found.exit_code == code, found.output
        return found

    return call


# -- help, version, config ---------------------------------------------------------------------------


LOADED = """
import atexit, sys
atexit.register(lambda: print(*sys.modules, file=sys.stderr))
from anabranch.cli import main
main()
"""
HEAVY = {*SLOW_TO_LOAD, "json", "logging", "socket", "subprocess"} - {"click"}  # which the command is made with


def test_help_loads_none_of_our_rooms_and_nothing_heavy(home: Path) -> None:
    done = subprocess.run([sys.executable, "-c", LOADED, "--help"], capture_output=True, text=True, check=True)
    assert "Commands:" in done.stdout
    loaded = set(done.stderr.split())
    assert {"anabranch.cli", "click"} <= loaded
    assert {name.partition(".")[0] for name in loaded} & HEAVY == set()
    ours = {name.partition(".")[2] for name in loaded if name.startswith("anabranch.")}
    assert ours - anabranch._MODULES.keys() == {"cli", "core", "core.errors"}


def test_help_is_quick_and_lists_the_nouns(home: Path) -> None:
    spent = []  # processor time: how long it takes says how busy the machine is
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = run("--help")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(spent) < 0.3
    for noun in ("config", "demo", "run", "runs", "version"):
        assert f"\n  {noun}" in done.stdout
    assert not home.exists()


def test_help_of_every_command(invoke: Callable[..., Any]) -> None:
    assert "FILE|MODULE[:FLOW]" in invoke("run", "--help").output
    nouns = (
        *(["explain"], ["replay"], ["resume"], ["retry"], ["runs"], ["demo"], ["version"], ["config"]),
        *(["config", "set"], ["run", "show"], ["run", "x.py"]),
    )
    for words in nouns:
        assert "Usage:" in invoke(*words, "--help").output
    assert "No such command" in invoke("nonsense", code=2).output


def test_version(invoke: Callable[..., Any]) -> None:
    found = json.loads(invoke("version", "--json").output)
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert {"anabranch", "cloudpickle"} <= set(found)
    assert "anabranch" in invoke("version").output


def test_config_says_where_values_come_from(
    home: Path, invoke: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def rows() -> dict[str, Any]:
        return {r["setting"]: r for r in json.loads(invoke("config", "view", "--json").output)}

    assert rows()["runner"] == {"setting": "runner", "value": "thread", "source": "default"}
    assert rows()["home"]["source"] == "environment (ANABRANCH_HOME)"
    invoke("config", "set", "runner", "process")
    assert rows()["runner"]["value"] == "process"
    assert rows()["runner"]["source"].startswith("file (")
    monkeypatch.setenv("ANABRANCH_RUNNER", "inline")
    assert rows()["runner"]["source"] == "environment (ANABRANCH_RUNNER)"
    assert "wins over the file" in invoke("config", "unset", "runner").output
    monkeypatch.delenv("ANABRANCH_RUNNER")
    assert rows()["runner"]["source"] == "default"
    assert "runner" in invoke("config", "view").output


def test_config_shows_no_password(invoke: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    address = "sftp://me:hunt@r22@host/results?token=abcdef"
    said = [invoke("config", "set", "results", address).output, invoke("config", "view").output]
    monkeypatch.setenv("ANABRANCH_RESULTS", address)
    said += [invoke("config", "view", "--json").output, invoke("config", "unset", "results").output]
    assert all("sftp://host/results" in text for text in said)
    assert not any(word in text for text in said for word in ("hunt", "r22", "abcdef"))


def test_config_refuses_what_it_does_not_know(home: Path) -> None:
    assert "did you mean 'runner'?" in run("config", "set", "runer", "process", code=1).stderr
    assert "true or false" in run("config", "set", "progress", "perhaps", code=1).stderr
    assert "did you mean 'runner'?" in run("config", "unset", "runer", code=1).stderr
    assert "ANABRANCH_HOME" in run("config", "set", "home", "/x", code=2).stderr
    assert "must be 0 days or more, got 'nan'" in run("config", "set", "retention_days", "nan", code=1).stderr
    assert not (home / "config.toml").exists()


def test_config_keeps_every_text_and_refuses_what_is_none(home: Path) -> None:
    odd = 'a\nb\t"c\\d\x7f\x1bé'
    run("config", "set", "results", odd)
    told = json.loads(run("config", "view", "--json").stdout)
    assert [one["value"] for one in told if one["setting"] == "results"] == [odd]
    assert "is not text" in run("config", "set", "results", os.fsdecode(b"\xff"), code=1).stderr
    assert run("config", "view", "--json").stdout == json.dumps(told, indent=2, ensure_ascii=False) + "\n"
    assert [one.name for one in home.iterdir()] == ["config.toml"]


def test_settings_of_a_home_that_cannot_be_written(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANABRANCH_HOME", "/proc/none")
    for words in ("config", "set", "runner", "process"), ("profile", "create", "cluster"):
        told = run(*words, code=1).stderr
        assert told.startswith("Error: cannot write settings to /proc/none/config.toml: ")
        assert "set ANABRANCH_HOME to a folder that you can write to" in told


# -- a run whose driver is gone ------------------------------------------------------------------------


def test_what_a_lost_driver_has_left_is_counted_and_explained(home: Path) -> None:
    lost = FlowRunRow("run-1", "etl", "brave-newt", CRASHED, "Crashed", created=1.0, ended=2.0)
    with SqliteRecords(home / "records.db") as records:
        records.append([
            lost, MapRow("m", "run-1", "load", "map", 20, 1.0), MapRow("s", "run-1", "save", "submit", None, 1.0),
            ItemBlock("m", 0, 7, bytes([7, 7, 7, 9, 7, 7, 7]), 1.0, None, None, 1, "w1"),
            ItemRow("m", 3, 1, FAILED, message="bad", error_type="ValueError"),
        ])  # fmt: skip
    shown = run("run", "show", "brave-newt").stdout
    assert "6 Completed, 1 Failed" in shown
    told = run("explain", "brave-newt").stdout
    assert "  load, 13 runs: Pending [driver-lost]\n    it had not ended when the process" in told
    assert "(first: load[7])" in told
    assert "load[3]: Failed" in told
    assert "completed at the first attempt" not in run("explain", "brave-newt", "save").stdout


# -- run -----------------------------------------------------------------------------------------------


def test_run_a_flow_and_look_at_it(home: Path) -> None:
    done = run("run", "flows.py:good", "-p", "n=3", "-p", "note=plain text", "-p", 'tags=["a", 1]')
    assert "note is 'plain text', more is {'tags': ['a', 1]}" in done.stderr
    rows = json.loads(run("runs", "--json").stdout)["runs"]
    assert [(r["flow"], r["state"]) for r in rows] == [("good", "Completed")]
    assert rows[0]["parameters"]["n"] == 3
    name = rows[0]["name"]
    table = run("runs").stdout
    assert name in table
    assert "\x1b" not in table
    shown = run("run", "show", rows[0]["id"][:18]).stdout
    assert "good" in shown
    assert "3 Completed" in shown
    logs = run("run", "logs", name).stdout
    assert "note is 'plain text'" in logs
    assert {"level": "INFO"}.items() <= json.loads(run("run", "logs", name, "--json").stdout)["lines"][0].items()
    assert "has already ended as Completed" in run("run", "cancel", name, code=1).stderr


def test_a_failed_flow_gives_exit_code_1(home: Path) -> None:
    done = run("run", "flows.py:bad", code=1)
    assert "three is no number" in done.stderr
    assert "Traceback" not in done.stderr.partition("Error:")[2]
    run("run", "flows.py:good", "-p", "n=1")
    rows = json.loads(run("runs", "--json", "--state", "failed").stdout)["runs"]
    assert [r["flow"] for r in rows] == ["bad"]
    assert len(json.loads(run("runs", "--json").stdout)["runs"]) == 2
    assert [r["flow"] for r in json.loads(run("runs", "--json", "--flow", "good").stdout)["runs"]] == ["good"]
    assert len(json.loads(run("runs", "--json", "--limit", "1").stdout)["runs"]) == 1
    shown = run("run", "show", rows[0]["name"]).stdout
    assert "1 x ValueError: three is no number, nor is 3 (item 3)" in shown
    details = json.loads(run("run", "show", rows[0]["name"], "--json").stdout)
    assert details["failures"][0]["count"] == 1
    assert details["maps"][0]["counts"] == {"Completed": 4, "Failed": 1}


def test_what_is_cut_says_of_how_many(home: Path, invoke: Callable[..., Any]) -> None:
    """Lists of runs and lines, and failures that have a message each."""
    records = SqliteRecords(home / "records.db")
    for n in range(5):
        records.append([FlowRunRow(f"run-{n}", "etl", f"newt-{n}", FAILED, "Failed", created=n, ended=9.0)])
    records.append([LogRow(n, 20, "anabranch", f"line {n}", "run-1") for n in range(7)])
    records.append([MapRow("map-1", "run-1", "load", "map", 5000, 1.0, 2.0, {"Failed": 5000})])
    records.append([ItemRow("map-1", n, 1, FAILED, message=f"bad {n}", error_type="ValueError") for n in range(5000)])
    records.close()
    cut = invoke("runs", "--limit", "2")
    assert "newt-3" in cut.stdout
    assert "newt-2" not in cut.stdout
    assert cut.stderr == "(the newest 2 of 5 runs; --limit N shows more)\n"
    assert invoke("runs").stderr == invoke("runs", "--limit", "5").stderr == ""
    found = json.loads(invoke("runs", "--limit", "2", "--state", "failed", "--json").stdout)
    assert (found["shown"], found["total"], len(found["runs"])) == (2, 5, 2)
    lines = invoke("run", "logs", "run-1", "--limit", "3")
    assert len(lines.stdout.splitlines()) == 3
    assert lines.stderr == "(the last 3 of 7 lines; --limit N shows more)\n"
    assert invoke("run", "logs", "run-1").stderr == ""
    found = json.loads(invoke("run", "logs", "run-1", "--limit", "3", "--json").stdout)
    assert (found["shown"], found["total"], [line["message"] for line in found["lines"]]) == (
        3, 7, ["line 4", "line 5", "line 6"]
    )  # fmt: skip
    assert "load: 5,000 x ValueError, e.g. bad 0 (first at item 0)" in invoke("run", "show", "run-1").stdout
    details = json.loads(invoke("run", "show", "run-1", "--json").stdout)
    assert details["failed"] == sum(group["count"] for group in details["failures"]) == 5000


def test_parameters_are_json_else_text(home: Path) -> None:
    assert run("run", "one.py", "-p", "size=3", "-p", "colour=blue").stdout.strip() == "(3, 'blue')"
    assert run("run", "-p", "size=3", "one.py").stdout.strip() == "(3, 'red')"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["flow.py"], "did you mean 'flows.py'?"),
        (["absent/x.py"], "there is no file"),
        (["none.py"], "there is no flow in 'none.py'"),
        (["none.py:x"], "is not a flow but a int"),
        (["flows.py"], "flows.py:good\n  flows.py:bad"),
        (["flows.py:goood"], "did you mean 'good'?"),
        (["flows.py:bad", "-p", "m=3"], "flow 'bad' has no parameter 'm'"),
        (["one.py", "-p", "size=1", "-p", "color=blue"], "did you mean 'colour'?"),
        (["one.py"], "flow 'only' needs -p size=..."),
        (["one.py", "-p", "size"], "NAME=VALUE"),
        (["one.py", "-p", "size=1", "-p", "size=2"], "given twice"),
        (["."], "is a folder"),
    ],
)
def test_bad_arguments_are_named_before_a_run_exists(
    home: Path, invoke: Callable[..., Any], args: list[str], message: str
) -> None:
    assert message in invoke("run", *args, code=2).output
    assert not home.exists()


def test_a_file_that_does_not_load_shows_its_own_trace(home: Path, invoke: Callable[..., Any]) -> None:
    (home.parent / "broken.py").write_text("import json\njson.loads('{')\n")
    (home.parent / "syntax.py").write_text("def f(:\n")
    shown = invoke("run", "broken.py", code=1).output
    assert "broken.py" in shown
    assert "JSONDecodeError" in shown
    assert "importlib" not in shown
    assert "SyntaxError" in invoke("run", "syntax.py", code=1).output


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_the_run_with_their_exit_code(home: Path, number: signal.Signals, code: int) -> None:
    with started("run", "slow.py") as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        child.send_signal(number)
        _, errors = child.communicate(timeout=40)
    assert child.returncode == code, errors
    rows = json.loads(run("runs", "--json").stdout)["runs"]
    assert rows[0]["state"] in ("Cancelled", "Crashed", "Failed")
    assert "Traceback" not in errors


def test_cancel_reaches_a_run_of_another_process(home: Path) -> None:
    with started("run", "slow.py") as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        name = json.loads(run("runs", "--json").stdout)["runs"][0]["name"]
        assert f"only its driver knows: process {child.pid}" in run("explain", name).stdout
        assert "asked to stop" in run("run", "cancel", name).stdout
        _, errors = child.communicate(timeout=40)
    assert child.returncode == 1, errors
    assert json.loads(run("runs", "--json").stdout)["runs"][0]["state"] == "Cancelled"


def test_lists_without_a_record(home: Path, invoke: Callable[..., Any]) -> None:
    assert "no flow runs recorded yet" in invoke("runs").output
    assert json.loads(invoke("runs", "--json").output) == {"version": 1, "shown": 0, "total": 0, "runs": []}
    assert "no flow run 'x'" in invoke("run", "show", "x", code=1).output
    assert not home.exists()
