"""The command in a shell: completion, colours, pipes, exit codes, profiles."""

from __future__ import annotations

import json
import os
import pty
import resource
import shutil
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from anabranch.core import states
from anabranch.core.deployments import DeploymentRow
from anabranch.core.orders import Pool, Queue
from anabranch.core.runs import FlowRunRow
from anabranch.records import open_service
from anabranch.records.sqlite import SqliteRecords
from anabranch.records.union import UnionRecords
from tests.integration.commands import MAIN, alone, run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.sampled(4, "Pythons and shells for each")
ROWS = [FlowRunRow(f"{n:04}-id", "etl", f"newt-{n}", states.FAILED, "Failed", created=n, ended=9.0) for n in range(300)]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = alone(tmp_path, monkeypatch)
    with SqliteRecords(home / "records.db") as records:
        records.append(ROWS)
    return home


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A program `anabranch` on the path."""
    file = tmp_path / "bin" / "anabranch"
    file.parent.mkdir()
    file.write_text(f"#!/bin/sh\nexec {sys.executable} -c 'from anabranch.cli import main; main()' \"$@\"\n")
    file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{file.parent}:{os.environ['PATH']}")
    return str(file)


def completed(words: str) -> list[str]:
    """What a shell is offered for these words, of which the last is being typed."""
    environ = {"_ANABRANCH_COMPLETE": "fish_complete", "COMP_WORDS": words, "COMP_CWORD": words.split(" ")[-1]}
    done = subprocess.run(MAIN_ALONE, env={**os.environ, **environ}, capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stderr) == (0, "")
    return [line.partition(",")[2].partition("\t")[0] for line in done.stdout.splitlines() if line]


# click names the variable after the program.
MAIN_ALONE = [sys.executable, "-c", "import sys; sys.argv = ['anabranch']; from anabranch.cli import main; main()"]


def test_names_of_runs_are_completed_from_the_record(home: Path) -> None:
    newest = [f"newt-{n}" for n in range(299, 289, -1)]
    assert completed("anabranch run show newt-29") == [*newest, "newt-29"]
    assert completed("anabranch explain 0003") == ["0003-id"]
    assert len(completed("anabranch watch ")) == 50
    assert completed("anabranch retry nothing-like-it") == []
    assert "show" in completed("anabranch run sh")
    assert "profile" in completed("anabranch pro")


def test_names_are_completed_from_a_shared_folder_and_not_from_a_server(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with UnionRecords(home / "shared.db.d") as records:
        records.append([FlowRunRow("x", "etl", "far-newt", states.RUNNING, "Running", created=1.0)])
    monkeypatch.setenv("ANABRANCH_RECORDS", str(home / "shared.db"))
    monkeypatch.setenv("ANABRANCH_RECORDS_SHARED", "true")
    assert completed("anabranch run logs ") == ["far-newt"]
    monkeypatch.setenv("ANABRANCH_RECORDS", "postgresql://nobody@nowhere.invalid/db")
    assert completed("anabranch run logs ") == []
    monkeypatch.setenv("ANABRANCH_RECORDS", str(home / "absent.db"))
    monkeypatch.setenv("ANABRANCH_RECORDS_SHARED", "false")
    assert completed("anabranch run logs ") == []
    assert not (home / "absent.db").exists()


def test_names_of_errors_are_completed_and_explained(home: Path) -> None:
    assert completed("anabranch explain Task") == ["TaskTimeoutError"]
    told = run("explain", "MapError").stdout
    assert told.startswith("MapError: from anabranch.errors import MapError\n\n`map` found nothing to map over")
    assert "](" not in run("explain", "OptionError").stdout, "links are their words"
    assert "anabranch has no error 'MapErorr'; did you mean 'MapError'?" in run("explain", "MapErorr", code=1).stderr


def test_names_of_the_service_are_completed_where_they_are_arguments(home: Path) -> None:
    with closing(open_service(home / "records.db")) as service:
        service.pools.put(Pool("gpu", "slurm"))
        for queue in (Queue("gpu", "fast"), Queue("gpu", "slow"), Queue("default", "nightly")):
            service.pools.put_queue(queue)
        for name in ("daily", "dry", "weekly"):
            service.deployments.apply(DeploymentRow("", "etl", name))
    for words in ("deployment show", "deployment run", "deployment export", "schedule ls", "schedule pause"):
        assert completed(f"anabranch {words} etl/d") == ["etl/daily", "etl/dry"], words
    for words in ("pool show", "queue ls", "queue pause", "agent start --pool", "deploy -p", "work-pool update"):
        assert completed(f"anabranch {words} g") == ["gpu"], words
    for words in ("queue set gpu", "agent start --pool gpu --queue", "work-queue pause -p gpu"):
        assert {"fast", "slow"} <= set(completed(f"anabranch {words} ")), words
        assert "nightly" not in completed(f"anabranch {words} "), words
    assert completed("anabranch agent start -q ni") == ["nightly"]
    assert completed("anabranch pool create g") == []


def test_names_of_a_service_that_is_elsewhere_or_not_there_are_none(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("http://nowhere.invalid", "postgresql://nobody@nowhere.invalid/db", str(home / "absent.db")):
        monkeypatch.setenv("ANABRANCH_RECORDS", place)
        assert completed("anabranch pool show ") == [], place
        assert completed("anabranch deployment show ") == [], place
    assert not (home / "absent.db").exists()


def test_completion_is_quick_and_loads_no_engine(home: Path) -> None:
    code = """
import os, sys
sys.argv = ["anabranch"]
os.environ.update(_ANABRANCH_COMPLETE="bash_complete", COMP_WORDS="anabranch run show newt-1", COMP_CWORD="3")
from anabranch.cli import main
try:
    main()
finally:
    print("|".join(sorted(sys.modules)), file=sys.stderr)
"""
    took = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        took.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert done.stdout.startswith("plain,newt-")
    loaded = set(done.stderr.strip().split("|"))
    dear = {"anabranch.session", "anabranch.engine", "anabranch.runs", "anabranch.records.writer", "cloudpickle"}
    assert loaded & {*dear, "pydantic", "asyncio", "numpy", "rich", "textual"} == set()
    assert min(took) < 1.0, "seconds of a processor: 0.2 of a quiet one, of which Python's own start takes a part"
    own = [name for name in loaded if name.partition(".")[0] == "anabranch"]
    assert len(own) <= 60, f"what a press of a key loads of ours: {own}"


@pytest.mark.skipif(not shutil.which("bash"), reason="there is no bash here")
def test_bash_completes_with_the_script(home: Path, program: str) -> None:
    script = """
eval "$(anabranch completion bash)"
COMP_WORDS=(anabranch run show newt-29); COMP_CWORD=3
_anabranch_completion anabranch
printf '%s\\n' "${COMPREPLY[@]}"
"""
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=50)
    assert done.stdout.split()[:2] == ["newt-299", "newt-298"], done.stderr


def test_each_shell_gets_its_script(home: Path) -> None:
    for shell, word in (("bash", "complete -o nosort"), ("zsh", "compdef"), ("fish", "complete --no-files")):
        script = run("completion", shell).stdout
        assert word in script
        assert "_ANABRANCH_COMPLETE" in script
    assert "bash, zsh" in run("completion", "csh", code=2).stderr.replace("'", "")


def test_a_reader_that_has_enough_ends_the_command_silently(home: Path, program: str) -> None:
    for words in ("runs --limit 300", "runs --limit 300 --json", "--help", "version"):
        piped = f"set -o pipefail; ( {program} {words}; echo code $? >&2 ) | head -1 >/dev/null"
        done = subprocess.run(["bash", "-c", piped], capture_output=True, text=True, timeout=50)
        assert done.stderr in ("code 0\n", "code 1\n"), words


def on_terminal(*args: str, **environ: str) -> str:
    """What a command writes to a terminal."""
    ours, theirs = pty.openpty()
    try:
        env = {**os.environ, **environ}
        done = subprocess.Popen([*MAIN, *args], stdin=theirs, stdout=theirs, stderr=theirs, env=env)
    finally:
        os.close(theirs)
    text = b""
    with open(ours, "rb", buffering=0) as file:
        try:
            while part := file.read(65536):
                text += part
        except OSError:  # the terminal's other end is closed
            pass
    assert done.wait(50) == 0, text
    return text.decode()


def test_colours(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    assert "\x1b[" in on_terminal("runs", "--limit", "1", TERM="xterm")
    for environ in ({"NO_COLOR": "1"}, {"NO_COLOR": "1", "FORCE_COLOR": "1"}, {"TERM": "dumb"}):
        text = on_terminal("runs", "--limit", "1", **{"TERM": "xterm", **environ})
        assert "newt-299" in text
        assert "\x1b[" not in text, environ
    assert "\x1b[" not in run("runs").stdout
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[" in run("runs").stdout


def test_the_help_tells_exit_codes_and_each_runner(home: Path) -> None:
    told = run("--help").stdout
    assert [line.split()[0] for line in told.partition("Exit codes:\n")[2].splitlines()] == [
        "0", "1", "2", "75", "130", "143",
    ]  # fmt: skip
    assert "Ray" in told
    assert "dask, ray" in run("run", "x.py", "--help").stdout


def test_lists_tell_the_version_of_their_form(home: Path) -> None:
    for words in (("runs", "--limit", "1"), ("run", "logs", "newt-1"), ("profile", "ls")):
        assert json.loads(run(*words, "--json").stdout)["version"] == 1


# -- profiles ----------------------------------------------------------------------------------------


def chosen(setting: str) -> tuple[object, str]:
    rows = {row["setting"]: row for row in json.loads(run("config", "view", "--json").stdout)}
    return rows[setting]["value"], rows[setting]["source"].partition(" (")[0]


def test_a_profile_is_made_chosen_and_deleted(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("config", "set", "runner", "inline")
    run("profile", "create", "cluster", "runner=process", "memory_budget=2 GiB", "results=s3://me:hunt@r22@host/x")
    assert chosen("runner") == ("inline", "file")
    assert "profile cluster is chosen" in run("profile", "use", "cluster").stdout
    assert (chosen("runner"), chosen("memory_budget")[0]) == (("process", "profile cluster"), 2 << 30)
    monkeypatch.setenv("ANABRANCH_RUNNER", "thread")
    assert chosen("runner") == ("thread", "environment")
    monkeypatch.delenv("ANABRANCH_RUNNER")
    run("config", "set", "--profile", "cluster", "progress", "false")
    assert chosen("progress") == (False, "profile cluster")
    run("config", "unset", "--profile", "cluster", "progress")
    assert chosen("progress")[0] is True
    run("profile", "create", "laptop")
    monkeypatch.setenv("ANABRANCH_PROFILE", "laptop")
    assert chosen("runner") == ("inline", "file")
    found = json.loads(run("profile", "ls", "--json").stdout)["profiles"]
    assert [(one["name"], one["chosen"]) for one in found] == [("cluster", False), ("laptop", True)]
    assert "wins over this choice" in run("profile", "use", "cluster").stderr
    monkeypatch.delenv("ANABRANCH_PROFILE")
    said = [run("profile", "show", "cluster").stdout, run("profile", "ls").stdout, json.dumps(found)]
    assert all("s3://host/x" in text and "hunt" not in text for text in said)
    run("profile", "delete", "cluster")
    assert chosen("runner") == ("inline", "file")
    assert (home / "config.toml").stat().st_mode & 0o777 == 0o600


def test_profiles_refuse_what_cannot_be(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("profile", "create", "cluster")
    assert "there is a profile 'cluster' already" in run("profile", "create", "cluster", code=1).stderr
    assert "known are: cluster" in run("profile", "use", "laptop", code=1).stderr
    assert "did you mean 'runner'?" in run("profile", "create", "x", "runer=process", code=1).stderr
    assert "must be SETTING=VALUE" in run("profile", "create", "x", "runner", code=2).stderr
    assert "cannot set 'home'" in run("profile", "create", "x", "home=/y", code=1).stderr
    assert "must be letters" in run("profile", "create", "a b", code=1).stderr
    assert "known are: cluster" in run("profile", "delete", "x", code=1).stderr
    assert run("profile", "ls", "--json").stdout.count('"name"') == 1
    monkeypatch.setenv("ANABRANCH_PROFILE", "gone")
    assert "environment variable ANABRANCH_PROFILE: no profile 'gone'" in run("runs", code=1).stderr
    monkeypatch.delenv("ANABRANCH_PROFILE")
    (home / "config.toml").write_text('profile = "gone"\n')
    assert "no profile 'gone', there are none" in run("runs", code=1).stderr
    run("profile", "use", "--none")
    run("runs")
