"""Helpers that run inside a measuring process: clocks, warm flows, memory read from /proc."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
WORKERS = 2
MIB = 1 << 20
ADDRESS = "BENCHMARKS_ADDRESS"  # variable: of a running Dask or Ray; without it each sample starts its own


def inc(x: int) -> int:
    """The no-op of every row."""
    return x + 1


def expect_sum(values: Any, n: int) -> None:
    """Check that `values` are those of `inc` over range(n).

    Raises:
        AssertionError: they are not; the sample does not count.
    """
    found = sum(values)
    if found != n * (n + 1) // 2:
        raise AssertionError(f"sum over {n} items is {found}, not {n * (n + 1) // 2}")


def flush() -> None:
    """Wait for the record's last commit."""
    from anabranch import session

    session.current().flush_records()


def seconds_of(work: Callable[[], object]) -> float:
    """Seconds of `work` up to its return."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def recorded_seconds(work: Callable[[], object]) -> float:
    """Seconds of `work` up to its return and the record's last commit."""
    return seconds_of(lambda: (work(), flush()))


def in_flow(runner: Any, body: Callable[[], T]) -> T:
    """Run `body` inside a flow on the runner, once all its workers are up and two small maps have warmed it up."""
    from anabranch import flow, task

    warm = task(name="warm")(inc)
    found: list[T] = []

    @flow(name="bench", runner=runner)
    def bench() -> None:
        expect_sum(warm.map(range(4)).result(), 4)
        _all_up(runner)
        expect_sum(warm.map(range(64)).result(), 64)
        flush()
        found.append(body())

    bench()
    return found[0]


def _all_up(runner: Any, seconds: float = 60.0) -> None:
    """Wait until the runner has as many slots as it is to have: start-up is not what a row measures."""
    end = time.monotonic() + seconds
    while runner.slots().now < (runner.slots().maximum or 1):
        if time.monotonic() > end:
            raise RuntimeError(f"{runner!r} has {runner.slots()} after {seconds:g} s")
        time.sleep(0.01)


def runner_of(kind: str) -> Any:
    """A runner with as many workers as the peers have; at the address given, for Dask and Ray."""
    import anabranch

    where = os.environ.get(ADDRESS)
    if kind == "threads":
        return anabranch.ThreadRunner(max_workers=WORKERS)
    if kind == "processes":
        return anabranch.ProcessRunner(max_workers=WORKERS)
    if kind == "ray":
        return anabranch.RayRunner(address=where) if where else anabranch.RayRunner(num_cpus=WORKERS)
    return anabranch.DaskRunner(address=where) if where else anabranch.DaskRunner(n_workers=WORKERS)


def status_bytes(field: str, pid: int | str = "self") -> int:
    """A memory field of /proc/PID/status (VmRSS, VmHWM) in bytes; 0 when the process is gone."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def reset_peak() -> None:
    """Let VmHWM start again from what is resident now."""
    Path("/proc/self/clear_refs").write_text("5")


def tree(pid: int) -> list[int]:
    """A process and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                stat = Path(f"/proc/{entry.name}/stat").read_text()
            except OSError:
                continue
            children.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(entry.name))
    found, rest = [], [pid]
    while rest:
        one = rest.pop()
        found.append(one)
        rest.extend(children.get(one, ()))
    return found


def kill_tree(pid: int) -> None:
    """Kill a process and all its descendants with -9."""
    for one in tree(pid):
        try:
            os.kill(one, signal.SIGKILL)
        except ProcessLookupError:
            pass


def processor_seconds(pid: int) -> float:
    """Processor time of a process and its descendants, ended ones too."""
    return sum(sum(_ticks(one)) for one in tree(pid)) / os.sysconf("SC_CLK_TCK")


def own_seconds(pid: int) -> float:
    """Processor time of a process alone; 0 when it is gone."""
    return sum(_ticks(pid)[:2]) / os.sysconf("SC_CLK_TCK")


def _ticks(pid: int) -> list[int]:
    """A process's time as user and as system, and that of the ones that it has waited for; none when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
    return [int(field) for field in fields[11:15]]


def proportional_bytes(pids: list[int]) -> int:
    """PSS of the processes together: what they would give back if all ended."""
    total = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        total += sum(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Pss:"))
    return total


def percentile(sorted_values: list[float], share: float) -> float:
    return sorted_values[min(len(sorted_values) - 1, int(share * len(sorted_values)))]
