"""A signal that comes to a forked copy before it has handlers of its own is not lost."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import os, signal
from anabranch.core import forks

signal.signal(signal.SIGTERM, lambda *_: None)  # as a worker's, which its copies do not keep
forks.in_copies(lambda: os.kill(os.getpid(), signal.SIGTERM))  # as a pool that ends a worker as it begins
forks.in_copies(lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL))
pid = os.fork()
if not pid:
    os._exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), signal.pthread_sigmask(signal.SIG_BLOCK, ()))
"""


def test_a_copy_that_is_ended_as_it_begins_ends() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["-15", "set()"]
