"""Counts of runs for Prometheus, in its text format. Off until `start` is called.

    metrics.start()
    metrics.serve(9464)       # http://127.0.0.1:9464/metrics; or `metrics.text()` on a page of one's own

Labels are the task or flow, the state and the runner, never a run or an item: the number of series does not grow.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import Counter
from typing import TYPE_CHECKING, Any

from anabranch.core import metrics_page, observing
from anabranch.core.errors import ConfigurationError
from anabranch.core.exposition import family
from anabranch.core.states import FIRST_ENDED, ITEM_CODES, NAMES

if TYPE_CHECKING:
    import contextlib
    import http.server
    from collections.abc import Iterable

    from anabranch.core.exposition import Labels
    from anabranch.core.maps import MapRun
    from anabranch.core.observing import RunSeen
    from anabranch.core.states import State

_started: list[Counts] = []


def start() -> None:
    """Count the flow runs and maps that begin from now on, in this program; a second call changes nothing."""
    if not _started:
        _started.append(Counts())
        observing.add(_started[0])


def stop() -> None:
    """Count no more, and forget the counts."""
    while _started:
        observing.remove(_started.pop())


def text() -> str:
    """Return the counts as of now, in Prometheus' text format; raises ConfigurationError before `start`."""
    if not _started:
        raise ConfigurationError("nothing is counted: call anabranch.integrations.metrics.start() first")
    return "".join(_started[0].lines())


def serve(port: int = 9464, host: str = "127.0.0.1") -> http.server.ThreadingHTTPServer:
    """Answer Prometheus at http://HOST:PORT/metrics from a thread of this program, and count from now on.

    Args:
        port: 0 takes a free one, `server_port` of what is returned.

    Returns the server: `server.shutdown()` and `server.server_close()` end it. Raises OSError where the port is taken.
    """
    start()
    server = metrics_page.server(host, port, text)
    threading.Thread(target=server.serve_forever, name="anabranch-metrics", daemon=True).start()
    return server


class Counts:
    """An observer that adds up. Open maps are held weakly, and read when they are asked for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flow_runs: Counter[Labels] = Counter()
        self._flow_seconds: Counter[Labels] = Counter()
        self._task_runs: Counter[Labels] = Counter()
        self._failed_attempts: Counter[Labels] = Counter()
        self._maps: Counter[Labels] = Counter()
        self._map_seconds: Counter[Labels] = Counter()
        self._spilled: Counter[Labels] = Counter()
        self._running: dict[str, tuple[RunSeen, float]] = {}
        self._open: dict[str, tuple[weakref.ref[MapRun], str, float]] = {}

    def run_began(self, run: RunSeen) -> None:
        with self._lock:
            self._running[run.id] = (run, time.monotonic())

    def inside(self, run_id: str) -> contextlib.AbstractContextManager[Any] | None:
        return None

    def run_ended(self, run: RunSeen, state: State) -> None:
        with self._lock:
            for id, (here, _, _) in list(self._open.items()):
                map = here()
                if map is not None and map.kind != "map" and map.header.flow_run_id == run.id:
                    self._close(id, map)
            _, began = self._running.pop(run.id, (run, time.monotonic()))
            labels = (("flow", run.flow), ("runner", run.runner))
            self._flow_runs[(("flow", run.flow), ("state", state.name), ("runner", run.runner))] += 1
            self._flow_seconds[labels] += time.monotonic() - began  # type: ignore[assignment]

    def map_began(self, map: MapRun, runner: str) -> None:
        if map.kind in ("map", "submit", "call"):
            with self._lock:
                self._open[map.id] = (weakref.ref(map), runner, time.monotonic())

    def map_ended(self, map: MapRun) -> None:
        with self._lock:
            self._close(map.id, map)

    def _close(self, id: str, map: MapRun) -> None:
        _, runner, began = self._open.pop(id, (None, "", 0.0))
        if not runner:
            return
        labels = (("task", map.spec.name), ("runner", runner))
        if map.kind == "map":
            self._maps[labels] += 1
            self._map_seconds[labels] += time.monotonic() - began  # type: ignore[assignment]
        _add(map, runner, self._task_runs, self._failed_attempts, self._spilled)

    def lines(self) -> Iterable[str]:
        """Yield the text, a family at a time."""
        with self._lock:
            runs, attempts, spilled = Counter(self._task_runs), Counter(self._failed_attempts), Counter(self._spilled)
            held: Counter[Labels] = Counter()
            maps_open: Counter[Labels] = Counter()
            for id, (here, runner, _) in list(self._open.items()):
                map = here()
                if map is None:
                    del self._open[id]
                    continue
                _add(map, runner, runs, attempts, spilled)
                labels = (("task", map.spec.name), ("runner", runner))
                held[labels] += map.footprint.held
                maps_open[labels] += map.kind == "map"
            flows = [run for run, _ in self._running.values()]
            flows_open: Counter[Labels] = Counter((("flow", run.flow), ("runner", run.runner)) for run in flows)
            families: list[tuple[str, str, str, Counter[Labels]]] = [
                ("flow_runs_total", "counter", "Flow runs that ended.", self._flow_runs),
                ("flow_run_seconds_total", "counter", "Seconds that ended flow runs took.", self._flow_seconds),
                ("flow_runs_running", "gauge", "Flow runs under way.", flows_open),
                ("task_runs_total", "counter", "Task runs that ended, items of maps among them.", runs),
                ("task_failed_attempts_total", "counter", "Attempts that were followed by another.", attempts),
                ("maps_total", "counter", "Maps that ended.", self._maps),
                ("map_seconds_total", "counter", "Seconds that ended maps took.", self._map_seconds),
                ("maps_running", "gauge", "Maps under way.", maps_open),
                ("values_held_bytes", "gauge", "Estimated bytes of values held of maps under way.", held),
                ("values_spilled_bytes_total", "counter", "Bytes of values moved from memory to disk.", spilled),
            ]
            return [line for one in families for line in family(*one)]


def _add(
    map: MapRun, runner: str, runs: Counter[Labels], attempts: Counter[Labels], spilled: Counter[Labels]
) -> None:
    """Add what has ended of a map."""
    task = ("task", map.spec.name)
    codes = bytes(map.codes)
    for code, (name, _) in enumerate(NAMES[:ITEM_CODES]):
        if code >= FIRST_ENDED and (count := codes.count(code)):
            runs[(task, ("state", name), ("runner", runner))] += count
    labels = (task, ("runner", runner))
    if again := sum(number - 1 for number in dict(map.attempts).values()) - len(map.resume.unbegun):
        attempts[labels] += again
    if map.footprint.spilled:
        spilled[labels] += map.footprint.spilled
