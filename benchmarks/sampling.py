"""Run samples, each in a process of its own with a record of its own, and sum them up."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import peers
from benchmarks.child import MARK
from benchmarks.measure import tree
from benchmarks.peers import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.rows import Bar, Row

NOISY = 1.25  # a row whose calibration took this much longer than the run's best was measured on a busy machine


@dataclass
class Sample:
    """What one measuring process told, or why it told nothing."""

    row: str
    side: str
    wall_s: float
    figures: dict[str, float] = field(default_factory=dict)
    calibration_s: float = 0.0
    load: float = 0.0
    error: str = ""


@dataclass
class Verdict:
    """One line of the table."""

    row: Row
    bar: Bar
    ours: float | None
    low: float | None
    high: float | None
    peer: float | None
    ratio: float | None
    word: str
    calibration_s: float
    samples: int
    error: str = ""
    others: dict[str, float] = field(default_factory=dict)  # medians of the further peers


def take(name: str, side: str, quick: bool, seconds: float, python: str = sys.executable) -> Sample:
    """Measure one side of a row once, in a fresh process of that Python, and end it after `seconds`."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="anabranch-bench-", ignore_cleanup_errors=True) as home:
        command = [python, "-m", "benchmarks.child", name, side, *(["--quick"] if quick else [])]
        environment = surroundings(home, python)
        # Files, not pipes: what a left-over process holds open cannot keep us waiting.
        with open(f"{home}/out", "w+") as out, open(f"{home}/err", "w+") as err:
            process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=out, stderr=err, start_new_session=True
            )
            try:
                code: int | None = process.wait(seconds)
            except subprocess.TimeoutExpired:
                code = None
            finally:
                _end_group(process)
            out.seek(0)
            err.seek(0)
            said = [line for line in out.read().splitlines() if line.startswith(MARK)]
            complaint = err.read().strip().splitlines()[-3:]
    sample = Sample(name, side, time.perf_counter() - start)
    if code is None:
        sample.error = f"stopped after {seconds:g} s"
    elif code or not said:
        sample.error = f"exit {code}: " + " | ".join(complaint)
    else:
        told: dict[str, Any] = json.loads(said[-1].removeprefix(MARK))
        sample.figures, sample.calibration_s, sample.load = told["figures"], told["calibration_s"], told["load"]
    return sample


def surroundings(home: str, python: str) -> dict[str, str]:
    """Environment of a sample: everything it keeps is in `home`; programs of its Python and our files are found."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ANABRANCH_", "PREFECT_"))}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)  # rows of starting count from the second start on
    paths = {
        "PATH": f"{Path(python).parent}{os.pathsep}{kept.get('PATH', '')}",
        "PYTHONPATH": f"{ROOT}{os.pathsep}{kept.get('PYTHONPATH', '')}".rstrip(os.pathsep),
    }
    prefect = {
        "PREFECT_HOME": f"{home}/prefect",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",  # on a busy machine its own 20 s are not enough
        "DO_NOT_TRACK": "1",
    }
    return {**kept, **paths, **prefect, "ANABRANCH_HOME": home}


def adopt_orphans() -> None:
    """Become the parent of what samples leave behind, so that it can be found and ended (Linux)."""
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End the sample's processes, also those that left its group: nothing of it may disturb the next sample."""
    _kill(os.killpg, process.pid)
    process.wait()
    deadline = time.monotonic() + 5
    while (left := tree(os.getpid())[1:]) and time.monotonic() < deadline:
        for pid in left:
            _kill(os.kill, pid)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.01)


def _kill(kill: Callable[[int, int], None], pid: int) -> None:
    try:
        kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def take_all(row: Row, quick: bool, repeat: int) -> Iterator[Sample]:
    """Ours, the peer's, the others', ours, the peer's, ...: what disturbs one disturbs the others."""
    there = peers.installed(frozenset(row.apart.values()), peers.PYTHON)
    absent = {side for side, package in row.apart.items() if package not in there}
    failed = set(absent)
    for side in row.sides:
        if side in absent:
            yield Sample(row.name, side, 0.0, error=f"{peers.ABSENT}: {row.apart[side]}")
    for _ in range(min(repeat, row.most)):
        for side in row.sides:
            if side in failed:
                continue
            python = str(peers.PYTHON) if side in row.apart else sys.executable
            sample = take(row.name, side, quick, row.seconds, python)
            if sample.error:
                failed.add(side)
            yield sample


def judge(row: Row, samples: list[Sample], best_calibration: float) -> list[Verdict]:
    """The row's lines: medians, spread, and whether the bars hold.

    A figure that misses its absolute bar on a busy machine passes if its ratio to the peer holds.
    """
    good = {side: [s for s in samples if s.side == side and not s.error] for side in row.sides}
    errors = "; ".join(f"{s.side}: {s.error}" for s in samples if s.error)
    calibration = statistics.median([s.calibration_s for s in samples if not s.error] or [0.0])
    found = []
    for bar in row.bars:
        ours = [s.figures[bar.figure] for s in good["ours"] if bar.figure in s.figures]
        peer = _median(good.get("peer", []), bar.figure)
        if not ours:
            found.append(Verdict(row, bar, None, None, None, None, None, "FAILED", calibration, 0, errors))
            continue
        figure = statistics.median(ours)
        ratio = figure / peer if peer else None
        word = _word(bar, figure, ratio, calibration > NOISY * best_calibration)
        if word == "MISS" and bar.scaled_holds(figure, peer, NOISY):
            word = "pass (ratio)"
        others = {side: _median(good[side], bar.figure) for side in row.others}
        told = {side: value for side, value in others.items() if value is not None}
        found.append(
            Verdict(row, bar, figure, min(ours), max(ours), peer, ratio, word, calibration, len(ours), errors, told)
        )
    return found


def _median(samples: list[Sample], figure: str) -> float | None:
    values = [s.figures[figure] for s in samples if figure in s.figures]
    return statistics.median(values) if values else None


def _word(bar: Bar, figure: float, ratio: float | None, noisy: bool) -> str:
    absolute, beside = bar.absolute_holds(figure), bar.ratio_holds(ratio)
    if absolute is None and beside is None:
        return "MISS" if bar.ratio_at_most is not None or bar.ratio_at_least is not None else "-"
    if absolute is False and beside and noisy:
        return "pass (ratio)"
    return "MISS" if absolute is False or beside is False else "pass"


class Journal:
    """The samples of a run and what is to be known about it; each is written down at once.

    Args:
        about: machine, versions, options: anything of JSON.
        path: one line of JSON a sample, `about` before them; None: kept in memory alone.
    """

    def __init__(self, about: dict[str, Any], path: Path | None = None) -> None:
        self.about = about
        self.samples: list[Sample] = []
        self._path = path
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({"about": about}) + "\n")

    def add(self, sample: Sample) -> Sample:
        self.samples.append(sample)
        if self._path is not None:
            with self._path.open("a") as out:
                out.write(json.dumps(sample.__dict__) + "\n")
        return sample

    @property
    def loops(self) -> list[float]:
        """Seconds of the calibration loop beside each sample."""
        return [s.calibration_s for s in self.samples if not s.error] or [0.0]

    @property
    def best(self) -> float:
        return min(self.loops)

    @classmethod
    def read(cls, paths: list[Path]) -> Journal:
        """What earlier runs wrote: of a row that is in several files, the last file counts.

        `about` is the first file's, with the commits of all, and the limit that its fan-out had.
        """
        about: dict[str, Any] = {}
        commits: dict[str, None] = {}
        limit: Any = None
        by_row: dict[str, list[Sample]] = {}
        for path in paths:
            here: dict[str, list[Sample]] = {}
            for line in path.read_text().splitlines():
                told = json.loads(line)
                if "about" in told:
                    about = {**told["about"], **about, "quick": about.get("quick") or told["about"]["quick"]}
                    commits[told["about"].get("commit", "").strip(" ()")] = None
                    limit = told["about"].get("limit")
                else:
                    here.setdefault(told["row"], []).append(Sample(**told))
            by_row.update(here)
            if any(row.startswith("fan_out") for row in here):
                about["limit"] = limit
        if any(commits):
            about["commit"] = f" ({', '.join(filter(None, commits))})"
        found = cls(about)
        found.samples = [sample for samples in by_row.values() for sample in samples]
        return found
