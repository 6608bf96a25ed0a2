"""What the acceptance tests run by day on workers elsewhere: much of what crosses their wire, less of the rest.

A rule that lives in the driver alone (final states, triggers, retries, names) gives the same on every runner: inline
and threads try all of it. What is serialised, shipped, run or reported elsewhere may differ with the engine: process
workers try all of it, Dask and Ray a third of each file each day, and both of them some.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# All are odd: cases on Dask and on Ray take turns, and each day has some of both.
SAMPLE = 9
WIRE_SAMPLE = 3
NEAR_SAMPLE = 3
WHY = "the driver alone decides; the other runners try all of it"
WHY_WIRE = "an engine takes its time for each; process workers try all of it"

# The test files of what crosses a wire, and what of it does.
WIRE = {
    "test_async_loops": "the loops of workers",
    "test_bad_results": "results that do not unpickle",
    "test_caching": "locks and values in a store that workers share",
    "test_captured_output": "output of workers",
    "test_changed_code": "code that is sent again when it changes",
    "test_context": "what a worker is told of its run",
    "test_decorated_tasks": "code that is sent under another name",
    "test_error_types": "exceptions, rebuilt as the driver's classes",
    "test_foreign_objects": "objects as arguments, results and errors",
    "test_generator_tasks": "items as a worker makes them",
    "test_handed_over": "copies that a worker has of what the driver changes",
    "test_helper_modules": "modules that travel by value",
    "test_idle_runners": "the end of an engine",
    "test_interrupts": "Ctrl-C, which engines hear too",
    "test_kept_errors": "values that a worker drops",
    "test_log_limits": "lines of workers",
    "test_log_records": "lines of workers",
    "test_methods": "objects that own a task",
    "test_module_insides": "modules that travel by value",
    "test_own_script": "classes of the script in `__main__` of a worker",
    "test_prefect_traps_async": "the loops of workers",
    "test_prefect_traps_runs": "slots, cancels and time-outs of workers",
    "test_prefect_traps_workers": "workers that die, values that cannot travel",
    "test_random_numbers": "the place of each item's numbers, and the seed that a worker asks for",
    "test_random_streams": "the place of each run, which travels with its stage",
    "test_replay": "inputs that workers store",
    "test_resume": "values that workers store",
    "test_retries_after_timeouts": "items that are stopped at their time",
    "test_seeds": "the notes that the project was asked for, on every runner",
    "test_shipping": "what is sent, and how often",
    "test_submission": "each way to submit and to ask",
    "test_surroundings": "folder, environment and path of workers",
    "test_told_apart": "code that is told apart by what it closes over",
}

# Fixtures of tests that threads run as well: their cases on process workers repeat what threads have tried.
REPEATED = ("runner", "concurrent", "beside")
# Of WIRE, those after each of whose cases process workers have to start again.
RESTARTING = {"test_interrupts"}


def sampled(items: Sequence[pytest.Item], folder: Path) -> None:
    """Mark the cases on process workers, Dask and Ray of which a day runs a sample.

    A file with too few cases for a day with one on each of Dask and Ray keeps them all.
    """
    here = [item for item in items if item.path.parent == folder]
    far = [item for item in here if item.get_closest_marker("dask") or item.get_closest_marker("ray")]
    cases = Counter(item.path for item in far)
    for item in far:
        if item.path.stem not in WIRE:
            item.add_marker(pytest.mark.sampled(SAMPLE, WHY))
        elif cases[item.path] >= 2 * WIRE_SAMPLE:
            item.add_marker(pytest.mark.sampled(WIRE_SAMPLE, WHY_WIRE))
    for item in here:
        if (item.path.stem not in WIRE or item.path.stem in RESTARTING) and _repeats(item):
            item.add_marker(pytest.mark.sampled(NEAR_SAMPLE, WHY))


def _repeats(item: pytest.Item) -> bool:
    """Whether this is a case on process workers of a test that threads run as well."""
    call = getattr(item, "callspec", None)
    return call is not None and any(call.params.get(name) == "process" for name in REPEATED)
