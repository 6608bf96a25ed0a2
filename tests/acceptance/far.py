"""What the acceptance tests run on Dask and Ray by day: all of what crosses their wire, a sample of the rest.

A rule that lives in the driver alone (final states, triggers, retries, names) gives the same on every runner: inline,
threads and processes try all of it. What is serialised, shipped, run or reported elsewhere may differ with the engine.
"""

from __future__ import annotations

SAMPLE = 9  # odd: cases on Dask and on Ray take turns, and each day has some of both
WHY = "the driver alone decides; the other runners try all of it"

# The test files whose every case runs on Dask and Ray by day, and what of it crosses their wire.
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
