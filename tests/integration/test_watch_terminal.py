"""`anabranch watch` in a real terminal (a pane of tmux), over a flow that runs in another process."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from anabranch.records.sqlite import SqliteRecords
from tests.integration.commands import MAIN, alone, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

WAIT = 50.0
FLOW = '''
import time
from pathlib import Path
from anabranch import ThreadRunner, flow, get_run_logger, task

@task
def step(n):
    while not Path(f"open-{n}").exists():
        time.sleep(0.02)
    if n == 3 and not Path("mended").exists():
        raise ValueError("three is odd")
    return n

@flow(runner=ThreadRunner(max_workers=1), flow_run_name="calm-newt")
def steps():
    get_run_logger().info("begins")
    return len(step.map(range(6), chunk=1).result(raise_on_failure=False))

@flow(runner="thread", flow_run_name="odd-newt")
def strict():
    step.map(range(6), chunk=1)
'''
_SIZED = ["-u", "COLUMNS", "-u", "LINES"]  # the pane has its own
pytestmark = [
    pytest.mark.skipif(not shutil.which("tmux"), reason="there is no tmux here: apt-get install tmux"),
    pytest.mark.sampled(2, "a terminal and a Python for each"),
]


class Pane:
    """A pane of a tmux server of its own, in which a command runs."""

    def __init__(self, socket: Path, command: str, size: tuple[int, int] = (110, 34)) -> None:
        self._tmux = ["tmux", "-S", str(socket), "-f", "/dev/null"]
        width, height = map(str, size)
        environ = ["env", *_SIZED, "TERM=screen-256color"]
        words = ["new-session", "-d", "-x", width, "-y", height, *environ, "sh", "-c", command]
        for last in (False, False, False, True):  # now and then tmux says "server exited unexpectedly" as it starts
            if not subprocess.run([*self._tmux, *words], check=last, timeout=WAIT).returncode:
                break
            socket.unlink(missing_ok=True)

    def text(self) -> str:
        done = subprocess.run([*self._tmux, "capture-pane", "-p"], capture_output=True, text=True, timeout=WAIT)
        return done.stdout

    def press(self, *keys: str) -> None:
        subprocess.run([*self._tmux, "send-keys", *keys], check=True, timeout=WAIT)

    def copied_to(self, file: Path) -> None:
        """From now on what is drawn is written to a file too."""
        subprocess.run([*self._tmux, "pipe-pane", "-O", f"cat >> {shlex.quote(str(file))}"], check=True, timeout=WAIT)

    def until(self, *words: str) -> str:
        end = time.monotonic() + WAIT
        while not all(word in (text := self.text()) for word in words):
            assert time.monotonic() < end, f"{words} do not come:\n{text}"
            time.sleep(0.05)
        return text

    def end(self) -> None:
        subprocess.run([*self._tmux, "kill-server"], capture_output=True, timeout=WAIT)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    found = alone(tmp_path, monkeypatch)
    (tmp_path / "flows.py").write_text(FLOW)
    return found


@contextmanager
def watched(tmp_path: Path, *args: str) -> Iterator[Pane]:
    """The view, in a pane; its own end is shown as a word."""
    command = shlex.join([*MAIN, "watch", *args])
    pane = Pane(tmp_path / "tmux.sock", f"{command}; echo ended with $?; sleep 1000")
    try:
        yield pane
    finally:
        pane.end()


@contextmanager
def running(*words: str) -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen([*MAIN, "run", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield child
    finally:
        child.kill()
        child.wait()


def gates(folder: Path) -> Callable[[int], None]:
    return lambda n: (folder / f"open-{n}").write_text("")  # type: ignore[return-value]


def test_a_flow_of_another_process_is_seen_as_it_goes_on(home: Path, tmp_path: Path) -> None:
    let = gates(tmp_path)
    with running("flows.py:steps"), watched(tmp_path) as pane:
        pane.until("calm-newt", "Running", "0/6", "begins")
        let(0)
        pane.until("1/6", "1 worker", "last item ended", "anabranch-1")  # its panel is there now
        let(1)
        pane.until("2/6")
        drawn = tmp_path / "drawn"
        pane.copied_to(drawn)
        let(2)
        pane.until("3/6")
        text = drawn.read_bytes().decode("utf-8", "replace")
        assert "3/6" in text
        assert not set("╭╰") & set(text), "frames, which have not changed, are not drawn again"
        for n in (3, 4, 5):
            let(n)
        pane.until("6/6", "Completed", "step: 1 x ValueError: three is odd (item 3)", "Finished in state")
        pane.press("e")
        pane.until("explain calm-newt", "ValueError: three is odd")
        pane.press("Escape")
        pane.until("1 worker", "c cancel")
        pane.press("q")
        pane.until("ended with 0")


def test_cancel_and_retry_by_keys(home: Path, tmp_path: Path) -> None:
    let = gates(tmp_path)
    for n in (0, 1, 2, 3, 4, 5):
        let(n)
    run("run", "flows.py:strict", code=1)
    (tmp_path / "mended").write_text("")
    with watched(tmp_path, "odd-newt") as pane:
        pane.until("odd-newt", "Failed", "1 of 6 task runs failed")
        pane.press("r")
        pane.until("Run what failed in flow run odd-newt of strict once more?")
        pane.press("y")
        pane.until("odd-newt", "Completed", "6/6")
    (tmp_path / "open-5").unlink()
    with running("flows.py:steps") as child, watched(tmp_path) as pane:
        pane.until("steps (calm-newt) Running", "5/6")
        pane.press("c")
        pane.until("Cancel flow run calm-newt of steps?")
        pane.press("y")
        pane.until("is asked to stop")
        with SqliteRecords(home / "records.db") as records:
            row = records.flow_run("calm-newt")
            assert row is not None
            assert records.cancel_requested([row.id]) == {row.id}
        child.kill()  # its last item waits at its gate; a killed driver's run is seen to have ended
        pane.until("steps (calm-newt) Crashed: its driver process")
    assert len(os.listdir(home / "retries")) == 1
