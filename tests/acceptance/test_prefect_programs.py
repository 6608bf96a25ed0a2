"""Programs of Prefect's users, as they are written: each runs under `python -m anabranch.compat prefect`.

Each file of `prefect_programs/` ends with the output that Prefect's documentation promises, as comments.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "prefect_programs"
ROOT = Path(__file__).resolve().parents[2]
_BY_DAY = pytest.mark.sampled(2, "the same program on Dask and on Ray: one by day, and the contract is tested on both")
_FAR = {
    f"{kind}_runner": [
        _BY_DAY, pytest.mark.timeout(180),
        pytest.mark.skipif(importlib.util.find_spec(kind) is None, reason=f"{kind} is not installed"),
    ] for kind in ("dask", "ray")
}  # fmt: skip
PROGRAMS = [
    pytest.param(name, marks=_FAR.get(name, ())) for name in sorted(path.stem for path in FOLDER.glob("*.py"))
]


def run(*arguments: str, home: Path, seconds: float = 50, **more: str) -> subprocess.CompletedProcess[str]:
    """Run Python with these arguments, with a record of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANABRANCH", "PREFECT"))}
    env = {**kept, "PYTHONPATH": str(ROOT), "ANABRANCH_HOME": str(home), **more}
    return subprocess.run(
        [sys.executable, *arguments], env=env, capture_output=True, text=True, timeout=seconds, cwd=home
    )


def expected(program: Path) -> list[str]:
    tail = program.read_text(encoding="utf-8").partition("\n# expected:\n")[2]
    return [line.removeprefix("# ") for line in tail.splitlines()]


@pytest.mark.sampled(5, "a Python for each program")
@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_print_what_prefect_promises(name: str, tmp_path: Path) -> None:
    program = FOLDER / f"{name}.py"
    done = run("-m", "anabranch.compat", "prefect", str(program), home=tmp_path, seconds=170 if name in _FAR else 50)
    assert done.returncode == 0, done.stderr
    wanted = expected(program)
    assert wanted
    assert done.stdout.splitlines() == wanted, done.stderr


def test_the_script_has_its_arguments_and_its_folder(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("import prefect.tasks\nword = prefect.tasks.task(lambda: 'here')\n")
    (tmp_path / "script.py").write_text("import sys, beside\nprint(sys.argv[1:], __name__, beside.word())\n")
    done = run("-m", "anabranch.compat", "prefect", "script.py", "a", "--b", home=tmp_path)
    assert (done.returncode, done.stdout) == (0, "['a', '--b'] __main__ here\n"), done.stderr


@pytest.mark.parametrize("arguments", [(), ("prefect",), ("airflow", "x.py"), ("prefect", "no-such.py")])
def test_what_is_no_call_shows_the_usage(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = run("-m", "anabranch.compat", *arguments, home=tmp_path)
    assert done.returncode == 2
    assert "usage: python -m anabranch.compat prefect SCRIPT.py" in done.stderr


def test_the_real_package_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "prefect").mkdir()
    (tmp_path / "prefect" / "__init__.py").write_text("real = True\n")
    code = """
import sys
sys.path.insert(0, sys.argv[1])
import prefect
try:
    import anabranch.compat.prefect
except ImportError as error:
    print(error)
print(prefect.real)
"""
    done = run("-c", code, str(tmp_path), home=tmp_path)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert "the package 'prefect' was imported already" in first
    assert "python -m anabranch.compat prefect" in first
    assert second == "True"


def test_the_names_come_before_an_installed_package(tmp_path: Path) -> None:
    (tmp_path / "prefect").mkdir()
    (tmp_path / "prefect" / "__init__.py").write_text("real = True\n")
    code = """
import sys
sys.path.insert(0, sys.argv[1])
import anabranch.compat.prefect, prefect, prefect.tasks, prefect.utilities.annotations as annotations
from anabranch.compat.prefect import tasks
print(prefect.task is tasks.task, prefect.tasks is tasks, tasks.__spec__.name, annotations.unmapped(1))
"""
    done = run("-c", code, str(tmp_path), home=tmp_path)
    assert (done.returncode, done.stdout) == (0, "True True anabranch.compat.prefect.tasks unmapped(1)\n"), done.stderr


def test_what_we_do_not_have_names_the_way_out(tmp_path: Path) -> None:
    code = """
import anabranch.compat.prefect
import prefect
for module in ("prefect.infrastructure", "prefect.server.models", "prefect.nothing"):
    try:
        __import__(module)
    except ModuleNotFoundError as error:
        print(error)
try:
    prefect.pause_flow_run()
except NotImplementedError as error:
    print(error)
@prefect.task
def one(): pass
try:
    one.serve()
except NotImplementedError as error:
    print(error)
"""
    done = run("-c", code, home=tmp_path)
    assert done.returncode == 0, done.stderr
    told = done.stdout.splitlines()
    assert "anabranch submit" in told[0]
    assert "anabranch runs" in told[1]
    assert "anabranch has no prefect.nothing" in told[2]
    assert "anabranch resume" in told[3]
    assert "task.delay" in told[4]


def test_a_sigterm_that_nobody_catches_ends_the_program(tmp_path: Path) -> None:
    code = """
import os, signal
import anabranch.compat.prefect
from prefect import flow

@flow
def told():
    os.kill(os.getpid(), signal.SIGTERM)
    while True:
        pass

try:
    told()
except Exception:
    print("an Exception")
"""
    done = run("-c", code, home=tmp_path)
    assert (done.returncode, done.stdout) == (143, ""), done.stderr


def test_parameters_that_do_not_validate_raise_prefects_error(tmp_path: Path) -> None:
    code = """
import anabranch.compat.prefect
from prefect import flow
from prefect.exceptions import ParameterTypeError, PausedRun
from prefect.states import Paused

@flow
def whole(x: int):
    return x

@flow
def paused():
    return Paused()

try:
    whole("many")
except ParameterTypeError as error:
    print(str(error).splitlines()[0])
state = whole("many", return_state=True)
print(state.is_failed(), type(state.result(raise_on_failure=False)) is ParameterTypeError)
try:
    paused()
except PausedRun as error:
    print(error)
"""
    done = run("-c", code, home=tmp_path)
    told = "Flow run received invalid parameters:\nTrue True\nRun is paused, its result is not available.\n"
    assert (done.returncode, done.stdout) == (0, told), done.stderr


def test_a_flow_comes_from_a_storage_of_the_programs_own(tmp_path: Path) -> None:
    code = """
import asyncio, sys
from pathlib import Path
import anabranch.compat.prefect
from prefect import Flow, flow

class Storage:
    def set_base_path(self, path):
        self.destination = Path(path)
    async def pull_code(self):
        (self.destination / "package").mkdir()
        (self.destination / "beside.py").write_text("word = 'pulled'")
        text = "import beside\\nfrom prefect import flow\\n@flow\\ndef told(): return beside.word"
        (self.destination / "package" / "flows.py").write_text(text)

before = list(sys.path)
print(Flow.from_source(Storage(), "package/flows.py:told")(), flow.from_source(Storage(), "package.flows.told")())

async def main():
    return (await Flow.from_source(Storage(), "package.flows.told"))()

print(asyncio.run(main()), sys.path == before)
try:
    Flow.from_source(object(), "flows.py:told")
except TypeError as error:
    print(error)
"""
    done = run("-c", code, home=tmp_path)
    last = "Unsupported source type 'object'. Please provide a URL to remote storage or a storage object."
    assert (done.returncode, done.stdout) == (0, f"pulled pulled\npulled True\n{last}\n"), done.stderr


def test_a_submitted_flow_gives_its_value(tmp_path: Path) -> None:
    code = """
import anabranch.compat.prefect
from prefect import flow

@flow
def inner(x):
    return x

@flow
def outer():
    futures = [inner.submit(x) for x in (5, None)]
    print([(one.result(), one.state.result()) for one in futures], inner.submit(6, return_state=True).result())

outer()
"""
    done = run("-c", code, home=tmp_path)
    assert (done.returncode, done.stdout) == (0, "[(5, 5), (None, None)] 6\n"), done.stderr


def test_importing_prefect_loads_what_anabranch_does_and_little_more(tmp_path: Path) -> None:
    code = """
import sys
from anabranch import flow, task
before = set(sys.modules)
import anabranch.compat.prefect
from prefect import flow, task, get_run_logger, tags, unmapped
more = {name.partition(".")[0] for name in set(sys.modules) - before}
print(sorted(more - {"anabranch", "prefect"}))
"""
    done = run("-c", code, home=tmp_path)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.replace("'", "").strip()[1:-1].split(", "))
    assert loaded <= {"_hashlib", "hashlib", "uuid", "_uuid", "platform", "zoneinfo", "concurrent", "importlib", ""}
