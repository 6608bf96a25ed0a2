"""Context variables of a script, on workers that are other processes: each run has the values of its submit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.sessions import over

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = '''
import contextvars, sys, threading
from anabranch import flow, task

REQUEST = contextvars.ContextVar("request", default="none")
EMPTY = contextvars.ContextVar("empty")

def of_helper(): return REQUEST.get()

@task
def read(n=0): return of_helper()

@task
async def awaited(): return REQUEST.get()

@task
def missing():
    try: return EMPTY.get()
    except LookupError: return "no value"

@task
def changed(n):
    before = REQUEST.get()
    REQUEST.set(f"set by {n}")
    return before, of_helper()

@task
def itself(given): return REQUEST, given

def check(what, got, want):
    if got != want: print("WRONG", what, got, flush=True)

@flow(runner=sys.argv[1])
def main():
    check("the default", read.submit().result(), "none")
    check("no value", missing.submit().result(), "no value")
    futures = []
    for n in range(6):
        REQUEST.set(f"r{n // 2}")
        futures.append(read.submit())
    REQUEST.set("mapped")
    many = read.map(range(40), chunk=4)
    REQUEST.set("later")
    EMPTY.set(7)
    check("at the submit", [f.result() for f in futures], ["r0", "r0", "r1", "r1", "r2", "r2"])
    check("at the map", set(many.result()), {"mapped"})
    check("a coroutine", awaited.submit().result(), "later")
    check("a value now", missing.submit().result(), 7)
    check("a set one", changed.submit(1).result(), ("later", "set by 1"))
    check("and not for others", [changed.submit(n).result()[0] for n in range(4)], ["later"] * 4)
    found, given = itself.submit(EMPTY).result()
    check("itself at home", (found is REQUEST, given is EMPTY), (True, True))
    seen = []
    def elsewhere():
        REQUEST.set("of a thread")
        seen.append(read.submit().result())
    around = contextvars.copy_context()
    thread = threading.Thread(target=lambda: around.run(elsewhere))
    thread.start(); thread.join()
    check("of a thread", (seen, read.submit().result()), (["of a thread"], "later"))
    print("DONE", flush=True)

main()
'''


@pytest.mark.timeout(180)
@pytest.mark.parametrize("kind", over("process", "dask", "ray"))
def test_a_run_has_the_values_of_its_submit(kind: str, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    env = {**os.environ, "ANABRANCH_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT), "ANABRANCH_PROGRESS": "0"}
    done: Any = subprocess.run(
        [sys.executable, "script.py", kind], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=170,
        check=False,
    )  # fmt: skip
    lines = [line for line in done.stdout.splitlines() if line.startswith(("WRONG", "DONE"))]
    assert lines == ["DONE"], done.stdout + done.stderr
