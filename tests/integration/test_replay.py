"""`replay`: a failed item again from its stored inputs, by the file's code as it is now or as it was recorded."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle
import pytest

from anabranch import replay, states
from anabranch import session as sessions
from anabranch.core import reasons
from anabranch.core.chunks import Binding
from anabranch.core.errors import RecordsError, ReplayError
from anabranch.core.runs import FlowRunRow, ItemRow, MapRow, StoredRow
from anabranch.core.stored_call import StoredCall
from anabranch.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.sampled(3, "runs are made, and played again in Pythons")
REPOSITORY = Path(__file__).resolve().parents[2]
CODE = '''
from anabranch import task

@task(retries=3, timeout_seconds=5, log_prints=True, on_failure=[lambda *_: print("a hook ran")])
def load(row, factor):
    print("loading", row)
    if row["n"] < 0:
        raise ValueError(f"{row['n']} is negative")
    return row["n"] * factor

@task
async def wait_for(x):
    return x + 1

@task
def outer(x):
    return load.submit({"n": x}, 2).result() + sum(wait_for.map([x, x]).result()) + wait_for.fn.__code__.co_argcount

def plain(x):
    return -x

class Row:
    def __init__(self, n):
        self.n = n

@task
def typed(row, like):
    if not isinstance(row, Row) or type(like) is not Row:
        raise TypeError(f"{type(row)} {type(like)}")
    return row.n + like.n

def make():
    def inner(x):
        return x * 100
    return inner
'''
MENDED = CODE.replace('raise ValueError(f"{row[\'n\']} is negative")', "return 0")


class Place:
    """A home with one resumable run whose maps are written by hand, as workers write them."""

    def __init__(self, home: Path, code: Path) -> None:
        self.home, self.code = home, code
        self.session = sessions.Session(Settings(home=home, progress=False))
        self.session.records.append([
            FlowRunRow("run-1", "etl", "brave-newt", states.FAILED, "Failed", created=1.0, ended=2.0, resumable=True),
            FlowRunRow("run-2", "etl", "calm-elk", states.FAILED, "Failed", created=1.0, ended=2.0),
        ])
        self.modules: dict[str, Any] = {}

    def module(self) -> dict[str, Any]:
        if not self.modules:
            self.modules.update({"__name__": self.code.stem, "__file__": str(self.code)})
            exec(compile(self.code.read_text(), str(self.code), "exec"), self.modules)
        return self.modules

    def map(
        self, task: str, items: dict[int, Any], constants: tuple[Any, ...] = (), binding: Binding | None = None,
        fn: Any = None, run: str = "run-1", map: str = "",
    ) -> None:  # fmt: skip
        map = map or f"map-{task}"
        blocks = self.session.store.blocks
        assert blocks is not None
        if fn is None:
            found = self.module()[task]
            fn = getattr(found, "fn", found)
        binding = binding or Binding(args=(("item", 0),))
        stored = StoredCall.of(task, fn, cloudpickle.dumps(fn), binding, constants)
        indexes = list(items)
        why = reasons.make("budget/user", spent=0, of=0)
        self.session.records.append([
            MapRow(map, run, task, "map", 10, 1.0, 2.0, tags=("etl",)),
            *(ItemRow(map, n, 1, states.FAILED, "", "", "bad", 1.0, 2.0, "w", "ValueError", "", *why) for n in indexes),
            StoredRow(map, blocks.write(map, indexes, list(items.values())).name, indexes, range(len(indexes)),
                      kind="input"),
            StoredRow(map, blocks.write(map, [0], [stored.value()]).name, [0], [0], kind="call"),
        ])  # fmt: skip
        assert self.session.records.flush(20)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    for name in [n for n in os.environ if n.startswith("ANABRANCH_")]:
        monkeypatch.delenv(name)
    code = tmp_path / "code" / "some_flows.py"
    code.parent.mkdir()
    code.write_text(CODE)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    made = Place(tmp_path / "home", code)
    before = sessions.use(made.session)
    yield made
    sessions.use(before)
    made.session.close()
    sys.modules.pop("some_flows", None)


def mapped(place: Place) -> None:
    binding = Binding(args=(("item", 0), ("const", 0)))
    place.map("load", {3: {"n": -3}, 7: {"n": -7}}, (10,), binding)


def test_it_fails_again_as_it_did(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    mapped(place)
    before = place.session.records.flow_runs(), place.session.records.logs("run-1")
    for ask in (("load", 7), ("load[7]",)):
        with pytest.raises(ValueError, match="-7 is negative"):
            replay("brave-newt", *ask)
    place.session.records.flush(20)
    assert (place.session.records.flow_runs(), place.session.records.logs("run-1")) == before
    assert place.session.records.maps("") == []
    shown = capsys.readouterr()
    assert "loading {'n': -7}" in shown.err  # logged, as the task's own log_prints has it
    assert "a hook ran" not in shown.out + shown.err


def test_its_traceback_has_the_frames_of_the_user_alone(place: Place) -> None:
    mapped(place)
    with pytest.raises(ValueError, match="-7 is negative") as found:
        replay("brave-newt", "load[7]")
    names = [frame.f_code.co_name for frame, _ in traceback.walk_tb(found.value.__traceback__)]
    assert names == ["test_its_traceback_has_the_frames_of_the_user_alone", "load"]


def test_mends_in_the_file_count_and_the_recorded_one_is_there_still(place: Place) -> None:
    mapped(place)
    with pytest.raises(ValueError, match="-3 is negative"):
        replay("run-1", "load", 3)
    place.code.write_text(MENDED)
    assert replay("run-1", "load", 3) == 0
    with pytest.raises(ValueError, match="-3 is negative"):
        replay("run-1", "load", 3, recorded=True)


def test_an_imported_module_whose_file_was_mended_is_read_again(place: Place) -> None:
    sys.path.insert(0, str(place.code.parent))
    module = importlib.import_module("some_flows")
    vars(place)["modules"] = vars(module)
    mapped(place)
    row = module.Row(4)
    place.map("typed", {0: row}, (module.Row(2),), Binding(args=(("item", 0), ("const", 0))))
    with pytest.raises(ValueError, match="-3 is negative"):
        replay("run-1", "load", 3)
    assert replay("run-1", "typed", 0) == 6
    place.code.write_text(MENDED)
    assert replay("run-1", "load", 3) == 0
    assert replay("run-1", "typed", 0) == 6
    assert sys.modules["some_flows"] is module
    place.code.write_text(CODE)
    with pytest.raises(ValueError, match="-3 is negative"):
        replay("run-1", "load", 3)


def test_without_the_file_the_recorded_one_is_called_and_said_to_be(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    mapped(place)
    place.code.unlink()
    with pytest.raises(ValueError, match="-3 is negative"):
        replay("run-1", "load[3]")
    assert "replay uses the task as it was recorded" in capsys.readouterr().err


def test_a_broken_file_and_a_task_that_is_gone(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    mapped(place)
    place.code.write_text("def load(:\n")
    with pytest.raises(ValueError, match="-3 is negative"):
        replay("run-1", "load[3]")
    assert "SyntaxError" in capsys.readouterr().err
    place.code.write_text("def other(): ...\n")
    with pytest.raises(ValueError, match="-3 is negative"):
        replay("run-1", "load[3]")
    assert "has no load any more" in capsys.readouterr().err


def test_all_kinds_of_functions(place: Place) -> None:
    place.map("wait_for", {0: 41})
    assert replay("run-1", "wait_for[0]") == 42
    place.map("plain", {0: 5})
    assert replay("run-1", "plain[0]") == -5
    place.map("inner", {0: 5}, fn=place.module()["make"]())
    assert replay("run-1", "inner[0]") == 500


def test_single_submits_and_several_columns(place: Place) -> None:
    place.map("load", {0: (({"n": 4},), {"factor": 3})}, binding=Binding(star=True))
    assert replay("run-1", "load[0]") == 12
    columns = Binding(args=(("item", 1),), kwargs=(("factor", ("item", 0)),), width=2)
    place.map("load", {1: (5, {"n": 4})}, binding=columns, map="map-columns")
    assert replay("run-1", "load#2[1]") == 20
    assert replay("run-1", "load[1]") == 20  # only one of them has it


def test_classes_that_travelled_by_value_are_those_of_the_file(place: Place) -> None:
    row = place.module()["Row"]  # a class of a module that nobody can import here
    place.map("typed", {0: row(3)}, (row(4),), Binding(args=(("item", 0), ("const", 0))))
    assert replay("run-1", "typed[0]") == 7
    assert replay("run-1", "typed[0]", recorded=True) == 7


def test_what_it_submits_runs_here_and_is_not_recorded(place: Place) -> None:
    place.map("outer", {0: 4})
    assert replay("run-1", "outer[0]") == 8 + 10 + 1
    place.session.records.flush(20)
    assert len(place.session.records.flow_runs()) == 2
    assert place.session.records.maps("") == []
    assert sessions.current() is place.session


def test_what_cannot_be_replayed_says_why(place: Place) -> None:
    mapped(place)
    with pytest.raises(RecordsError, match="no flow run"):
        replay("nobody", "load[3]")
    with pytest.raises(ReplayError, match=r"load\[INDEX\]"):
        replay("run-1", "load")
    with pytest.raises(ReplayError, match="no inputs of it are stored"):
        replay("run-1", "load[5]")
    place.session.records.append([MapRow("map-3", "run-2", "load", "map", 3, 1.0, 2.0)])
    place.session.records.append([ItemRow("map-3", 1, 1, states.FAILED)])
    with pytest.raises(ReplayError, match=r"was not resumable; run the flow with @flow\(resumable=True\)"):
        replay("run-2", "load[1]")
    shutil.rmtree(place.home / "results")
    with pytest.raises(ReplayError, match="missing or damaged"):
        replay("run-1", "load[3]")


# -- the command, days later and on another machine ----------------------------------------------------


@pytest.fixture
def command(place: Place) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(*args: str, home: Path | None = None, **options: Any) -> subprocess.CompletedProcess[str]:
        environ = {**os.environ, "PYTHONPATH": str(REPOSITORY), "ANABRANCH_HOME": str(home or place.home)}
        environ.pop("PYTHONBREAKPOINT", None)  # a Ray that ran in this process has set it to its own
        return subprocess.run(
            [sys.executable, "-c", "from anabranch.cli import main; main()", *args], env=environ, text=True,
            capture_output=True, timeout=50, cwd=place.home.parent, **options,
        )  # fmt: skip

    return run


def test_the_command(place: Place, command: Callable[..., Any]) -> None:
    mapped(place)
    done = command("replay", "brave-newt", "load[7]")
    assert done.returncode == 1
    assert "ValueError: -7 is negative" in done.stderr
    assert "engine/drive" not in done.stderr
    assert f"calling the task as it is in {place.code}" in done.stderr
    place.code.write_text(MENDED)
    done = command("replay", "run-1", "load[7]")
    assert (done.returncode, done.stdout) == (0, "0\n")
    assert command("replay", "run-1", "load[7]", "--recorded").returncode == 1


def test_the_debugger_opens_where_it_raised(place: Place, command: Callable[..., Any]) -> None:
    mapped(place)
    done = command("replay", "run-1", "load[7]", "--pdb", input="p row, factor\nq\n")
    assert "({'n': -7}, 10)" in done.stdout
    assert done.returncode == 1


def test_a_breakpoint_in_the_file_stops_there(place: Place, command: Callable[..., Any]) -> None:
    mapped(place)
    place.code.write_text(CODE.replace('    if row["n"]', '    breakpoint()\n    if row["n"]'))
    done = command("replay", "run-1", "load[7]", input="p factor + 1\nc\n")
    assert "11" in done.stdout
    assert "-7 is negative" in done.stderr


def test_a_copied_home_elsewhere(place: Place, command: Callable[..., Any], tmp_path: Path) -> None:
    mapped(place)
    place.session.close()
    shutil.copytree(place.home, tmp_path / "copy")
    shutil.rmtree(place.home)
    place.code.unlink()
    done = command("replay", "run-1", "load[3]", "--home", str(tmp_path / "copy"), home=tmp_path / "empty")
    assert "-3 is negative" in done.stderr
    assert "as it was recorded" in done.stderr
    done = command("explain", "run-1", "load[3]", "--home", str(tmp_path / "copy"), home=tmp_path / "empty")
    assert done.stdout.startswith("load[3] Failed [budget/user]: attempt 1 ended with ValueError: bad"), done.stderr
    assert not (tmp_path / "empty").exists()


def test_errors_of_the_command_are_one_line(place: Place, command: Callable[..., Any]) -> None:
    done = command("replay", "nobody", "load[3]")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "no flow run 'nobody'" in done.stderr
