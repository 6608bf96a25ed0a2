"""Signals for a whole job do nothing to a worker, and end what its items have started."""

from __future__ import annotations

import signal
import subprocess
import sys

PROGRAM = """
import multiprocessing, os, signal, subprocess, sys, threading, time
from anabranch.core import left_to_driver

def ends_by_terminate():
    with subprocess.Popen(["sleep", "100"]) as child:
        child.terminate()
        return child.wait(30) == -signal.SIGTERM

def in_a_thread():
    left_to_driver.unblock()
    found.append(ends_by_terminate())

found = []
if sys.argv[1] == "blocked":
    signal.pthread_sigmask(signal.SIG_BLOCK, left_to_driver.NUMBERS)
    assert left_to_driver.are_blocked()
else:
    assert not left_to_driver.are_blocked()
left_to_driver.leave_signals_to_the_driver(signal.SIGINT)
for number in (*left_to_driver.NUMBERS, signal.SIGINT):
    os.kill(os.getpid(), number)
thread = threading.Thread(target=in_a_thread)
thread.start()
thread.join()
pid = os.fork()
if not pid:
    left_to_driver.unblock()
    os.kill(os.getpid(), signal.SIGTERM)
    os._exit(0)
_, status = os.waitpid(pid, 0)
print(found, os.WTERMSIG(status))
"""


def told(how: str) -> str:
    done = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_worker_stays_and_its_children_and_copies_can_be_ended() -> None:
    assert told("plain") == f"[True] {signal.SIGTERM:d}"


def test_so_where_its_engine_was_started_with_the_signals_blocked() -> None:
    assert told("blocked") == f"[True] {signal.SIGTERM:d}"
