"""The pytest plugin, in runs of pytest of its own: what a user's tests get, and what is left behind."""

from __future__ import annotations

import ast
import importlib.metadata
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from _pytest.pytester import RunResult

pytestmark = pytest.mark.sampled(3, "a pytest in a Python of its own for each")
pytest_plugins = ["pytester"]

PLUGIN = "anabranch.integrations.pytest_plugin"
ROOT = Path(__file__).resolve().parents[3]
TESTS = """
import os
import threading
import pytest
from anabranch import flow, task

@task(retries=3, retry_delay_seconds=[30, 60])
def shaky(x: int, tries: list) -> int:
    tries.append(x)
    if len(tries) < 3:
        raise ValueError(x)
    return 2 * x

@flow(retries=1, retry_delay_seconds=600)
def main(tries: list) -> int:
    if not tries:
        tries.append(0)
        raise OSError("once")
    return shaky.submit(4, tries).result()

def test_delays_pass_at_once(anabranch_session, anabranch_clock):
    assert main([]) == 8
    assert anabranch_clock.monotonic() == 600 + 30
    assert shaky(5, []) == 10
    assert anabranch_clock.monotonic() == 600 + 30 + 30 + 60

@task
def where() -> tuple:
    return os.getpid(), threading.get_ident()

def test_tasks_run_inline_and_are_recorded(anabranch_session):
    @flow
    def inline() -> tuple:
        return where.submit().result()

    state = inline(return_state=True)
    assert state.result() == (os.getpid(), threading.get_ident())
    (run,) = anabranch_session.records.flow_runs()
    assert (run.id, run.flow, run.runner) == (state.run_id, "inline", "inline")
    assert [map.task for map in anabranch_session.records.maps(run.id)] == ["where"]

@pytest.mark.parametrize("anabranch_runner", ["thread", "process"])
def test_on_another_runner(anabranch_session, anabranch_runner):
    process, thread = where.submit().result()
    assert (process == os.getpid()) == (anabranch_runner == "thread")
    assert (process, thread) != (os.getpid(), threading.get_ident())

def test_each_test_has_a_record_of_its_own(anabranch_session):
    assert anabranch_session.records.flow_runs() == []
"""
AFTER = """
import os, threading
import pytest

@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item):
    yield_to = [t.name for t in threading.enumerate() if t.name.startswith("anabranch")]
    item.session.left = getattr(item.session, "left", []) + yield_to

@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session):
    assert session.left == [], session.left
    assert not os.path.exists(os.environ["ANABRANCH_HOME"]), "the user's record was opened"
"""


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A folder of a user's tests; the plugin is given by `-p`, as an entry point takes effect with an installation."""
    monkeypatch.setenv("ANABRANCH_HOME", str(pytester.path / "home"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makepyfile(test_flows=TESTS)
    pytester.makeconftest(AFTER)
    return pytester


def passed(result: RunResult, count: int) -> None:
    outcomes = result.parseoutcomes()
    assert outcomes.get("passed") == count, "\n".join(result.outlines)
    assert set(outcomes) <= {"passed"}
    assert result.ret == 0


def test_a_users_tests_with_the_fixtures(run: pytest.Pytester) -> None:
    passed(run.runpytest_subprocess("-p", PLUGIN, "-p", "no:cacheprovider", "-W", "error"), 5)


def test_a_fixture_of_the_user_chooses_the_runner(run: pytest.Pytester) -> None:
    run.makepyfile(
        test_flows="""
        import threading, pytest
        from anabranch import task

        @pytest.fixture
        def anabranch_runner():
            return "thread"

        def test_thread(anabranch_session):
            assert task(threading.get_ident).submit().result() != threading.get_ident()
        """
    )
    passed(run.runpytest_subprocess("-p", PLUGIN), 1)


def test_two_runs_at_once_do_not_meet(run: pytest.Pytester) -> None:
    """As the workers of pytest-xdist do: two processes, one folder, one home."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", PLUGIN, "-p", "no:cacheprovider"]
    both = [
        subprocess.Popen([*command, f"--basetemp={run.path / name}"], cwd=run.path, stdout=subprocess.PIPE, text=True)
        for name in ("gw0", "gw1")
    ]
    try:
        said = [one.communicate(timeout=50)[0] for one in both]
    finally:
        for one in both:
            one.kill()
            one.wait()
    assert all("5 passed" in one for one in said), said


def test_it_loads_next_to_nothing_in_everybodys_runs() -> None:
    """What it may import beside pytest is counted, not timed: the package's own front, and nothing behind it."""
    code = (
        f"import pytest, sys; before = set(sys.modules); import {PLUGIN};"
        "print(sorted(name for name in set(sys.modules) - before))"
    )
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT).stdout
    # The front of the package, with modules that load their names when these are asked for.
    names = (
        "cache_policies core core.lazy deploy deployments errors futures integrations schedules state states triggers"
    ).split()
    assert set(ast.literal_eval(found)) <= {"anabranch", PLUGIN, *(f"anabranch.{name}" for name in names)}


def test_the_project_names_the_plugin_for_installations() -> None:
    with open(ROOT / "pyproject.toml", "rb") as file:
        named = tomllib.load(file)["project"]["entry-points"]["pytest11"]
    assert named == {PLUGIN: PLUGIN}  # under another name pytest would refuse `-p` beside it
    assert all(point.value == PLUGIN for point in importlib.metadata.entry_points(group="pytest11", name=PLUGIN))
