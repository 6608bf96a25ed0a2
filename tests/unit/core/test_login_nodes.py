"""Which machine ends long programs, and the sentence about it."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING

import pytest

from anabranch.core.login_nodes import Signs, signs_here, told, warning_of

if TYPE_CHECKING:
    from pathlib import Path

GIB = 1 << 30


@pytest.mark.parametrize(
    ("signs", "words"),
    [
        (Signs(), ""),
        (Signs(seconds=1800), "this machine ends a program after 30 min of processor time (ulimit -t), and"),
        (Signs(seconds=7200), "after 2 h of processor time"),
        (Signs(seconds=60), "after 60 s of processor time"),
        (Signs(cpus=2, memory=8 * GIB), "limits all your programs together to 2 processors and 8 GiB, as login nodes"),
        (Signs(cpus=4), "together to 4 processors, as login nodes do, and"),
        (Signs(memory=GIB // 2), "together to 0.5 GiB, as login nodes do, and"),
        (Signs("true"), "this is a login node (setting login_node), and"),
        (Signs("true", in_job=True), "this is a login node (setting login_node), and"),
        (Signs(in_job=True, seconds=60, cpus=1), ""),  # a job's own limits
        (Signs("false", seconds=60, cpus=1, memory=1), ""),
    ],
)
def test_one_sentence_where_signs_say_so(signs: Signs, words: str) -> None:
    found = warning_of(signs, "this lives here", "do that")
    if not words:
        assert found == ""
    else:
        assert words in found
        assert found.endswith("and this lives here: do that (login_node = false silences this)")


@pytest.fixture
def groups(tmp_path: Path) -> tuple[Path, Path]:
    """Control groups, and the file that says in which of them this process is."""
    slice = tmp_path / "groups" / "user.slice" / "user-1000.slice"
    slice.mkdir(parents=True)
    (slice / "cpu.max").write_text("200000 100000\n")
    (slice / "memory.max").write_text(f"{GIB // 2}\n")
    own = tmp_path / "own"
    own.write_text("0::/user.slice/user-1000.slice/session-3.scope\n")
    return tmp_path / "groups", own


@pytest.fixture(autouse=True)
def no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLURM_JOB_ID", "PBS_JOBID", "ANABRANCH_LOGIN_NODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(told, "said", "")


def test_limits_of_a_persons_programs_are_signs(groups: tuple[Path, Path]) -> None:
    found = signs_here(*map(str, groups))
    assert (found.cpus, found.memory, found.in_job, found.said) == (2, GIB // 2, False, "auto")


def test_limits_of_a_service_or_container_are_none(groups: tuple[Path, Path]) -> None:
    root, own = groups
    own.write_text("0::/system.slice/jupyter.service\n")
    (root / "system.slice").mkdir()
    (root / "system.slice" / "memory.max").write_text("1000000\n")
    found = signs_here(str(root), str(own))
    assert (found.cpus, found.memory) == (0, 0)


def test_no_limit_is_none(groups: tuple[Path, Path]) -> None:
    slice = groups[0] / "user.slice" / "user-1000.slice"
    (slice / "cpu.max").write_text("max 100000\n")
    (slice / "memory.max").write_text("9223372036854771712\n")  # more than any machine has: the first version's "none"
    found = signs_here(*map(str, groups))
    assert (found.cpus, found.memory) == (0, 0)


def test_the_setting_and_the_job_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANABRANCH_LOGIN_NODE", "True")
    assert signs_here().said == "true"
    monkeypatch.setattr(told, "said", "false")
    assert signs_here().said == "false"
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert signs_here().in_job


def test_a_limit_of_processor_time_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (360_000, hard))
    try:
        assert signs_here().seconds == 360_000
    finally:
        resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))
