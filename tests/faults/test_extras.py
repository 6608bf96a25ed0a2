"""Small faults: lines of 10 MB, a list cancelled while it grows, a fork of the driver, secrets in error messages."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle
import pytest
from pydantic import SecretStr

from anabranch import ProcessRunner, Secret, ThreadRunner, explain, flow, get_run_logger, task
from anabranch import session as sessions
from anabranch.logs import LONGEST_LINE
from anabranch.records.sqlite import SqliteRecords
from anabranch.session import Session
from anabranch.settings import Settings
from tests.faults.workers import WAIT, until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.sampled(4, "each starts processes or writes 10 MB")
REPOSITORY = Path(__file__).resolve().parents[2]
LONG = 10 << 20
SECRET = "open-sesame-4711"
NAME = "ANABRANCH_TEST_OF_EXTRAS"


@pytest.fixture(params=["thread", "process"])
def either(request: pytest.FixtureRequest) -> Iterator[Any]:
    # Workers cannot import this file: what tasks find in it travels with them.
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield ThreadRunner(max_workers=2) if request.param == "thread" else ProcessRunner(max_workers=2)
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


@pytest.fixture
def logging(tmp_path: Path) -> Iterator[Session]:
    """A session that logs and records, in a file."""
    mine = Session(Settings(home=tmp_path, records=str(tmp_path / "records.db"), progress=False, log_level="INFO"))
    before = sessions.use(mine)
    yield mine
    sessions.use(before)
    mine.close()


# -- a line of 10 MB -------------------------------------------------------------------------------


def test_a_log_line_of_10_mb_is_cut(logging: Session, either: Any, capfd: pytest.CaptureFixture[str]) -> None:
    @task(log_prints=True)
    def work(x: int) -> int:
        get_run_logger().info("logged %s", "x" * LONG)
        print("printed", "y" * LONG)
        try:
            raise KeyError("z" * LONG)
        except KeyError:
            get_run_logger().exception("caught")
        get_run_logger().info("after")
        return x

    @flow(runner=either, log_prints=True)
    def main() -> int:
        print("flow", "f" * LONG)
        return int(work.submit(3).result(WAIT))

    assert main() == 3
    logging.flush_records()
    [run] = logging.records.flow_runs()
    lines = [line.message for line in logging.records.logs(run.id)]
    long = {line.split()[0]: line for line in lines if len(line) > 1000}
    assert sorted(long) == ["caught", "flow", "logged", "printed"]
    for line in long.values():
        assert len(line) < LONGEST_LINE + 100
        assert line.endswith(" characters, cut)")
    assert long["logged"].endswith(f"x... ({LONG + len('logged '):,} characters, cut)")
    assert lines.count("after") == 1
    shown = capfd.readouterr().err
    assert f"({LONG + len('logged '):,} characters, cut)" in shown
    assert len(shown) < 10 * LONGEST_LINE


def test_the_lines_of_an_error_of_10_mb_are_cut(
    logging: Session, either: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    @task
    def work(x: int) -> int:
        raise ValueError("x" * LONG)

    @flow(runner=either)
    def main() -> int:
        return int(work.submit(3).result(WAIT))

    with pytest.raises(ValueError, match="xxx"):
        main()
    logging.flush_records()
    [run] = logging.records.flow_runs()
    lines = [line.message for line in logging.records.logs(run.id) if "ValueError: xxx" in line.message]
    assert len(lines) == 2, "of the task run and of the flow run"
    for line in lines:
        assert len(line) < LONGEST_LINE + 100
        assert line.endswith(" characters, cut)")
    assert len(capfd.readouterr().err) < 4 * LONGEST_LINE


# -- a list cancelled while it grows ---------------------------------------------------------------


def note(path: str, x: int) -> None:
    descriptor = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.write(descriptor, f"{x}\n".encode())
    os.close(descriptor)


def noted(path: str) -> list[int]:
    return [int(word) for word in Path(path).read_text().split()] if os.path.exists(path) else []


def test_a_list_cancelled_while_another_thread_pulls_its_input(logging: Session, either: Any, tmp_path: Path) -> None:
    """The iterator is in the midst of making the next item; what it had made and comes too late does not begin."""
    inside, go_on, closed = threading.Event(), threading.Event(), threading.Event()
    path = str(tmp_path / "begun")

    @task
    def work(x: int) -> int:
        note(path, x)
        return x

    def numbers() -> Iterator[int]:
        try:
            yield from range(50)
            inside.set()
            assert go_on.wait(WAIT)
            yield from range(50, 10_000)
        finally:
            closed.set()

    @flow(runner=either)
    def main() -> tuple[list[str], dict[str, int]]:
        futures = work.map(numbers(), chunk=1)
        assert inside.wait(WAIT)
        futures.cancel()
        go_on.set()
        futures.wait(WAIT)
        assert futures.done()
        return [state.name for state in futures.states], futures.counts

    names, counts = main()
    assert closed.wait(WAIT)
    assert len(names) < 1000, "it was pulled no further"
    assert set(names) <= {"Completed", "Cancelled"}
    completed = {n for n, name in enumerate(names) if name == "Completed"}
    begun = noted(path)
    assert completed <= set(begun) <= set(range(50))
    assert len(set(begun)) == len(begun)
    logging.flush_records()
    [run] = logging.records.flow_runs()
    # A list is done once nothing of it counts any more; its last row comes when the workers are done with it too.
    until(lambda: logging.records.maps(run.id)[0].ended is not None)
    [map] = logging.records.maps(run.id)
    assert (map.length, map.counts) == (len(names), counts)
    assert [view.state for view in logging.records.items(map.id, limit=1000)] == names


def test_futures_cancelled_while_another_thread_submits_more(
    logging: Session, either: Any, gate: str, tmp_path: Path
) -> None:
    """Two runs hold both workers meanwhile, so that others wait to begin; each ends, and none runs twice."""
    many, path = 300, str(tmp_path / "begun")

    @task
    def work(x: int) -> int:
        note(path, x)
        if x < 2:
            open(gate).close()
        return x

    @flow(runner=either)
    def main() -> list[str]:
        futures = [work.submit(n) for n in range(2)]
        until(lambda: len(noted(path)) == 2)
        some, half = threading.Event(), threading.Event()

        def cancel() -> None:
            assert some.wait(WAIT)
            for n in range(20, many // 2, 2):
                until(lambda n=n: len(futures) > n)  # type: ignore[misc]
                assert futures[n].cancel()
            half.set()

        thread = threading.Thread(target=cancel)
        thread.start()
        for n in range(2, many):
            futures.append(work.submit(n))
            if n == 20:
                some.set()
        assert half.wait(WAIT)
        thread.join(WAIT)
        writer = os.open(gate, os.O_WRONLY)  # which both wait for
        found = [future.wait(WAIT).name for future in futures]
        os.close(writer)
        return found

    names = main()
    cancelled = set(range(20, many // 2, 2))
    assert names == ["Cancelled" if n in cancelled else "Completed" for n in range(many)]
    assert sorted(noted(path)) == [n for n in range(many) if n not in cancelled]
    logging.flush_records()
    [run] = logging.records.flow_runs()
    [map] = logging.records.maps(run.id)
    assert map.counts == {"Completed": many - len(cancelled), "Cancelled": len(cancelled)}
    assert [view.state for view in logging.records.items(map.id, limit=1000)] == names


# -- a fork ----------------------------------------------------------------------------------------

DRIVER = """
import os, sys, threading
from pathlib import Path
from anabranch import ProcessRunner, ThreadRunner, flow, get_run_logger, task
from anabranch import session as sessions
from anabranch.session import Session
from anabranch.settings import Settings

home, kind = Path(sys.argv[1]), sys.argv[2]
gate = str(home / "gate")
os.mkfifo(gate)
runner = (ThreadRunner if kind == "thread" else ProcessRunner)(max_workers=2)
mine = Session(Settings(home=home, records=str(home / "records.db"), progress=False))
sessions.use(mine)

@task
def work(x):
    if not x:
        open(gate).read()  # until the driver has opened and closed it
    return 2 * x

def child(future):
    told = []
    acts = {
        "log": lambda: get_run_logger().info("from the child"),
        "flush": mine.flush_records,
        "submit": lambda: work.submit(77).result(20),
        "wait": lambda: future.result(0.1),
        "close": mine.close,
    }
    for name, act in acts.items():
        try:
            told.append(f"{name} {act()}")
        except BaseException as error:
            told.append(f"{name} {type(error).__name__}")
    (home / "child").write_text("\\n".join(told))

@flow(runner=runner)
def main():
    futures = work.map(range(6), chunk=1)
    writer = os.open(gate, os.O_WRONLY)  # once the task waits in it
    before = threading.active_count()
    pid = os.fork()
    if not pid:
        child(futures[0])
        if sys.argv[3] == "at once":
            os._exit(7)
        sys.exit(7)
    assert before > 3
    _, status = os.waitpid(pid, 0)
    print("child", os.waitstatus_to_exitcode(status), flush=True)
    os.close(writer)
    get_run_logger().info("from the parent")
    return sum(futures.result(20))

print(main(), flush=True)
"""


@pytest.mark.parametrize("kind", ["thread", "process"])
@pytest.mark.parametrize("way", ["at once", "in order"])
def test_a_fork_of_a_driver_at_work(tmp_path: Path, kind: str, way: str) -> None:
    """The child has no threads and no run: it hangs nowhere, what it does is its own, and its parent completes."""
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, str(tmp_path), kind, way],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=45,
    )  # fmt: skip
    assert done.stdout.split() == ["child", "7", "30"], done.stderr
    told = ["log None", "flush RecordsError", "submit 154", "wait RunnerError", "close None"]
    assert (tmp_path / "child").read_text().split("\n") == told
    assert "from the child" in done.stderr
    with closing(SqliteRecords(tmp_path / "records.db")) as records:
        assert records.check() == []
        [run] = records.flow_runs()
        assert (run.state_name, run.attempt) == ("Completed", 1)
        told = [line.message for line in records.logs(run.id)]
        assert "from the parent" in told
        assert "from the child" not in told
        assert sum("Finished in state" in line for line in told) == 1
        [map] = records.maps(run.id)
        assert map.counts == {"Completed": 6}


# -- a secret in an error's message ----------------------------------------------------------------


@pytest.mark.parametrize("kind", ["SecretStr", "Secret"])
def test_a_secret_in_an_error_message_is_masked_everywhere(
    logging: Session, either: Any, kind: str, tmp_path: Path, capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv(NAME, SECRET)  # workers get it with their environment

    @task(retries=1)
    def use(key: Any) -> None:
        try:
            raise KeyError(key.get_secret_value())
        except KeyError as error:
            get_run_logger().exception("about to fail")
            raise ValueError(f"refused {key.get_secret_value()} at {{}}") from error

    @flow(name="login", runner=either)
    def main(key: Any) -> None:
        for future in (use.submit(key), use.map([key])[0]):
            future.wait(WAIT)
        raise RuntimeError(f"no login with {key.get_secret_value()}")

    key: Any = SecretStr(SECRET) if kind == "SecretStr" else Secret(NAME)
    with pytest.raises(RuntimeError, match="no login with"):
        main(key)
    logging.flush_records()
    [run] = logging.records.flow_runs()
    because = explain(run.id)
    words = [repr(because), str(because), repr(run), capfd.readouterr().err]
    words += [str(explain(run.id, f"use#{n}[0]")) for n in (1, 2)]
    for text in ("\n".join(words), repr(logging.records.logs(run.id)), repr(logging.records.failures(run.id))):
        assert "refused **********" in text
    everything = "\n".join(words) + repr(logging.records.logs(run.id)) + repr(logging.records.failures(run.id))
    assert SECRET not in everything
    assert "no login with **********" in run.message
    logging.close()
    files = list(tmp_path.glob("records.db*"))
    assert files
    assert not [file for file in files if SECRET.encode() in file.read_bytes()]
