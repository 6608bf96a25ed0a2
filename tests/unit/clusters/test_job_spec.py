"""What a job asks for: walltimes, margins, memory, and the command of its workers."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from anabranch.clusters.job_spec import (
    JobSpec,
    clock_text,
    job_of,
    leaves_after,
    margin,
    walltime_seconds,
    worker_command,
    worker_options,
)  # fmt: skip


def spec(**options: Any) -> JobSpec:
    return JobSpec(**{"name": "c", "cores": 4, "memory": 8 * 2**30, "processes": 3, "walltime": 3600.0, **options})


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ("30", 1800), ("02:00:00", 7200), ("1-0", 86400), ("1-12:30", 131400), ("2-00:00:30", 172830),
        (90, 90), (7200.0, 7200),
    ],
)  # fmt: skip
def test_walltimes_are_read_as_slurm_reads_them(given: Any, seconds: float) -> None:
    assert walltime_seconds(given) == seconds


@pytest.mark.parametrize("given", ["", "soon", "1:2:3:4", "x-1", "-5", None, True, 30, "00:30", "30:30", "30s"])
def test_other_walltimes_are_refused(given: Any) -> None:
    with pytest.raises(ValueError, match="walltime must be"):
        walltime_seconds(given)


def test_parts_of_a_minute_are_rounded_up() -> None:
    assert (clock_text(90), clock_text(7200), clock_text(100 * 3600)) == ("00:02:00", "02:00:00", "100:00:00")


@pytest.mark.parametrize("walltime", [60.0, 600.0, 3600.0, 86400.0, 14 * 86400.0])
def test_jobs_are_left_before_workers_end_and_workers_end_before_the_walltime(walltime: float) -> None:
    options = worker_options(spec(walltime=walltime), {})
    life = float(options[options.index("--lifetime") + 1].rstrip("s"))
    stagger = float(options[options.index("--lifetime-stagger") + 1].rstrip("s"))
    first, last = leaves_after(walltime, 0.0), leaves_after(walltime, 1.0)
    assert 0 < first < last <= walltime - margin(walltime) <= life + 1
    assert life + stagger < walltime


def test_without_a_walltime_nothing_ends() -> None:
    assert leaves_after(0.0, 0.5) == float("inf")
    assert "--lifetime" not in worker_options(spec(walltime=0.0), {})


def test_the_memory_of_all_workers_is_not_above_the_jobs() -> None:
    """Three workers in 8 GiB: each text rounded up, GB taken for GiB, and the sum was above what the job had."""
    options = worker_options(spec(), {})
    assert int(options[options.index("--memory-limit") + 1]) * 3 <= 8 * 2**30


def test_the_command_is_safe_in_a_shell_and_takes_the_shells_place() -> None:
    tls = {"ca": "/home/a b/ca.pem", "cert": "/home/a b/cert.pem", "key": "/home/a b/key.pem"}
    job = spec(python="/opt/my python/bin/python")
    line = worker_command(job, ["tls://10.0.0.1:1", "tls://10.0.0.2:1"], "c-1", tls)
    words = shlex.split(line)
    assert words[:6] == ["exec", "/opt/my python/bin/python", "-P", "-m", "anabranch.clusters.join",
                         "tls://10.0.0.1:1,tls://10.0.0.2:1"]  # fmt: skip
    assert words[words.index("--tls-key") + 1] == "/home/a b/key.pem"
    assert words[words.index("--nthreads") + 1] == "1"
    assert "--nanny" in words


def test_workers_are_found_by_their_job() -> None:
    assert job_of("c-12", 1) == "c-12"
    assert job_of("c-12-3", 4) == "c-12"
