"""Jobs as processes of this machine: their keeper, their walltime, other machines."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from anabranch.batch.commands import run
from anabranch.core.errors import LaunchError
from anabranch.core.launching import Job, Phase, Reference
from anabranch.core.processes import host_name, process_alive, process_started
from anabranch.launch import script
from anabranch.launch.keeper import EXIT
from anabranch.launch.process import ProcessLauncher, here
from tests.waiting import WAIT, until

if TYPE_CHECKING:
    from pathlib import Path

    from anabranch.core.launching import Sight

TELLS = """
import signal, sys
signal.signal(signal.SIGUSR1, lambda *_: sys.exit(7))
print("up", flush=True)
signal.pause()
"""


def job(tmp_path: Path, *command: str, walltime: float = 0.0) -> Job:
    return Job("job", command, tmp_path / "job", tmp_path, walltime=walltime)


def ended(reference: Reference) -> Sight:
    def seen() -> Sight:
        return ProcessLauncher().look([reference])[reference]

    until(lambda: seen().phase is not Phase.RUNNING, seen)
    return seen()


def pid(reference: Reference) -> int:
    return int(reference.id.split(":")[1])


def up(reference: Reference) -> None:
    until(lambda: "up" in ProcessLauncher().logs(reference))


def test_signals_reach_the_job(tmp_path: Path) -> None:
    reference = ProcessLauncher().start(job(tmp_path, sys.executable, "-c", TELLS))
    up(reference)
    os.kill(pid(reference), signal.SIGUSR1)
    assert ended(reference)[:3] == (Phase.ENDED, "exit 7", 7)


def test_a_walltime_ends_the_job(tmp_path: Path) -> None:
    reference = ProcessLauncher().start(job(tmp_path, "sleep", "900", walltime=0.3))
    assert ended(reference)[:3] == (Phase.ENDED, "its walltime was over", -15)


def test_a_job_has_a_session_of_its_own_and_leaves_no_zombie_to_its_starter(tmp_path: Path) -> None:
    """Ctrl-C in the terminal, and its end, are not meant for the job."""
    reference = ProcessLauncher().start(job(tmp_path, sys.executable, "-c", TELLS))
    up(reference)
    keeper = pid(reference)
    assert os.getsid(keeper) != os.getsid(0)
    children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(os.getpid())], capture_output=True, text=True)
    assert str(keeper) not in children.stdout.split()
    ProcessLauncher().cancel(reference)
    ended(reference)


def test_a_job_whose_keeper_was_killed_runs_to_its_end(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    reference = ProcessLauncher().start(job(tmp_path, "/bin/sh", "-c", f"echo up; read x <{gate}"))
    up(reference)
    os.kill(pid(reference), signal.SIGKILL)
    until(lambda: not process_alive(pid(reference)))
    assert ProcessLauncher().look([reference])[reference].phase is Phase.RUNNING
    gate.write_text("go\n")  # the job itself ends
    seen = ended(reference)
    assert seen.phase is Phase.GONE
    assert seen.reason == f"process {pid(reference)} is gone: its keeper was killed"
    assert list(seen.last) == ["up"]
    ProcessLauncher().cancel(reference)


def test_a_process_of_this_number_is_not_taken_for_the_job(tmp_path: Path) -> None:
    """Numbers of processes are used again."""
    (tmp_path / "job").mkdir()
    other = Reference("process", f"{host_name()}:{os.getpid()}:1.0", "job", str(tmp_path / "job"))
    assert ProcessLauncher().look([other])[other].phase is Phase.GONE
    ProcessLauncher().cancel(other)
    assert process_alive(os.getpid())


def test_a_job_of_another_machine_runs_until_it_has_written_its_end(tmp_path: Path) -> None:
    (tmp_path / "job").mkdir()
    far = Reference("process", "far:1:1.0", "job", str(tmp_path / "job"))
    seen = ProcessLauncher().look([far])[far]
    assert (seen.phase, seen.reason) == (Phase.RUNNING, "it runs on far, which alone knows whether it still does")
    (tmp_path / "job" / "exit").write_text('{"code": 3, "reason": ""}')
    assert ProcessLauncher().look([far])[far][:3] == (Phase.ENDED, "exit 3", 3)


def test_two_starts_at_once_start_one_job(tmp_path: Path) -> None:
    line = f"from pathlib import Path; f = open({str(tmp_path / 'starts')!r}, 'a'); f.write('x'); f.close()"
    program = (
        "import sys; from pathlib import Path; from anabranch.core.launching import Job; "
        "from anabranch.launch.process import ProcessLauncher\n"
        f"sys.stdin.read(1); print(ProcessLauncher().start(Job('job', ({sys.executable!r}, '-c', {line!r}), "
        f"Path({str(tmp_path / 'job')!r}), Path({str(tmp_path)!r}))).id)"
    )
    starters = [
        subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for one in starters:
        assert one.stdin is not None
        one.stdin.write("g")
        one.stdin.flush()
    told = [one.communicate(timeout=WAIT)[0] for one in starters]
    assert len(set(told)) == 1
    reference = Reference("process", told[0].strip(), "job", str(tmp_path / "job"))
    assert ended(reference).code == 0
    assert (tmp_path / "starts").read_text() == "x"


@pytest.mark.parametrize("line", ["sleep 900 & wait", "trap '' TERM; sleep 900", "sleep 900 & exec sleep 900"])
def test_a_command_that_does_not_answer_is_given_up_with_all_that_it_has_started(line: str) -> None:
    answer = run(["/bin/sh", "-c", line], os.environ, 0.5)
    assert answer.code is None
    assert answer.told.startswith("no answer in time")


def test_what_a_command_says_is_one_line() -> None:
    assert run(["/bin/sh", "-c", "printf 'a\\n\\n  b\\377\\n' >&2; exit 3"], os.environ, 60).told == "a; b�"
    assert run(["/bin/sh", "-c", "exit 3"], os.environ, 60).told == "exit 3"


def test_nobody_can_tell_of_a_job_before_the_machines_restart_or_in_another_container(tmp_path: Path) -> None:
    """The same name, other processes: the number of the job's may be another program's here."""
    (tmp_path / "job").mkdir()
    own = f"{os.getpid()}:{process_started(os.getpid())}"
    lost = Reference("process", f"{host_name()}/00000000:{own}", "job", str(tmp_path / "job"))
    assert not here(lost)
    assert ProcessLauncher().look([lost])[lost].phase is Phase.UNKNOWN
    with pytest.raises(LaunchError, match="cancel it there"):
        ProcessLauncher().kill(lost)
    (tmp_path / "job" / EXIT).write_text('{"code": 3, "reason": ""}')
    assert ProcessLauncher().look([lost])[lost].phase is Phase.ENDED
    elsewhere = lost._replace(id=f"other/00000000:{own}", folder=str(tmp_path))
    assert ProcessLauncher().look([elsewhere])[elsewhere].phase is Phase.RUNNING


def test_a_job_that_an_earlier_version_started_is_seen(tmp_path: Path) -> None:
    """Its reference names the machine alone."""
    (tmp_path / "job").mkdir()
    own = f"{host_name()}:{os.getpid()}:{process_started(os.getpid())}"
    old = Reference("process", own, "job", str(tmp_path / "job"))
    assert here(old)
    assert ProcessLauncher().look([old])[old].phase is Phase.RUNNING


@pytest.mark.parametrize("value", ["ab_1", "with a space", "it's \"quoted\" $HOME", ""])
def test_a_variable_of_a_job_is_read_back_from_its_script(tmp_path: Path, value: str) -> None:
    made = replace(job(tmp_path, "/bin/true"), environment={"KEY": value, "KEY_TOO": "x"})
    script.write_script(made, ProcessLauncher().render(made))
    assert script.variable(made.folder, "KEY") == value
    assert script.variable(made.folder, "KEY_TOO") == "x"
    assert script.variable(made.folder, "OTHER") == script.variable(tmp_path / "none", "KEY") == ""
