"""The snippets of seed 004, with only their import line changed; what else had to change is said at each.

Their sleeps are a hundredth as long, and `numpy.mean` is `statistics.mean`: numpy is no dependency.
The older seeds are in `test_older_seeds.py`, seed 003's forms of submission in `test_submission.py`.

Left out, as other work: servers, profiles, agents, labels, work pools and deployments (000, 001, 002, 004),
Kubernetes, Helm and the autoscaler (000, 002, 003), Lazarus and the zombie killer (000), late runs (003),
`emit_event` and automations, `ShellOperation`, `Deployment` and exported flow definitions (004).
"""

from __future__ import annotations

import random
import re
import statistics
import time
from typing import Any

import pytest

from anabranch import flow, state, task, task_input_hash
from tests.acceptance.ways import WAYS, result_of

# -- seed 004: a simple workflow -----------------------------------------------------------------


@task
def get_number(min=1, max=100) -> int:
    """Return a random number n, with min<=n<max"""
    time.sleep(0.01)  # simulate longer processing
    return random.randint(min, max)


@task
def add(n1: int, n2: int) -> int:
    """Return sum of two numbers"""
    time.sleep(0.015)  # simulate longer processing
    return n1 + n2


@task
def multiply(n1: int, n2: int) -> int:
    """Return product of two numbers"""
    time.sleep(0.01)  # simulate longer processing
    return n1 * n2


@task
def mean(*args: int) -> float:
    """Return the mean of provided numbers"""
    time.sleep(0.03)  # simulate longer processing
    return statistics.mean(args)


def test_a_simple_workflow(runner: str) -> None:
    seen: list[Any] = []

    @flow
    def analysis():
        """Return results of some arbitrary calculations"""
        n1 = get_number()
        n2 = get_number()
        temp_sum = add(n1, n2)
        n3 = get_number()
        r = multiply(n3, temp_sum)
        m = mean(n1, n2, n3)
        seen.extend([n1, n2, n3])
        return r, m

    r, m = analysis()
    n1, n2, n3 = seen
    assert r == n3 * (n1 + n2)
    assert m == statistics.mean(seen)


def test_concurrent_task_execution(runner: str) -> None:
    seen: list[Any] = []

    @flow(name="concurrent analysis", log_prints=True)
    def analysis():
        """Return results of some arbitrary calculations"""
        n1 = get_number.submit()
        n2 = get_number.submit()
        temp_sum = add.submit(n1, n2)
        n3 = get_number.submit()
        r = multiply.submit(n3, temp_sum)
        m = mean.submit(n1, n2, n3)
        seen.extend(f.result() for f in (n1, n2, n3))  # for the test: what it must come to
        return r, m

    assert analysis.name == "concurrent analysis"
    r, m = analysis()
    n1, n2, n3 = seen
    assert r == n3 * (n1 + n2)
    assert m == statistics.mean(seen)


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
    steps = 60 if notices_late else 1000

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
        assert time.monotonic() - began < 9.0


# -- seed 004: restart failed tasks --------------------------------------------------------------


def test_restart_failed_tasks(runner: str) -> None:
    @task(retries=3, retry_delay_seconds=0.02)
    def extract_data():
        """Extract data with potential failures."""
        if random.random() < 0.0:  # the seed's 30% would fail one pipeline in 123
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

    result = data_pipeline()
    assert result == 5


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


@pytest.mark.parametrize("way", ["call", "submit"])
def test_cache_workflow_outputs(runner: str, way: str, marks: Any) -> None:
    @task(cache_key_fn=task_input_hash, cache_expiration_seconds=3600)
    def extract_data(source: str):
        """Extract data - results are cached based on input."""
        marks.add(f"Extracting from {source}...")
        time.sleep(0.02)  # Simulate expensive operation
        return [1, 2, 3, 4, source]

    @task(cache_key_fn=task_input_hash)
    def transform_data(data, multiplier: int):
        """Transform data - cached based on data and multiplier."""
        marks.add(f"Transforming with multiplier {multiplier}...")
        time.sleep(0.01)
        return [x * multiplier for x in data]

    @task
    def load_data(transformed_data):
        """Load the transformed data."""
        print(f"Loaded data: {transformed_data}")
        return len(transformed_data)

    # The session's store is one for all tests of a runner: the source and the data are this test's own.
    database = f"{marks.path}-{way}"

    @flow
    def data_pipeline(source: str = "database", multiplier: int = 2):
        """A pipeline with cached intermediate results."""
        if way == "submit":
            return load_data.submit(transform_data.submit(extract_data.submit(source), multiplier))
        data = extract_data(source)
        transformed = transform_data(data, multiplier)
        result = load_data(transformed)
        return result

    # First run - tasks execute
    result1 = data_pipeline(database, 2)
    first = marks.read()
    assert "Extracting" in first[0]

    # Second run with same inputs - uses cached results
    result2 = data_pipeline(database, 2)
    assert marks.read() == first

    # Different inputs - tasks execute again
    result3 = data_pipeline(database, 3)
    assert marks.read() == [*first, "Transforming with multiplier 3..."]
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


# -- seed 004: event driven computing (a list in place of `emit_event`, which needs a server) ---------


@pytest.mark.parametrize("source", ["there", "missing"])
def test_event_driven_computing(runner: str, source: str) -> None:
    events: list[dict[str, Any]] = []

    @task
    def extract_data():
        """Extract data and emit an event."""
        if source == "missing":
            raise KeyError("no source")
        return [1, 2, 3, 4, 5]

    @task
    def transform_data(data):
        """Transform data and emit events."""
        return [x * 2 for x in data]

    @task
    def load_data(transformed_data):
        """Load data and emit completion event."""
        print(f"Loaded data: {transformed_data}")
        return len(transformed_data)

    @flow
    def data_pipeline():
        """A pipeline with event-driven capabilities."""
        try:
            data = extract_data()
            transformed = transform_data(data)
            result = load_data(transformed)

            # Emit workflow completion event
            events.append({"event": "pipeline.completed", "payload": {"items_processed": result}})
            return result
        except Exception as e:
            # Emit failure event
            events.append({"event": "pipeline.failed", "payload": {"error": str(e)}})
            raise

    if source == "there":
        assert data_pipeline() == 5
        assert events == [{"event": "pipeline.completed", "payload": {"items_processed": 5}}]
    else:
        with pytest.raises(KeyError, match="no source"):
            data_pipeline()
        assert events == [{"event": "pipeline.failed", "payload": {"error": "'no source'"}}]


# -- seed 004: what its output looks like -------------------------------------------------------------


def test_the_lines_that_a_run_logs(
    runner: str, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="anabranch")

    @task
    def load_data(transformed_data):
        print(f"Loaded data: {transformed_data}")
        return len(transformed_data)

    @flow(name="concurrent analysis", log_prints=True)
    def analysis():
        print("arbitrary calc")
        return load_data.submit([1, 2]).result() + load_data([3])

    assert analysis() == 3
    lines = capsys.readouterr().err.splitlines()
    assert all(re.match(r"\d\d:\d\d:\d\d\.\d{3} \| [A-Z]+ +\| ", line) for line in lines), lines
    name = re.search(r"Flow run '([a-z]+-[a-z]+)'", lines[0])[1]
    texts = [re.sub(r"^[\d:.]+ ", "", line) for line in lines]
    flow_run = f"| INFO    | Flow run '{name}' - "
    assert texts[0] == f"{flow_run}Beginning flow run '{name}' for flow 'concurrent analysis'"
    assert f"{flow_run}arbitrary calc" in texts
    assert texts[-1] == f"{flow_run}Finished in state Completed()"
    tasks = [t for t in texts if re.match(r"\| INFO    \| Task run 'load_data-[0-9a-f]{3}' - ", t)]
    assert sum("Finished in state Completed()" in t for t in tasks) == 2
    # A line of a task may come a quarter of a second late, after that of a later one.
    assert sorted(t.rsplit(" - ", 1)[1] for t in tasks if "Loaded" in t) == ["Loaded data: [1, 2]", "Loaded data: [3]"]
