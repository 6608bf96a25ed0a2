"""Objects as the last line of a cell, in a real kernel: they show how runs stand, and fetch no value for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.acceptance.kernels import Kernel
from tests.unit.display.untrusted import lost, plain_text

if TYPE_CHECKING:
    from collections.abc import Iterator

# Jupyter's own deprecations are not ours.
pytestmark = [pytest.mark.timeout(300), pytest.mark.filterwarnings("default")]


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    with Kernel(tmp_path_factory.mktemp("kernel")) as kernel:
        kernel.run(UNREADABLE)
        yield kernel


UNREADABLE = """
from anabranch import ProcessRunner, flow, task

class Unreadable:
    def __reduce__(self):
        return fail, ()

def fail():
    raise RuntimeError("this value was read")

@task(name="odd <b>&'")
def odd(x):
    if x == 3:
        raise ValueError("<script>odd</script>")
    return Unreadable()

@flow
def main(n):
    return odd.map(range(n)).wait()

@task
def total(given):
    return len(given)

seen = []

@flow(on_completion=[lambda flow, run, state: seen.append(run)])
def counted():
    "Counts twice."
    lists = [total.submit(odd.map(range(4))), total.submit([1])]
    return [f.wait() for f in lists][1].result()

runner = ProcessRunner(2)
with runner:
    futures = odd.map(range(40))
    states = futures.wait()
    state = main(4, return_state=True)
    future = futures[0]
    counted()
"""

SHOWN = {
    "futures": "odd <b>&' map of 40 items · done in",
    "states": "odd <b>&' 40 states 39 completed 1 failed 1 x ValueError: <script>odd</script> (item 3)",
    "states[2:4]": "odd <b>&' 2 states 1 completed 1 failed",
    "future": "odd <b>&'[0] future Completed its value is read by .result()",
    "futures[3]": "odd <b>&'[3] future Failed ValueError: <script>odd</script> where it ran Traceback",
    "states[0]": "State COMPLETED Completed its value is read by .result()",
    "state": "State FAILED Failed 1/4 states failed. odd <b>&' 4 states 3 completed 1 failed",
    "odd": "odd <b>&' task odd <b>&'(x)",
    "main": "main flow main(n) last run ",
    "counted": "counted flow counted() Counts twice. on_completion <lambda> last run ",
    "flow(lambda: 1)": "lambda flow lambda()",
    "runner": "ProcessRunner closed slots 2",
}


def shown(kernel: Kernel, line: str) -> dict[str, Any]:
    """What a cell with this last line shows, which an untrusted notebook shows as well."""
    cell = kernel.run(line)
    assert cell.error == "", cell.trace
    assert cell.stderr == ""
    (found,) = cell.results
    assert lost(found["text/html"]) == []
    assert len(found["text/html"]) < 30_000
    assert len(found["text/plain"]) < 300
    return found


@pytest.mark.parametrize("line", SHOWN)
def test_an_object_as_the_last_line_fetches_nothing(kernel: Kernel, line: str) -> None:
    assert plain_text(shown(kernel, line)["text/html"]).startswith(SHOWN[line])


def test_a_flow_that_has_run_shows_its_tasks_behind_what_they_read(kernel: Kernel) -> None:
    graph = "odd <b>&' 4 items 3 completed 1 failed → total 2 runs 1 completed 1 failed"
    assert plain_text(shown(kernel, "counted")["text/html"]).endswith(graph)
    run = shown(kernel, "seen[0]")
    assert run["text/plain"].startswith("<FlowRun '")
    assert run["text/plain"].endswith("' of 'counted': Completed>")
    text = plain_text(run["text/html"])
    assert " flow run · Completed flow counted took " in text
    assert " runner process " in text
    assert text.endswith(graph)


def test_values_are_what_would_have_raised(kernel: Kernel) -> None:
    """So the tests above would have failed had a value been read."""
    cell = kernel.run("future.result()")
    assert cell.error
    assert "this value was read" in "".join(cell.trace)


def test_the_text_of_consoles_is_short(kernel: Kernel) -> None:
    assert shown(kernel, "futures")["text/plain"] == (
        "<FutureList \"odd <b>&'\": 39 Completed, 1 Failed; the first that failed is 3>"
    )


RUNNING = """
import threading
gate = threading.Event()

@task
def held(x):
    if x >= 10:
        gate.wait(60)
    return x

going = held.map(range(100), chunk=1)
import time
while going.progress[0] < 10:
    time.sleep(0.01)
"""


def test_a_list_under_way_shows_what_runs_and_what_waits(kernel: Kernel) -> None:
    kernel.run(RUNNING)
    try:
        text = plain_text(shown(kernel, "going")["text/html"])
        assert text.startswith("held map of 100 items · 10 ended (10 %)")
        assert " 10 completed " in text
        assert " running " in text
        assert " waiting" in text
        assert kernel.run("going.counts['Running'] > 0").results[0]["text/plain"] == "True"
    finally:
        kernel.run("gate.set(); ended = going.wait()")
    assert " 100 completed" in plain_text(shown(kernel, "going")["text/html"])
