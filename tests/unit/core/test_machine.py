"""What of the machine may be used, and settings that count bytes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from anabranch.core.errors import ConfigurationError
from anabranch.core.machine import group_limits, usable_cpus, usable_memory
from anabranch.settings import load, parse

if TYPE_CHECKING:
    from pathlib import Path


def test_what_may_be_used_is_at_most_what_there_is() -> None:
    assert 1 <= usable_cpus() <= (os.cpu_count() or 1)
    assert 0 < usable_memory() <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(("text", "value"), [("2 GiB", 2 << 30), ("0", 0), ("500MB", 500_000_000), (12, 12)])
def test_bytes_as_people_write_them(text: object, value: int) -> None:
    assert parse("memory_budget", text, "here") == value


def test_what_is_no_size_names_setting_and_place() -> None:
    with pytest.raises(ConfigurationError, match=r"ANABRANCH_MEMORY_BUDGET: setting 'memory_budget' must be bytes"):
        load({"ANABRANCH_MEMORY_BUDGET": "plenty"})


def test_limits_of_a_job_stand_above_the_group_of_its_step(tmp_path: Path) -> None:
    step = tmp_path / "system.slice" / "job_7" / "step_0"
    step.mkdir(parents=True)
    (step / "memory.max").write_text("max\n")
    (step.parent / "memory.max").write_text("4096\n")
    own = tmp_path / "cgroup"
    own.write_text("0::/system.slice/job_7/step_0\n")
    assert list(group_limits("memory.max", str(tmp_path), str(own))) == ["max", "4096"]


def test_limits_of_the_first_version_of_control_groups(tmp_path: Path) -> None:
    (tmp_path / "memory" / "slurm" / "job_7").mkdir(parents=True)
    (tmp_path / "memory" / "slurm" / "job_7" / "memory.limit_in_bytes").write_text("8192\n")
    own = tmp_path / "cgroup"
    own.write_text("5:cpuset:/slurm/job_7\n4:memory:/slurm/job_7\n0::/\n")
    assert list(group_limits("memory.max", str(tmp_path), str(own))) == ["8192"]


def test_without_control_groups_there_is_no_limit(tmp_path: Path) -> None:
    assert list(group_limits("memory.max", str(tmp_path), str(tmp_path / "none"))) == []
