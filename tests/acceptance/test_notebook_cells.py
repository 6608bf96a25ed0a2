"""Cells of a notebook, in a real kernel: what they show, and that it is in the cell that it belongs to."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.kernels import Kernel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Jupyter's own deprecations are not ours.
pytestmark = [pytest.mark.timeout(300), pytest.mark.filterwarnings("default")]


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    with Kernel(tmp_path_factory.mktemp("kernel")) as kernel:
        yield kernel


ODD = """
from anabranch import flow, task

@task(retries=1)
def odd(x):
    if x % 20 == 0:
        raise ValueError(f"odd {x}")
    return x
"""


# -- failures of a map --------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [30_000, pytest.param(100_000, marks=pytest.mark.nightly("size"))])
def test_many_items_of_which_one_in_twenty_fails_are_a_few_lines(kernel: Kernel, count: int) -> None:
    kernel.run(ODD)
    began = time.monotonic()
    cell = kernel.run(f"states = odd.map(range({count})).wait()")
    seconds = time.monotonic() - began
    after = kernel.run("print('next')")
    odd = count // 20
    assert cell.messages <= 4 * seconds + 12
    assert cell.size <= 20_000 * max(1, seconds)
    assert len(cell.outputs) == len(cell.displays) <= 1
    assert cell.error == ""
    assert len(cell.lines) <= 12, cell.lines
    (group,) = [line for line in cell.lines if "Map 'odd'" in line]
    assert group.endswith(
        f"{odd:,} of {count:,} failed, {odd:,} were tried again: {odd:,} x ValueError, e.g. odd 0 (first at item 0)"
    )
    assert after.lines == ["next"]


SLOW = """
import threading, time
from anabranch import task

@task(retries=1)
def slow(x):
    end = time.perf_counter() + 0.0001
    while time.perf_counter() < end:
        pass
    if x % 20 == 0:
        raise ValueError(f"odd {x}")
    return x

def spent(name="anabranch-progress"):
    (thread,) = [t for t in threading.enumerate() if t.name == name]
    return time.clock_gettime(time.pthread_getcpuclockid(thread.ident))

begun = time.perf_counter()
slow.map(range(100_000)).wait();
whole = time.perf_counter() - begun
print(whole, spent())
"""


@pytest.mark.nightly("a map of ten seconds and more; the other tests count the messages of a short one")
def test_the_display_of_a_long_map_costs_little(kernel: Kernel) -> None:
    cell = kernel.run(SLOW)
    whole, spent = map(float, cell.stdout.split())
    assert whole > 10
    assert spent <= 0.01 * whole
    assert cell.messages <= 4 * whole
    assert cell.size <= 200_000
    assert len(cell.lines) <= 12
    (text,) = [data["text/plain"] for data in cell.outputs.values()]
    assert text.startswith("slow: 100,000 items in ")


# -- states ---------------------------------------------------------------------------------------------


def test_states_as_the_last_line_are_counts_and_the_first_failures(kernel: Kernel) -> None:
    kernel.run(ODD)
    cell = kernel.run("odd.map(range(1000)).wait()")
    (shown,) = cell.results
    assert len(shown["text/plain"]) < 300
    assert "950 Completed, 50 Failed" in shown["text/plain"]
    assert len(shown["text/html"]) < 6000
    assert 'alt="950 completed, 50 failed"' in shown["text/html"]
    assert "50 x ValueError: odd 0 (first at item 0)" in shown["text/html"]


# -- await ----------------------------------------------------------------------------------------------


def test_a_future_list_can_be_awaited_and_read_in_an_async_for(kernel: Kernel) -> None:
    kernel.run(ODD)
    assert kernel.run("await odd.map(range(1, 5))").results[0]["text/plain"] == "[1, 2, 3, 4]"
    cell = kernel.run("print([x async for x in odd.map(range(1, 20)).results()] == list(range(1, 20)))")
    assert cell.stdout == "True\n"


# -- tracebacks -------------------------------------------------------------------------------------------

AFAR = """
@flow(runner="process")
def afar():
    return odd.map(range(4)).result()
"""


@pytest.mark.parametrize(
    "line", ["odd.map(range(4)).result()", "await odd.map(range(4))", "odd(0)", "odd.submit(0).result()", "afar()"]
)
def test_a_traceback_has_the_cell_that_asked_and_the_cell_that_ran(kernel: Kernel, line: str) -> None:
    kernel.run(ODD + AFAR)
    cell = kernel.run(line)
    shown = "\n".join(cell.trace)
    assert cell.error == "ValueError"
    assert shown.index(f"> 1 {line}") < shown.index('raise ValueError(f"odd {x}")')
    assert "Cell In[" in shown.partition(line)[2]  # where it ran
    assert "/" not in shown.replace("<module>", ""), shown  # no file of ours, and none of the kernel's
    assert len(shown.split("\n")) <= 22


# -- the stop button ------------------------------------------------------------------------------------

HELD = """
import threading
from anabranch import task

gate = threading.Event()
begun = []

@task
def held(x):
    begun.append(x)
    gate.wait(60)
    return x
"""


def test_a_stop_and_another_run_show_one_output_each(kernel: Kernel) -> None:
    kernel.run(HELD)
    for _ in range(2):
        cell = kernel.begin("gate.clear(); held.map(range(1000), chunk=1).wait()")
        kernel.until(lambda cell=cell: cell.outputs)  # while it runs
        (name,) = cell.outputs
        assert "0/1,000" in cell.outputs[name]["text/plain"]
        kernel.interrupt()
        kernel.until(lambda cell=cell: cell.done)
        kernel.run("gate.set()")
        kernel.until(lambda cell=cell, name=name: "cancelled" in cell.outputs[name]["text/plain"])
        assert list(cell.outputs) == [name]
        assert cell.outputs[name]["text/plain"].startswith("held: 1,000 items in ")
        assert len(cell.lines) == 1, cell.lines  # the sentence on the stop


@pytest.mark.parametrize("line", ["futures.result()", "await futures", "await futures[999]"])
def test_a_stop_is_heard_at_once_and_cancels_what_the_cell_waits_for(kernel: Kernel, line: str) -> None:
    kernel.run(HELD)
    cell = kernel.begin(f"futures = held.map(range(1000), chunk=1)\nprint('waiting')\n{line}")
    kernel.until(lambda: "waiting" in cell.stdout)
    kernel.interrupt()
    kernel.until(lambda: cell.done)  # the gate is shut: nothing but the stop ends it
    assert cell.error in ("KeyboardInterrupt", "CancelledError")
    assert [text for text in cell.lines if "Stopped: " in text and "'held'" in text]
    assert len([part for part in cell.trace if "anabranch" in part]) == 0, cell.trace
    kernel.run("seen = len(begun); gate.set()")
    after = kernel.run("states = futures.wait(); print(len(begun) == seen, states.types())")
    if line != "await futures[999]":
        assert after.stdout.startswith("True"), after.stdout
    assert kernel.run("held.submit(7).result()").results[0]["text/plain"] == "7"


# -- a cell that is run again ---------------------------------------------------------------------------

KEYED = """
import os, time
from anabranch import task

@task
def at_gate(x, gate):
    while not os.path.exists(gate):
        time.sleep(0.005)
    return x

futures = at_gate.map(range(9), GATE, chunk=1, run_key="a")
"""


def test_a_cell_that_is_run_again_goes_on_with_its_map_and_shows_it(kernel: Kernel, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    first = kernel.run(f"GATE = {str(gate)!r}\n{KEYED}\nknown = futures")
    cell = kernel.begin(f"{KEYED}\nfutures.wait(); print(futures is known, futures.result() == list(range(9)))")
    kernel.until(lambda: cell.outputs)  # where it is waited for now
    gate.touch()
    kernel.until(lambda: cell.done)
    assert cell.printed == "True True\n"
    assert cell.logged == ["Map 'at_gate' of run_key 'a' goes on: 0 of 9 items have ended"]
    assert first.lines == []
    after = kernel.run(f"{KEYED}\nprint(futures is known)")
    assert after.lines == ["True"]


def test_routine_lines_are_no_alarm_and_keep_their_places(kernel: Kernel) -> None:
    kernel.run(ODD)
    cell = kernel.run("@flow\ndef both():\n    odd.map(range(3)).wait()\n    return 1\n\nboth()")
    assert [line.split(" | ")[1].strip() for line in cell.stdout.splitlines()] == ["INFO", "INFO"]
    assert {line.split(" | ")[1].strip() for line in cell.stderr.splitlines()} == {"WARNING"}
    assert not cell.coloured  # a front end tints the ground of stderr: yellow cannot be read on it


PROGRAM = """
import time
from anabranch import flow, task

@task
def nap(x: int) -> int:
    time.sleep(0.05)
    return x

@flow
def main() -> int:
    return sum(nap.map(range(60)).results())
"""


def test_a_command_in_a_cell_moves_no_cursor(kernel: Kernel, tmp_path: Path) -> None:
    file = tmp_path / "program.py"
    file.write_text(PROGRAM)
    cell = kernel.run(f"import sys\n!{{sys.executable}} -m anabranch run {file}:main")
    assert cell.lines[-1].endswith("Finished in state Completed()") or "nap: 60 items in" in cell.lines[-1]
    assert "nap: map of 60 items" in cell.lines
    assert not cell.coloured
    assert "\r" not in (cell.stdout + cell.stderr).replace("\r\n", "\n")


def test_the_record_and_cards_name_the_cell_and_not_the_kernels_own_file(kernel: Kernel) -> None:
    kernel.run(ODD)
    cell = kernel.run(
        "from anabranch import session\nfutures = odd.map(range(3))\nfutures.wait()\n"
        "record = session.current().records\nrecord.flush()\n"
        "row = record.attempts(futures._map.id, 0)[-1]\nprint(row.error_text)\nfutures"
    )
    assert "in odd\n" in cell.stdout
    assert "Cell In[" in cell.stdout
    (card,) = cell.results
    assert "Cell In[" in card["text/html"]
    assert "ipykernel" not in cell.stdout + card["text/html"]
