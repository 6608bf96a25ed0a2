"""Where a pilot runs tasks."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from anabranch import ThreadRunner
from anabranch.cli.pilot import drop_old_keys, kind_of, meeting_place, own_end, own_folder
from anabranch.core.allocation import Allocation, Node

if TYPE_CHECKING:
    from pathlib import Path

ONE, TWO = (Node("a", 8),), (Node("a", 8), Node("b", 8))


def allocation(*nodes: Node, ranks: int = 0, restarts: int = 0) -> Allocation:
    return Allocation("slurm", "7", restarts, nodes, "a", ranks=ranks)


@pytest.mark.parametrize(
    ("given", "own", "kind"),
    [
        (allocation(*ONE), None, "process"),
        (allocation(*TWO), None, "dask"),
        (allocation(*ONE, ranks=2), None, "dask"),
        (allocation(Node("a", 8, 0, 4)), None, "dask"),  # each worker sees an accelerator of its own
        (allocation(Node("a", 8, 0, 1)), None, "process"),
        (allocation(*ONE), "dask", "dask"),
        (allocation(*TWO), "ray", "ray"),
        (allocation(*ONE), "thread", "thread"),
        (allocation(*TWO), "process", "dask"),
        (allocation(*TWO), "inline", ""),
        (allocation(*TWO), ThreadRunner, ""),
    ],
)
def test_what_fits_the_job_unless_the_flow_says(given: Allocation, own: object, kind: str) -> None:
    assert kind_of(given, own) == kind


@pytest.mark.parametrize(
    ("job", "given", "end"),
    [
        (5000.0, 0.0, 5000.0),
        (5000.0, 900.0, 5000.0),  # of the job that this one was submitted from: it has passed
        (5000.0, 9000.0, 5000.0),
        (5000.0, 4000.0, 4000.0),  # the user's own
        (None, 4000.0, 4000.0),
        (None, 900.0, 0.0),
        (None, 0.0, 0.0),
    ],
)
def test_the_end_is_that_of_this_job(job: float | None, given: float, end: float) -> None:
    assert own_end(replace(allocation(*ONE), end=job), given, 1000.0) == end


def test_each_start_of_a_job_meets_at_a_place_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file of an earlier start leads to a dead address."""
    monkeypatch.delenv("SLURM_STEP_ID", raising=False)
    place = own_folder(allocation(*ONE), ["flow.py"])
    first = meeting_place(allocation(*ONE), place)
    assert first == place / "7.0" / "driver.json"
    assert meeting_place(allocation(*ONE, restarts=1), place) == place / "7.1" / "driver.json"
    monkeypatch.setenv("SLURM_STEP_ID", "2")
    assert meeting_place(allocation(*ONE, ranks=2), place) == place / "7.0" / "driver-2.json"


def test_a_start_of_a_job_deletes_the_keys_of_earlier_ones(tmp_path: Path) -> None:
    names = ("7.0/driver.json", "7.0/.driver.json.x", "7.1/driver-2.json", "log")
    old, cut_off, other_step, log = (tmp_path / name for name in names)
    for path in (old, cut_off, other_step, log):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    drop_old_keys(tmp_path, meeting_place(allocation(*ONE, restarts=1), tmp_path))
    assert [path.exists() for path in (old, cut_off, other_step, log)] == [False, False, True, True]


def test_each_command_of_a_script_has_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    one = allocation(*ONE)
    assert own_folder(one, ["flow.py"]) == own_folder(one, ["flow.py"])
    assert own_folder(one, ["flow.py"]) != own_folder(one, ["flow.py", "n=2"])
