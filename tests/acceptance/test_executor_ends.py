"""Executors that break, are copied by a fork, or end while others submit; and the set-up of their workers."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from concurrent.futures import BrokenExecutor, Executor, Future
from typing import TYPE_CHECKING, Any

import pytest

import anabranch.integrations
from anabranch import ThreadRunner, settings
from anabranch import session as sessions
from anabranch.integrations import local_calls
from anabranch.records.memory import MemoryRecords
from tests.acceptance.test_executors import KINDS, MAKE, SECONDS, on_my_own, triple

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.acceptance.gates import Gate

# -- set-up of workers --------------------------------------------------------------------------------------

_SCRIPT = """
from functools import partial
from anabranch import ProcessRunner

model, kept = None, {}

def set_up(word):
    global model
    model = word
    kept["word"] = "kept"

def words():
    return f"{model} {kept.get('word')}"

def ask(_):
    return words()

class Asks:
    def __call__(self):
        return words()

if __name__ == "__main__":
    with ProcessRunner(1).executor(initializer=set_up, initargs=("bound",)) as executor:
        print(executor.submit(ask, 1).result(), *executor.map(ask, [1]), sep="\\n")
        print(executor.submit(partial(ask, 1)).result(), executor.submit(Asks()).result(), sep="\\n")
"""


def set_up(word: str) -> None:
    anabranch.integrations.__dict__.setdefault("tested", []).append(word)


def settings_here() -> list[str]:
    return list(anabranch.integrations.__dict__.get("tested", ()))


def refuse() -> None:
    raise ValueError("no set-up today")


@pytest.mark.parametrize("kind", KINDS)
def test_workers_are_set_up_once(fresh_session: sessions.Session, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(anabranch.integrations.__dict__, "tested", [])
    with MAKE[kind]().executor(initializer=set_up, initargs=("ready",)) as executor:
        assert executor.submit(settings_here).result(SECONDS) == ["ready"]
        assert list(executor.map(lambda _: settings_here(), range(3))) == [["ready"]] * 3


def test_functions_of_a_script_have_the_variables_that_the_set_up_has_bound(tmp_path: Path) -> None:
    """They travel as copies, each with a module of its own: what the initializer binds has to be in all of them."""
    file = tmp_path / "script.py"
    file.write_text(_SCRIPT)
    found = subprocess.run([sys.executable, file], capture_output=True, text=True, timeout=SECONDS, check=False)
    assert (found.stdout, found.returncode) == ("".join(["bound kept\n"] * 4), 0), found.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_a_set_up_that_raises_breaks_the_executor(
    fresh_session: sessions.Session, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    with MAKE[kind]().executor(initializer=refuse) as executor:
        future = executor.submit(triple, 1)
        with pytest.raises(BrokenExecutor):
            future.result(SECONDS)
        with pytest.raises(BrokenExecutor):
            executor.submit(triple, 1)
        with pytest.raises(BrokenExecutor):
            executor.map(triple, [1])
    assert [(one.name, one.levelname) for one in caplog.records] == [("concurrent.futures", "CRITICAL")]
    assert "no set-up today" in caplog.text
    with pytest.raises(TypeError, match="initializer must be a callable"):
        MAKE[kind]().executor(initializer=3)


# -- other ends ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_an_executor_ends_after_its_session(tmp_path: Any, kind: str, gates: Callable[[str], Gate]) -> None:
    begun, go = gates("begun"), gates("go")

    def hold() -> None:
        begun.open()
        go.wait()

    chosen = settings.load({}, home=tmp_path / "home", runner=MAKE[kind](), progress=False)
    own = sessions.Session(chosen, records=MemoryRecords())
    before = sessions.use(own)
    try:
        executor = on_my_own(chunk=1)
        for _ in range(5):
            executor.submit(hold)
        begun.wait()
        threading.Timer(0.1, go.open).start()
        own.close()
    finally:
        sessions.use(before)
    ending = threading.Thread(target=executor.shutdown)
    ending.start()
    ending.join(SECONDS)
    assert not ending.is_alive()


@pytest.mark.parametrize("kind", KINDS)
def test_a_forked_copy_refuses_calls(fresh_session: sessions.Session, kind: str) -> None:
    with MAKE[kind]().executor() as executor:
        assert executor.submit(triple, 1).result(SECONDS) == 3
        pid = os.fork()
        if not pid:
            code = 1
            try:
                executor.submit(triple, 1)
            except BrokenExecutor:
                executor.shutdown()
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_callers_race_with_the_end(concurrent: str) -> None:
    for _ in range(10):
        executor = on_my_own()
        taken: list[Future[int]] = []

        def submit(executor: Executor = executor, taken: list[Future[int]] = taken) -> None:
            with contextlib.suppress(RuntimeError):
                while True:
                    taken.append(executor.submit(triple, 1))

        caller = threading.Thread(target=submit)
        caller.start()
        while not taken:
            pass
        executor.shutdown()
        caller.join(SECONDS)
        assert not caller.is_alive()
        assert {one.exception(SECONDS) and type(one.exception()) for one in taken} <= {None, RuntimeError}


def test_the_end_meets_servers_that_leave(fresh_session: sessions.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server whose time was over just as the executor ended waited for ever, and its end with it."""
    monkeypatch.setattr(local_calls, "LINGER", 0.0005)
    own = ThreadRunner(2)
    for _ in range(150):
        executor = own.executor()
        executor.submit(int).result(SECONDS)
        ending = threading.Thread(target=executor.shutdown)
        ending.start()
        ending.join(SECONDS)
        assert not ending.is_alive()
