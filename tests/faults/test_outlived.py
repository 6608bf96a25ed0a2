"""A script that outlives its job on a real Slurm: the next start ends the run, and what the old one writes is refused.

    job, start 0: the driver leaves the job's processes --- held (SIGSTOP) ............. let go --> refused, gives up
         requeue                                             |
    job, start 1:                                            '-> goes on with the run, and completes it

So it is on a node that Slurm has lost sight of: there nothing ends the old script, and it is as alive as before.
"""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack, closing, suppress
from typing import TYPE_CHECKING

import pytest

from anabranch.records.sqlite import SqliteRecords
from tests.faults.test_requeued import HALF, ITEMS, RESULT, WAIT, Job, requeue
from tests.faults.workers import running, until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.timeout(300), pytest.mark.nightly("a job that starts twice; by day without a batch system")]
# No process of the job is its parent, so the end of the job does not reach it.
SCRIPT = """
if [ -z "$SLURM_RESTART_COUNT" ]; then
    setsid --fork sh -c 'echo $$ > old; exec {pilot}'
    exec cat hold
fi
exec {pilot}
"""


@pytest.mark.usefixtures("slurm")
def test_what_a_script_writes_that_outlives_its_job_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "hold")
    with ExitStack() as stack:
        job = Job(tmp_path, "--requeue", script=SCRIPT)
        job.half()
        old = int((tmp_path / "old").read_text())
        stack.callback(killed, old)
        os.kill(old, signal.SIGSTOP)
        requeue(job)
        job.starts_again()
        job.ends("COMPLETED")
        assert running(old), "it has outlived its job"
        job.went_through()
        before = recorded(job)
        assert before["incarnation"] == f"slurm:{job.id}.1"
        open(tmp_path / "gate", "w").close()  # its two items end, so that it has something to write
        until(lambda: len(job.lines("ended")) == ITEMS + 2, WAIT)
        os.kill(old, signal.SIGCONT)
        until(lambda: not running(old), WAIT)
        late = [line.split() for line in job.lines("ended")[ITEMS:]]
        assert all(start == "0" and int(x) >= HALF for start, x in late)
        assert job.log.count("was taken over by another driver: it is given up here") == 1
        assert recorded(job) == before
        assert job.lines("result") == [RESULT]


def recorded(job: Job) -> dict[str, object]:
    """All that the record says of the job's run, but signs of life."""
    [run] = job.runs()
    with closing(SqliteRecords(job.folder / "home" / "records.db")) as records:
        return {
            "state": run.state_name, "ended": run.ended, "incarnation": run.incarnation, "token": run.token,
            "pid": run.pid, "maps": records.maps(run.id),
            "transitions": records.transitions(run.id),
        }  # fmt: skip


def killed(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
