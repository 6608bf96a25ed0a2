"""The snippets of seed 004, with only their import line changed; what else had to change is said at each.

Their sleeps are a hundredth as long. What they would take from the world stands beside them under the
name that they use: `random` where a branch depends on it, `print` where a line shows that a task ran,
and `emit_event`, which needs a server.
The older seeds are in `test_older_seeds.py`, seed 003's forms of submission in `test_submission.py`.

Deployments and exported flow definitions (001, 002, 004) are in `test_seed_deployments.py`.

Left out, as other work: servers, profiles and agents (000, 001, 002, 004), Kubernetes, Helm and the autoscaler
(000, 002, 003), Lazarus and the zombie killer (000), late runs (003), events on a server and automations,
`ShellOperation` (004).
"""

from __future__ import annotations

import random
import time
from itertools import permutations
from time import sleep
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from anabranch import flow, state, task, task_input_hash
from anabranch import session as sessions
from anabranch.results.disk import DiskStore
from tests.acceptance.ways import WAYS, result_of

if TYPE_CHECKING:
    from pathlib import Path

# -- seed 004: a simple workflow -----------------------------------------------------------------


# Define a set of functions as tasks
# Adding the @task decorator is all it takes.
@task
def get_number(min=1, max=100) -> int:
    """Return a random number n, with min<=n<max"""
    sleep(0.01)  # simulate longer processing
    return random.randint(min, max)


@task
def add(n1: int, n2: int) -> int:
    """Return sum of two numbers"""
    sleep(0.015)  # simulate longer processing
    return n1 + n2


@task
def multiply(n1: int, n2: int) -> int:
    """Return product of two numbers"""
    sleep(0.01)  # simulate longer processing
    return n1 * n2


@task
def mean(*args: int) -> float:
    """Return the mean of provided numbers"""
    sleep(0.03)  # simulate longer processing
    return np.mean(args)


def noting(marks: Any) -> Any:
    """The seed's `get_number`, with a hook that writes down what it gave."""
    return get_number.with_options(on_completion=lambda task, run, ended: marks.add(ended.result()))


def check(r: Any, m: Any, marks: Any) -> None:
    """Whether both come of the three numbers that were drawn, whichever of them came first."""
    seen = [int(line) for line in marks.read()]
    assert len(seen) == 3
    assert all(1 <= n <= 100 for n in seen)
    assert r in {n3 * (n1 + n2) for n1, n2, n3 in permutations(seen)}
    assert m == pytest.approx(np.mean(seen))


def test_a_simple_workflow(runner: str, marks: Any, capsys: pytest.CaptureFixture[str]) -> None:
    get_number = noting(marks)

    # Define a function as flow that encapsulates a set of tasks
    @flow
    def analysis():
        """Return results of some arbitrary calculations"""
        n1 = get_number()
        n2 = get_number()
        temp_sum = add(n1, n2)
        n3 = get_number()
        r = multiply(n3, temp_sum)
        m = mean(n1, n2, n3)
        return r, m

    r, m = analysis()
    print(f"arbitrary calc: r={r}, mean={m}")
    assert capsys.readouterr().out.endswith(f"arbitrary calc: r={r}, mean={m}\n")
    check(r, m, marks)


def test_concurrent_task_execution(runner: str, marks: Any) -> None:
    get_number = noting(marks)

    @flow(name="concurrent analysis", log_prints=True)
    def analysis():
        """Return results of some arbitrary calculations"""
        n1 = get_number.submit()
        n2 = get_number.submit()
        temp_sum = add.submit(n1, n2)
        n3 = get_number.submit()
        r = multiply.submit(n3, temp_sum)
        m = mean.submit(n1, n2, n3)
        return r, m

    assert analysis.name == "concurrent analysis"
    r, m = analysis()
    check(r, m, marks)


# -- seed 004: timeouts --------------------------------------------------------------------------


def test_timeouts(runner: str) -> None:
    @task(timeout_seconds=5)
    def extract_data():
        """Extract data from a source."""
        time.sleep(0.02)  # Simulate work
        return [1, 2, 3, 4, 5]

    @task(timeout_seconds=10)
    def transform_data(data):
        """Transform the data."""
        time.sleep(0.01)  # Simulate work
        return [x * 2 for x in data]

    @task(timeout_seconds=5)
    def load_data(transformed_data):
        """Load the transformed data."""
        time.sleep(0.01)  # Simulate work
        print(f"Loaded data: {transformed_data}")
        return len(transformed_data)

    @flow
    def data_pipeline():
        """A pipeline with timeout protection."""
        data = extract_data()
        transformed = transform_data(data)
        result = load_data(transformed)
        return result

    result = data_pipeline()
    assert result == 5


def test_a_timeout_that_strikes(runner: str) -> None:
    """The seed's timeout, passed: the run is TimedOut, which is a failure, and `result()` raises TimeoutError."""
    # Where it is noticed when the item ends, the item ends soon; elsewhere it is struck at its time.
    notices_late = runner == "inline"
    steps = 60 if notices_late else 6000

    @task(timeout_seconds=0.2)
    def extract_data():
        for _ in range(steps):
            time.sleep(0.01)

    @flow
    def data_pipeline():
        ended = extract_data.submit(return_state=True)
        assert isinstance(ended, state.TimedOut)
        assert ended.is_failed()
        with pytest.raises(TimeoutError):
            ended.result()
        return "data"

    began = time.monotonic()
    assert data_pipeline() == "data"
    if not notices_late:
        assert time.monotonic() - began < 50.0  # of 60 or more


# -- seed 004: restart failed tasks --------------------------------------------------------------


class Chance:
    """In the place of `random`: the numbers of a list, one after another, in whatever process they are drawn."""

    def __init__(self, marks: Any, *numbers: float) -> None:
        self.marks, self.numbers = marks, numbers

    def random(self) -> float:
        self.marks.add("drawn")
        return self.numbers[len(self.marks.read()) - 1]


@pytest.mark.parametrize("drawn", [(0.9,), (0.3,), (0.29, 0.9), (0.1, 0.0, 0.2, 0.9), (0.1, 0.0, 0.2, 0.29)], ids=str)
def test_restart_failed_tasks(runner: str, marks: Any, drawn: tuple[float, ...]) -> None:
    random = Chance(marks, *drawn)

    @task(retries=3, retry_delay_seconds=0.02)
    def extract_data():
        """Extract data with potential failures."""
        if random.random() < 0.3:  # 30% chance of failure
            raise Exception("Extraction failed!")
        return [1, 2, 3, 4, 5]

    @task(retries=2, retry_delay_seconds=0.01)
    def transform_data(data):
        """Transform the data."""
        return [x * 2 for x in data]

    @task(retries=2)
    def load_data(transformed_data):
        """Load the transformed data."""
        print(f"Loaded data: {transformed_data}")
        return len(transformed_data)

    @flow
    def data_pipeline():
        """A resilient pipeline with retry logic."""
        data = extract_data()
        transformed = transform_data(data)
        result = load_data(transformed)
        return result

    if drawn[-1] < 0.3:
        with pytest.raises(Exception, match="Extraction failed!"):
            data_pipeline()
    else:
        result = data_pipeline()
        assert result == 5
    assert marks.read() == ["drawn"] * len(drawn)


@pytest.mark.parametrize("way", WAYS)
def test_a_task_that_fails_twice_is_restarted_twice(runner: str, way: str, marks: Any) -> None:
    @task(retries=3, retry_delay_seconds=0.01)
    def extract_data(source):
        marks.add("attempt")
        if len(marks.read()) < 3:
            raise Exception("Extraction failed!")
        return [1, 2, 3, 4, 5]

    @flow
    def data_pipeline():
        return result_of(way, extract_data, "database")

    assert data_pipeline() == [1, 2, 3, 4, 5]
    assert len(marks.read()) == 3


def test_retries_are_used_up(runner: str, marks: Any) -> None:
    @task(retries=2)
    def extract_data():
        marks.add("attempt")
        raise ValueError("Extraction failed!")

    @flow
    def data_pipeline():
        return extract_data.submit()

    with pytest.raises(ValueError, match="Extraction failed!"):
        data_pipeline()
    assert len(marks.read()) == 3


# -- seed 004: cache workflow outputs ------------------------------------------------------------


@pytest.fixture
def empty_store(runner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is cached yet: the session's own store is one for all tests of a runner."""
    monkeypatch.setattr(sessions.current().stores, "_store", DiskStore(tmp_path / "results"))
    monkeypatch.setattr(sessions.current().stores, "_probe", None)


@pytest.mark.parametrize("way", ["call", "submit"])
def test_cache_workflow_outputs(runner: str, empty_store: None, way: str, marks: Any) -> None:
    print = marks.add  # whatever process prints it: that it was printed shows that the task ran

    @task(cache_key_fn=task_input_hash, cache_expiration_seconds=3600)
    def extract_data(source: str):
        """Extract data - results are cached based on input."""
        print(f"Extracting from {source}...")
        time.sleep(0.02)  # Simulate expensive operation
        return [1, 2, 3, 4, 5]

    @task(cache_key_fn=task_input_hash)
    def transform_data(data, multiplier: int):
        """Transform data - cached based on data and multiplier."""
        print(f"Transforming with multiplier {multiplier}...")
        time.sleep(0.01)
        return [x * multiplier for x in data]

    @task
    def load_data(transformed_data):
        """Load the transformed data."""
        print(f"Loaded data: {transformed_data}")
        return len(transformed_data)

    @flow
    def data_pipeline(source: str = "database", multiplier: int = 2):
        """A pipeline with cached intermediate results."""
        if way == "submit":  # the seed calls; what is cached must not depend on that
            return load_data.submit(transform_data.submit(extract_data.submit(source), multiplier))
        data = extract_data(source)
        transformed = transform_data(data, multiplier)
        result = load_data(transformed)
        return result

    # First run - tasks execute
    result1 = data_pipeline("database", 2)
    extracted, transformed = "Extracting from database...", "Transforming with multiplier 2..."
    loaded = "Loaded data: [2, 4, 6, 8, 10]"
    assert marks.read() == [extracted, transformed, loaded]

    # Second run with same inputs - uses cached results
    result2 = data_pipeline("database", 2)
    assert marks.read()[3:] == [loaded]

    # Different inputs - tasks execute again
    result3 = data_pipeline("database", 3)
    assert marks.read()[4:] == ["Transforming with multiplier 3...", "Loaded data: [3, 6, 9, 12, 15]"]
    assert (result1, result2, result3) == (5, 5, 5)


def test_a_cached_run_says_so(runner: str, marks: Any) -> None:
    @task(cache_key_fn=task_input_hash)
    def extract_data(source: str):
        return [1, 2, 3]

    @flow
    def data_pipeline():
        first = extract_data.submit(marks.path, return_state=True)
        second = extract_data.submit(marks.path, return_state=True)
        assert first.name == "Completed"
        assert isinstance(second, state.Cached)
        assert second.is_completed()
        assert first.result() == second.result() == [1, 2, 3]
        return "data"

    assert data_pipeline() == "data"
