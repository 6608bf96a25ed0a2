"""Counts as a Prometheus server reads them."""

from __future__ import annotations

import re
import threading
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import ProcessRunner, ThreadRunner, flow, task
from anabranch.core import observing
from anabranch.core.errors import ConfigurationError
from anabranch.integrations import metrics
from tests.acceptance.sessions import made, over, placed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MAKE: dict[str, Callable[[], Any]] = {
    "thread": lambda: ThreadRunner(max_workers=2),
    "process": lambda: ProcessRunner(max_workers=2),
}
LINE = re.compile(r'anabranch_[a-z_]+\{([a-z]+="(?:[^"\\\n]|\\["\\n])*",?)+\} \d+(\.\d+)?')


@pytest.fixture(params=over("thread", "process"))
def runner(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with made(MAKE[request.param](), tmp_path) as session, placed(session):
        yield request.param


@pytest.fixture
def counting() -> Iterator[None]:
    metrics.start()
    yield
    metrics.stop()
    assert observing.observers == ()


def value(name: str, **labels: str) -> float:
    told = ",".join(f'{label}="{text}"' for label, text in labels.items())
    found = re.findall(rf"^anabranch_{name}{{{re.escape(told)}}} (.*)$", metrics.text(), re.M)
    assert len(found) <= 1
    return float(found[0]) if found else 0.0


def test_runs_are_counted_by_task_state_and_runner(runner: str, counting: None) -> None:
    @task(retries=1)
    def odd(x: int) -> int:
        if x % 2:
            raise ValueError(x)
        return x

    @flow
    def main() -> None:
        odd.map(range(10)).wait()
        odd.submit(0).wait()
        odd(0)

    for round in (1, 2):
        main(return_state=True)
        assert value("task_runs_total", task="odd", state="Completed", runner=runner) == 7 * round
        assert value("task_runs_total", task="odd", state="Failed", runner=runner) == 5 * round
        assert value("task_failed_attempts_total", task="odd", runner=runner) == 5 * round
        assert value("maps_total", task="odd", runner=runner) == round
        assert value("flow_runs_total", flow="main", state="Completed", runner=runner) + value(
            "flow_runs_total", flow="main", state="Failed", runner=runner
        ) == round
    assert 0 < value("map_seconds_total", task="odd", runner=runner) < 60
    assert value("maps_running", task="odd", runner=runner) == 0


def test_what_is_under_way_is_seen(tmp_path: Path, counting: None) -> None:
    gate, here = threading.Event(), threading.Event()

    @task
    def stand(x: int) -> int:
        if x == 1:
            here.set()
            assert gate.wait(30)
        return x

    @flow
    def main() -> list[int]:
        futures = stand.map(range(2), chunk=1)
        futures[0].wait()
        assert here.wait(30)
        assert value("flow_runs_running", flow="main", runner="thread") == 1
        assert value("maps_running", task="stand", runner="thread") == 1
        assert value("task_runs_total", task="stand", state="Completed", runner="thread") == 1
        gate.set()
        return futures.result()

    with made(ThreadRunner(max_workers=2), tmp_path) as session, placed(session):
        try:
            assert main() == [0, 1]
        finally:
            gate.set()
    assert value("flow_runs_running", flow="main", runner="thread") == 0


def test_the_text_is_prometheus_and_no_run_or_item_is_in_it(tmp_path: Path, counting: None) -> None:
    @task(name='bad "name"\nof \\ it')
    def work(x: int) -> int:
        return x

    @flow
    def main() -> None:
        for _ in range(3):
            work.map(range(100)).wait()

    with made(ThreadRunner(max_workers=2), tmp_path) as session, placed(session):
        first = main(return_state=True).run_id
        lines = len(metrics.text().splitlines())
        main()
        text = metrics.text()
    assert text.endswith("\n")
    assert len(text.splitlines()) == lines
    assert first not in text
    heads = [line for line in text.splitlines() if line.startswith("#")]
    assert len(heads) == len(set(heads))
    for line in text.splitlines():
        assert line.startswith(("# HELP anabranch_", "# TYPE anabranch_")) or LINE.fullmatch(line), line
    assert 'task="bad \\"name\\"\\nof \\\\ it"' in text
    for name in re.findall("# TYPE (.*) counter", text):
        assert name.endswith("_total")


def test_a_server_answers_and_ends() -> None:
    before = set(threading.enumerate())
    server = metrics.serve(0)
    try:
        url = f"http://127.0.0.1:{server.server_port}"
        with urllib.request.urlopen(f"{url}/metrics", timeout=30) as answer:
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            assert answer.read().decode() == metrics.text()
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{url}/other", timeout=30)
    finally:
        server.shutdown()
        server.server_close()
        metrics.stop()
    for thread in set(threading.enumerate()) - before:
        thread.join(30)
    assert set(threading.enumerate()) <= before
    with pytest.raises(ConfigurationError, match="start"):
        metrics.text()
