"""Values and exceptions that do not behave: each spoils its own item only, and what is private stays so."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import traceback
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr

from anabranch import Secret, flow, get_run_logger, task, unmapped
from anabranch import session as sessions
from anabranch.core import secrets
from anabranch.core.errors import ConfigurationError, ParameterTypeError, SerializationError
from anabranch.session import Session
from anabranch.settings import Settings
from tests.integration.arithmetic import add, double, same

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.conftest import Place

pytestmark = pytest.mark.sampled(3, "pools of each runner")
WAIT = 30.0
SECRET = "hunter2-correct-horse"


# -- what tasks give and raise ---------------------------------------------------------------------------


class Misfit(Exception):
    """Pickles, but does not unpickle: its arguments are others."""

    def __init__(self, code: int, place: str) -> None:
        super().__init__(f"{code} at {place}")


class Unbuilt:
    """A value that pickles, but does not unpickle."""

    def __reduce__(self) -> Any:
        return os.getcwd, ("no argument is taken",)


class Locked(Exception):
    """Cannot be pickled."""

    def __init__(self) -> None:
        super().__init__("locked in")
        self.lock = threading.Lock()


@task
def misbehave(how: str) -> Any:
    if how == "none":
        return None
    if how == "class":
        return ValueError
    if how == "deep":
        return misbehave.fn("deep")
    if how == "exit":
        sys.exit(3)
    if how == "ctrl-c":
        raise KeyboardInterrupt
    if how == "misfit":
        raise Misfit(7, "the door")
    if how == "locked":
        raise Locked
    return how


def test_a_class_or_nothing_as_a_value(both: Place) -> None:
    assert misbehave.submit("none").result(WAIT) is None
    assert misbehave.submit("class").result(WAIT) is ValueError, "a class is a value like any other"


def test_a_task_as_a_value(both: Place) -> None:
    found = same.submit(double).result(WAIT)
    assert found.name == "double"
    assert found(4) == 8


@pytest.mark.parametrize(
    ("how", "state", "text"),
    [
        ("deep", "Failed", "RecursionError"),
        ("misfit", "Failed", "7 at the door"),
        ("locked", "Failed", "locked in"),
        ("exit", "Crashed", "3"),
        ("ctrl-c", "Crashed", "KeyboardInterrupt"),
    ],
)
def test_odd_ends_are_their_own_items_only(both: Place, how: str, state: str, text: str) -> None:
    futures = misbehave.map(["a", how, "b"])
    states = futures.wait(WAIT)
    assert [s.name for s in states] == ["Completed", state, "Completed"]
    assert text in states[1].message
    assert futures[0].result(WAIT) == "a"
    assert futures[1].exception(WAIT) is not None


@pytest.mark.parametrize("how", ["misfit", "locked"])
def test_an_error_that_pickle_cannot_make_again_comes_as_itself(processes: Place, how: str) -> None:
    error = misbehave.submit(how).exception(WAIT)
    assert isinstance(error, Misfit if how == "misfit" else Locked)
    assert str(error) == ("7 at the door" if how == "misfit" else "locked in")
    assert "in misbehave" in "".join(traceback.format_exception(error)), "with the way to where it was raised"


def test_a_task_may_close_stdout(processes: Place) -> None:
    @task
    def silent(x: int) -> int:
        sys.stdout.close()
        return x

    assert silent.map(range(4), chunk=1).result(WAIT) == [0, 1, 2, 3]
    assert double.submit(4).result(WAIT) == 8


# -- what does not pickle --------------------------------------------------------------------------------


def test_an_argument_that_does_not_pickle_is_shown_the_way_to(processes: Place) -> None:
    futures = same.map([{"config": [1, threading.Lock()]}, {"config": [1, 2]}], chunk=1)
    error = futures[0].exception(WAIT)
    assert "argument 0['config'][1]" in str(error)
    assert "lock" in str(error)
    assert futures[1].result(WAIT) == {"config": [1, 2]}, "its neighbour is well"


def test_a_constant_that_does_not_pickle(processes: Place) -> None:
    error = add.map([1, 2], unmapped({"key": threading.Lock()}))[0].exception(WAIT)
    assert "['key']" in str(error)


def test_a_closure_that_does_not_pickle(processes: Place) -> None:
    lock = threading.Lock()

    @task
    def locked(x: int) -> int:
        with lock:
            return x

    error = locked.submit(1).exception(WAIT)
    assert "__closure__['lock']" in str(error)


def test_a_result_that_does_not_pickle(processes: Place) -> None:
    @task
    def hand(x: int) -> Any:
        return {"rows": [x, threading.Lock()]} if x == 1 else x

    futures = hand.map(range(3), chunk=3)
    error = futures[1].exception(WAIT)
    assert isinstance(error, SerializationError)
    assert "['rows'][1]" in str(error)
    assert futures[2].result(WAIT) == 2


def test_a_huge_argument(processes: Place) -> None:
    size = 80 << 20
    assert task(len).submit(bytes(size)).result(WAIT) == size


# -- secrets, files --------------------------------------------------------------------------------------


def _texts(place: Place, run_id: str) -> str:
    """All that is recorded of a flow run."""
    rows: list[Any] = [place.records.flow_run(run_id), *place.records.logs(run_id)]
    for map in place.records.maps(run_id):
        rows += [map, *place.records.items(map.id)]
    return "\n".join(str(row) for row in rows)


def test_a_secret_is_masked_where_it_is_shown(both: Place) -> None:
    @task(log_prints=True, task_run_name="with-{key}")
    def use(key: Any) -> Any:
        print("key is", key)
        get_run_logger().info("the key: %s, %r", key, {"key": key})
        raise ValueError(f"refused {key!r}")

    @flow(name="secretive", log_prints=True)
    def secretive(key: SecretStr) -> str:
        print("flow has", key)
        use.submit(key).wait(WAIT)
        return "done"

    secretive(SecretStr(SECRET))
    run = both.records.flow_runs(flow="secretive")[0]
    told = _texts(both, run.id)
    assert "flow has **" in told
    assert "key is **" in told
    assert SECRET not in told


def test_a_secret_that_does_not_validate_is_not_told(threads: Place) -> None:
    @flow(name="strict-secret")
    def strict(key: SecretStr) -> None: ...

    with pytest.raises(ParameterTypeError, match="a hidden value") as caught:
        strict({"secret": SECRET})
    assert SECRET not in str(caught.value)


def test_the_text_of_a_secret_is_masked_even_when_it_was_taken_out(threads: Place) -> None:
    @flow(name="careless", log_prints=True)
    def careless(key: SecretStr) -> str:
        print("it is", key.get_secret_value())
        return "done"

    careless(SecretStr(SECRET))
    assert SECRET not in _texts(threads, threads.records.flow_runs(flow="careless")[0].id)


NAME = "ANABRANCH_TEST_ONLY_ON_WORKERS"


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> Secret:
    """A secret that nobody has read yet; the driver's environment lacks it."""
    monkeypatch.setattr(secrets, "_known", ())
    monkeypatch.setenv(NAME, "")
    monkeypatch.delenv(NAME)  # and goes again, where a task on a thread sets it
    return Secret(NAME)


class Refused(Exception):
    """Carries what it was raised with."""


def refuse(key: Secret) -> None:
    os.environ[NAME] = SECRET[::-1]
    print("key is", key.get())
    get_run_logger().info("the key: %s, %r", key, {"key": key.get_secret_value()})
    raise Refused(f"refused {key.get()}")


async def refuse_later(key: Secret) -> None:
    refuse(key)


@pytest.mark.parametrize("fn", [refuse, refuse_later], ids=lambda fn: fn.__name__)
@pytest.mark.parametrize("retries", [0, 1])
def test_a_secret_that_a_worker_reads_is_masked(
    both: Place, unread: Secret, fn: Any, retries: int, capfd: pytest.CaptureFixture[str]
) -> None:
    use = task(fn, log_prints=True, retries=retries, name="use")

    @flow(name=f"far-secret-{fn.__name__}-{retries}")
    def main(key: Secret) -> Any:
        return use.submit(key)

    state = main(unread, return_state=True)
    assert state.is_failed()
    run = both.records.flow_runs(flow=main.name)[0]
    told = _texts(both, run.id)
    shown = "".join(capfd.readouterr())
    assert f"key is {secrets.MASK}" in told
    assert f"the key: Secret({NAME!r}), {{'key': '{secrets.MASK}'}}" in told
    assert f"Refused: refused {secrets.MASK}" in told, "in the traceback"
    assert SECRET[::-1] not in told + shown
    assert SECRET[::-1] not in state.message
    error = state.exception()
    assert type(error) is Refused
    if not both.session.pump.dispatcher.tables.lanes[0].capabilities.in_process:
        assert not secrets.any_known(), "the driver has not read it"
        assert SECRET[::-1] not in "".join([repr(error), *traceback.format_exception(error)])


def test_prints_of_async_tasks_are_logged_by_their_own_option(both: Place, capfd: pytest.CaptureFixture[str]) -> None:
    @task
    async def speak(x: int) -> None:
        if sys.stdout.closed:  # by another test, on a worker
            sys.stdout = sys.stderr
        print("said", x)

    @flow(name="speakers")
    def main() -> None:
        for x, prints in enumerate([True, False, True]):
            speak.with_options(log_prints=prints).map([x] * 4, chunk=1).wait(WAIT)

    main()
    lines = both.records.logs(both.records.flow_runs(flow="speakers")[0].id)
    assert [line.message for line in lines if "said" in line.message] == ["said 0"] * 4 + ["said 2"] * 4
    capfd.readouterr()


def test_a_secret_is_an_argument_like_any_other(both: Place, unread: Secret) -> None:
    @task
    def named(key: Secret, x: int = 0) -> tuple[str, int]:
        return key.name, x

    @flow
    def main(key: Secret, more: Any) -> Any:
        return [named(key), named.submit(key).result(WAIT), *named.map(unmapped(key), [1, 2]).result(WAIT)]

    assert main(unread, {"keys": [unread]}) == [(NAME, 0), (NAME, 0), (NAME, 1), (NAME, 2)]


def test_a_secret_that_is_missing_on_the_worker_says_so(both: Place, unread: Secret) -> None:
    @task
    def use(key: Secret) -> int:
        os.environ.pop(NAME, None)  # a worker may live longer than a test
        return len(key.get())

    with pytest.raises(ConfigurationError, match=f"there is no environment variable {NAME!r} in process"):
        use.submit(unread).result(WAIT)


def test_stored_files_are_private(threads: Place) -> None:
    assert double.with_options(persist_result=True, cache_key_fn=lambda *_: "private").submit(4).result(WAIT) == 8
    files = [f for f in threads.session.settings.home.rglob("*") if f.is_file()]
    assert files
    assert {oct(f.stat().st_mode & 0o777) for f in files} == {"0o600"}


EXPLODE = """
import pickle, sys
def refuse(*args, **kwargs): raise AssertionError("something was unpickled")
pickle.loads = pickle.load = pickle.Unpickler = refuse
from click.testing import CliRunner
from anabranch.cli import cli
for words in (["runs"], ["runs", "--json"], ["run", "show", sys.argv[1]], ["run", "logs", sys.argv[1]]):
    found = CliRunner().invoke(cli, words)
    print(found.output)
    assert found.exit_code == 0, (words, found.exception)
"""


class Trap:
    """Runs code when unpickled: nobody who only looks may do that."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (self.path,)


def test_reading_records_unpickles_nothing(tmp_path: Path) -> None:
    home, sprung = tmp_path / "home", tmp_path / "sprung"
    session = Session(Settings(home=home, runner="inline", progress=False))
    before = sessions.use(session)
    try:

        @flow(name="trap")
        def trap(value: Any) -> None:
            same.with_options(persist_result=True, cache_key_fn=lambda *_: "trap").submit(value).wait(WAIT)

        trap(Trap(str(sprung)))
        [run] = session.records.flow_runs()
    finally:
        sessions.use(before)
        session.close()
    assert any((home / "results").rglob("*")), "the value lies there, as a pickle"
    env = {**os.environ, "ANABRANCH_HOME": str(home)}
    found = subprocess.run([sys.executable, "-c", EXPLODE, run.id], env=env, capture_output=True, text=True, timeout=50)
    assert found.returncode == 0, found.stdout + found.stderr
    assert "trap" in found.stdout
    assert not sprung.exists()


def test_a_value_that_does_not_unpickle_fails_who_reads_it(processes: Place) -> None:
    """It is unpickled in the driver, where nothing may hang for it."""

    def make(x: int) -> Any:
        return Unbuilt() if x == 2 else x

    @task
    def read(x: Any) -> Any:
        return x

    @flow
    def around() -> None:
        made = task(make).map(range(4), chunk=1)
        made.wait()  # else the second one travels behind the first
        read_on = read.map(made, chunk=1)
        read_on.wait()
        assert [read_on[n].result() for n in (0, 1, 3)] == [0, 1, 3]

    assert around(return_state=True).is_failed()
    with pytest.raises(SerializationError, match=r"does not unpickle.*TypeError"):
        around()
