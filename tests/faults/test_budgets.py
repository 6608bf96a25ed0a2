"""Two budgets: the user's retries are for what his code does, the infrastructure's for what becomes of workers."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import DaskRunner, RayRunner, flow, task
from anabranch.core.errors import CrashedRun
from tests.faults.workers import WAIT

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch import ProcessRunner


def scripted(folder: str, *acts: str) -> Callable[[int], int]:
    """A task whose item 3 does one act after the other, one an attempt; others complete. Travels by value."""

    def work(x: int) -> int:
        if x != 3:
            return x
        at = len(os.listdir(folder))
        Path(folder, str(at)).touch()
        act = acts[at] if at < len(acts) else ""
        if act == "die":
            os._exit(3)
        if act == "raise":
            raise ValueError("no good")
        if act == "hang":
            time.sleep(600)
        return x

    return work


def outcome(runner: Any, folder: Path, acts: str, **options: Any) -> tuple[str, int]:
    """How item 3 ends, and with which attempt."""
    folder.mkdir()
    work = task(scripted(str(folder), *acts.split()), **options)

    @flow(runner=runner)
    def main() -> tuple[str, int]:
        futures = work.map(range(8))
        futures.wait(WAIT * 4)
        assert set(futures.failed()) <= {3}
        state = futures.states[3]
        futures[3].exception() if not state.is_completed() else None
        return state.name, state.attempt

    found: tuple[str, int] = main()
    return found


def check(runner: Any, folder: Path) -> None:
    """The same on every runner that has processes to lose."""
    assert outcome(runner, folder / "a", "die raise", retries=1) == ("Completed", 3)
    assert outcome(runner, folder / "b", "raise die raise", retries=1) == ("Failed", 3)


@pytest.mark.sampled(3, "each kills a dozen workers")
def test_crashes_spend_no_retries_of_the_users(runner: ProcessRunner, tmp_path: Path) -> None:
    check(runner, tmp_path)
    assert outcome(runner, tmp_path / "c", "die die raise raise", retries=2) == ("Completed", 5)


@pytest.mark.sampled(3, "each kills a dozen workers")
def test_nor_do_they_before_a_time_out(runner: ProcessRunner, tmp_path: Path) -> None:
    assert outcome(runner, tmp_path / "a", "die hang", retries=1, timeout_seconds=0.5) == ("Completed", 3)
    assert outcome(runner, tmp_path / "b", "die hang hang", retries=1, timeout_seconds=0.5) == ("TimedOut", 3)


@pytest.mark.sampled(3, "each kills a dozen workers")
def test_retries_spend_no_crash_retries(runner: ProcessRunner, tmp_path: Path) -> None:
    acts = "raise die raise die"
    assert outcome(runner, tmp_path / "a", acts, retries=2, crash_retries=3) == ("Completed", 5)
    assert outcome(runner, tmp_path / "b", f"{acts} die", retries=2, crash_retries=3) == ("Crashed", 5)


@pytest.mark.sampled(3, "each kills a dozen workers")
@pytest.mark.dask
@pytest.mark.timeout(180)
def test_on_dask(tmp_path: Path) -> None:
    with DaskRunner(n_workers=2) as dask:
        check(dask, tmp_path)


@pytest.mark.sampled(3, "each kills a dozen workers")
@pytest.mark.ray
@pytest.mark.timeout(180)
def test_on_ray(tmp_path: Path) -> None:
    with RayRunner(num_cpus=2) as ray:
        check(ray, tmp_path)
        poison(ray, tmp_path)


def poison(runner: Any, folder: Path) -> None:
    """Three deaths alone: that item is Crashed, all others complete."""
    (folder / "poison").mkdir()
    work = task(scripted(str(folder / "poison"), *["die"] * 9))

    @flow(runner=runner)
    def main() -> None:
        futures = work.map(range(200))
        futures.wait(WAIT * 4)
        assert futures.failed() == [3]
        assert "poison: its worker died 3 times" in futures.states[3].message
        with pytest.raises(CrashedRun):
            futures[3].result()

    main()
    assert len(os.listdir(folder / "poison")) == 3


def test_poison_on_processes(runner: ProcessRunner, tmp_path: Path) -> None:
    poison(runner, tmp_path)
