"""A flow runs in a job of a real Slurm: on its node's processes, on Dask, on Ray."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.pilot.conftest import ROOT, mine, until
from tests.slurm_requests import questions

if TYPE_CHECKING:
    from tests.integration.pilot.conftest import Jobs

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(300), pytest.mark.sampled(6, "jobs of Slurm for each")]
N = 2000
SOME, MANY = 10_000, 100_000
LONG = 600.0  # seconds for half of that many items
NIGHT = pytest.mark.nightly("100,000 items; by day a tenth of them")
EITHER = pytest.mark.sampled(2, "a job that starts twice; another engine each day")
TWO_SETS = ["--ntasks=2", "--cpus-per-task=2"]
DASK = pytest.param("dask", marks=pytest.mark.nightly("a job that starts twice; by day on processes"))
RAY = pytest.param("ray", marks=pytest.mark.nightly("Ray takes twice as long to start; by day on the others"))


def told(jobs: Jobs, job: str) -> dict[str, object]:
    found: dict[str, object] = json.loads((jobs.folder / "out").read_text())
    assert found["sum"] == sum(x * x for x in range(N)), jobs.log(job)
    return found


def pilot(jobs: Jobs, *words: str, srun: str = "") -> str:
    return jobs.pilot("squares", "-p", f"n={N}", "-p", f"out={jobs.folder}/out", *words, srun=srun)


def places_of(found: dict[str, object]) -> list[dict[str, object]]:
    places = found["places"]
    assert isinstance(places, list)
    return places


def ranks(found: dict[str, object]) -> set[object]:
    return {one["rank"] for one in places_of(found)}


def test_on_one_node_tasks_run_on_processes(jobs: Jobs) -> None:
    job = jobs.submit(pilot(jobs), "--ntasks=1", "--cpus-per-task=2")
    jobs.completed(job)
    places = places_of(told(jobs, job))
    assert {one["step"] for one in places} == {None}  # no step was made
    assert all(str(one["tmp"]).startswith(f"{jobs.tmp}/ab-{job}.0-") for one in places)
    assert os.listdir(jobs.tmp) == []
    assert f"job {job}: 1 node, " in jobs.log(job)
    assert f"record: {jobs.home}/records.db (" in jobs.log(job)
    assert len([file for file in jobs.left() if (jobs.folder / file).is_file()]) < 20


@pytest.mark.dask
def test_two_tasks_on_dask(jobs: Jobs) -> None:
    job = jobs.submit(pilot(jobs, "--runner", "dask"), *TWO_SETS)
    jobs.completed(job)
    assert ranks(told(jobs, job)) == {"0", "1"}
    assert os.listdir(jobs.tmp) == []
    assert len([file for file in jobs.left() if (jobs.folder / file).is_file()]) < 20
    assert not any("driver" in file for file in jobs.left())  # the file with the key


@pytest.mark.ray
def test_two_tasks_on_ray(jobs: Jobs) -> None:
    """One is in Ray's head, in the job's script; the step has the other."""
    before = set(Path("/tmp").glob("ab-*"))
    job = jobs.submit(pilot(jobs, "--runner", "ray"), *TWO_SETS)
    jobs.completed(job)
    places = places_of(told(jobs, job))
    assert {one["step"] for one in places} <= {None, "0"}
    assert os.listdir(jobs.tmp) == []
    assert set(Path("/tmp").glob(f"ab-{job}.0-*")) <= before  # the test's TMPDIR is too long for sockets
    assert len([file for file in jobs.left() if (jobs.folder / file).is_file()]) < 20


@pytest.mark.dask
def test_the_pilot_under_the_users_own_srun(jobs: Jobs) -> None:
    """Task 0 is the driver and a set; the others are sets, and the flow runs once."""
    job = jobs.submit(pilot(jobs, "--runner", "dask", srun="--ntasks=2"), "--ntasks=2")
    jobs.completed(job)
    assert ranks(told(jobs, job)) == {"0", "1"}
    assert jobs.log(job).count("Beginning flow run") == 1
    assert os.listdir(jobs.tmp) == []


@pytest.mark.ray
@pytest.mark.nightly("Ray starts twice; by day one engine stands for both")
def test_other_tasks_of_the_users_srun_start_the_engine_of_the_flow(jobs: Jobs) -> None:
    """Dask is installed, and would be chosen; the flow itself asks for Ray."""
    job = jobs.submit(jobs.pilot("both_ranks", "-p", "seconds=150", srun="--ntasks=2"), "--ntasks=2")
    jobs.completed(job)
    assert "runner: ray" in jobs.log(job)


def test_tasks_of_the_users_srun_that_are_not_needed_end_and_the_flow_goes_on(jobs: Jobs) -> None:
    job = jobs.submit(pilot(jobs, "--runner", "process", srun="--ntasks=2 --kill-on-bad-exit=1"), "--ntasks=2")
    jobs.completed(job)
    assert ranks(told(jobs, job)) == {"0"}
    assert jobs.log(job).count("-1: the flow's runner uses no other task of this step than the driver's") == 1


@pytest.mark.dask
@pytest.mark.parametrize("runner", ["dask", RAY])
def test_a_driver_beside_the_nodes(jobs: Jobs, runner: str) -> None:
    """As in a shell of `salloc` on a login node: all workers are reached over the machine's network."""
    job = jobs.submit(pilot(jobs, "--runner", runner), *TWO_SETS, before="export SLURMD_NODENAME=login1")
    jobs.completed(job)
    assert {one["step"] for one in places_of(told(jobs, job))} == {"0"}


@pytest.mark.dask
def test_a_network_that_is_not_there(jobs: Jobs) -> None:
    line = pilot(jobs, "--runner", "dask", "--interface", "nope0")
    job = jobs.submit(line, "--ntasks=2", before="export SLURMD_NODENAME=login1")
    assert jobs.ended(job) == ["FAILED"]
    assert "there is no interface 'nope0' with an address here; known are: " in jobs.log(job)


@pytest.mark.dask
def test_two_pilots_on_one_node_in_the_same_second(jobs: Jobs) -> None:
    first = jobs.submit(pilot(jobs, "--runner", "dask"), "--ntasks=2")
    second = jobs.submit(pilot(jobs, "--runner", "dask").replace("/out", "/out2"), "--ntasks=2")
    jobs.completed(first, second)
    assert (jobs.folder / "out").exists()
    assert (jobs.folder / "out2").exists()


@pytest.mark.dask
@pytest.mark.parametrize("runner", ["dask", RAY, "process"])
def test_workers_end_with_a_driver_that_was_killed(jobs: Jobs, runner: str) -> None:
    """The script goes on, so Slurm does not end them: they notice it themselves."""
    folder = jobs.folder / "held"
    folder.mkdir()
    line = jobs.pilot("held", "-p", f"folder={folder}", "--runner", runner).removeprefix("exec ")
    gate = jobs.folder / "gate"
    job = jobs.submit(f"{line}\nwhile [ ! -e {gate} ]; do sleep 0.2; done", *TWO_SETS)
    until(lambda: len(list(folder.iterdir())) > 1, jobs.log, job)
    workers = [int(file.name) for file in folder.iterdir() if file.name.isdigit()]
    os.kill(int((folder / "driver").read_text()), signal.SIGKILL)
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), jobs.log, job)
    until(lambda: not [pid for pid in mine(f"ab-{job}.0") if pid not in workers], jobs.log, job)
    gate.touch()
    jobs.ended(job)


@pytest.mark.dask
@pytest.mark.nightly("the driver waits half a minute for workers")
def test_a_flow_whose_workers_are_all_gone_ends_with_the_reason(jobs: Jobs) -> None:
    folder = jobs.folder / "held"
    folder.mkdir()
    job = jobs.submit(jobs.pilot("held", "-p", f"folder={folder}", "--runner", "dask"), *TWO_SETS)
    until(lambda: len(list(folder.iterdir())) > 1, jobs.log, job)
    for pid in mine(f"{jobs.home}/jobs"):
        line = Path(f"/proc/{pid}/cmdline").read_bytes()
        if b"clusters.node" in line and b"clusters.head" not in line:
            os.kill(pid, signal.SIGKILL)
    assert jobs.ended(job) == ["FAILED"]
    assert "all sets of workers have ended" in jobs.log(job)
    assert "Error: flow 'held' ended as " in jobs.log(job)


@pytest.mark.dask
@pytest.mark.parametrize("runner", ["process", DASK, RAY])
def test_a_later_start_of_the_job_goes_on_with_its_run(jobs: Jobs, runner: str) -> None:
    """Requeued in the middle: what had ended is not run again."""
    folder, gate = jobs.folder / "noted", jobs.folder / "gate"
    folder.mkdir()
    words = ["-p", f"folder={folder}", "-p", f"gate={gate}", "-p", f"out={jobs.folder}/out", "--runner", runner]
    job = jobs.submit(jobs.pilot("gated", *words), *TWO_SETS, "--requeue")
    until(lambda: len(list(folder.iterdir())) > 50, jobs.log, job)
    requeue(jobs, job)
    gate.touch()
    jobs.completed(job)
    assert (jobs.folder / "out").read_text() == str(sum(range(100)))
    attempts = {int(file.name): file.read_text().split() for file in folder.iterdir()}
    assert sorted(attempts) == list(range(100))
    again = [x for x in range(40) if len(attempts[x]) > 1]
    assert again == [], jobs.log(job)


@pytest.mark.timeout(1500)
@pytest.mark.parametrize(
    ("runner", "n"),
    [
        pytest.param("dask", SOME, marks=[pytest.mark.dask, EITHER]),
        pytest.param("ray", SOME, marks=[pytest.mark.ray, EITHER]),
        pytest.param("dask", MANY, marks=[pytest.mark.dask, NIGHT]),
        pytest.param("ray", MANY, marks=[pytest.mark.ray, NIGHT]),
    ],
)
def test_of_many_items_none_is_repeated_after_a_requeue_at_half(jobs: Jobs, runner: str, n: int) -> None:
    """Slurm tells every process of the job of its end: workers that ended by that would take finished items along."""
    folder = jobs.folder / "counted"
    folder.mkdir()
    words = ["-p", f"n={n}", "-p", f"folder={folder}", "-p", f"out={jobs.folder}/out", "--runner", runner]
    before, began = questions(), time.monotonic()
    job = jobs.submit(jobs.pilot("counting", *words), *TWO_SETS, "--requeue", "--time=30")
    until(lambda: sum(file.stat().st_size for file in folder.iterdir()) >= 4 * n // 2, jobs.log, job, seconds=LONG)
    asked, took = questions() - before, time.monotonic() - began
    requeue(jobs, job)
    before, began = questions(), time.monotonic()
    until(lambda: (jobs.folder / "out").exists(), jobs.log, job, seconds=LONG)
    asked, took = asked + questions() - before, took + time.monotonic() - began
    jobs.completed(job)
    print(f"{n} items on {runner}, requeued at half: {took:.0f} s, {asked} questions to Slurm")
    assert (jobs.folder / "out").read_text() == str(sum([3 * x for x in range(n)]))
    times = {start: items_of(folder, start) for start in "01"}
    assert n // 2 <= len(times["0"]) < n, jobs.log(job)
    assert sorted({*times["0"], *times["1"]}) == list(range(n))
    again = [x for x, count in Counter([*times["0"], *times["1"]]).items() if count > 1]
    assert len(again) == 0, jobs.log(job)
    assert len([file for file in jobs.left() if (jobs.folder / file).is_file()]) < 20
    assert asked <= 2  # each start asks once for the end of its job; two a minute are allowed, however long it takes


def items_of(folder: Path, start: str) -> list[int]:
    """The items that ended in one start of a job."""
    data = b"".join(file.read_bytes() for file in folder.glob(f"{start}-*"))
    return list(memoryview(data).cast("I"))


def requeue(jobs: Jobs, job: str) -> None:
    subprocess.run(["scontrol", "requeue", job], check=True)
    until(lambda: jobs.state(job) == "PENDING", jobs.log, job)
    subprocess.run(["scontrol", "update", f"JobId={job}", "StartTime=now"], check=True)
    until(lambda: jobs.state(job) != "PENDING", jobs.log, job)


def test_where_several_machines_share_the_record_each_driver_has_a_file(jobs: Jobs) -> None:
    job = jobs.submit(pilot(jobs), "--ntasks=1", before="export ANABRANCH_RECORDS_SHARED=true")
    jobs.completed(job)
    told(jobs, job)
    assert f"record: {jobs.home}/records.db.d (a network file system: a file for each driver)" in jobs.log(job)
    assert [file.suffix for file in (jobs.home / "records.db.d").iterdir()] == [".db"]


def test_a_record_on_the_node_is_home_when_the_job_starts_again(jobs: Jobs) -> None:
    """Requeued in the middle: what had ended is known from the copy, and is not run again."""
    folder, gate = jobs.folder / "noted", jobs.folder / "gate"
    folder.mkdir()
    words = ["-p", f"folder={folder}", "-p", f"gate={gate}", "-p", f"out={jobs.folder}/out"]
    line = jobs.pilot("gated", *words, "--runner", "process")
    job = jobs.submit(line, "--ntasks=1", "--requeue", before="export ANABRANCH_RECORDS_SHARED=node")
    until(lambda: len(list(folder.iterdir())) > 50, jobs.log, job)
    noted = max(file.stat().st_mtime for file in folder.iterdir()) + 1.0
    copies = jobs.home / "records.db.d"
    until(lambda: any(file.stat().st_mtime > noted for file in copies.glob("*.copy.db")), jobs.log, job)
    requeue(jobs, job)
    gate.touch()
    jobs.completed(job)
    assert (jobs.folder / "out").read_text() == str(sum(range(100)))
    assert [x for x in range(40) if len((folder / str(x)).read_text().split()) > 1] == [], jobs.log(job)
    assert f"record: {jobs.home}/records.db.d (copies, every few seconds, of the files that drivers" in jobs.log(job)
    assert [file.name.endswith(".copy.db") for file in (jobs.home / "records.db.d").glob("*.db")] == [True, True]


def test_processors_that_the_kernel_withholds_are_not_used(jobs: Jobs) -> None:
    """Slurm's count is that of the node; the process may use one."""
    job = jobs.submit(pilot(jobs), "--ntasks=4", before="taskset -p -c 0 $$ > /dev/null")
    jobs.completed(job)
    places = places_of(told(jobs, job))
    assert "1 node, 1 processors" in jobs.log(job)
    assert len({one["pid"] for one in places}) == 1


@pytest.mark.nightly("what it reads has unit tests")
def test_a_job_whose_shell_has_no_environment(jobs: Jobs) -> None:
    """No conda, no PATH to the interpreter: the script names it."""
    job = jobs.submit(pilot(jobs, "--runner", "dask"), "--ntasks=2", f"--export=SLURM_CONF={os.environ['SLURM_CONF']}")
    jobs.completed(job)
    told(jobs, job)


@pytest.mark.nightly("what it reads has unit tests")
def test_variables_of_the_job_that_speak_against_the_step(jobs: Jobs) -> None:
    sizes = "SLURM_MEM_PER_CPU=1000 SLURM_MEM_PER_NODE=2000 SLURM_NTASKS_PER_NODE=1"
    words = f"export {sizes} SLURM_EXPORT_ENV=NONE SLURM_CPU_BIND=rank"
    job = jobs.submit(pilot(jobs, "--runner", "dask"), "--ntasks=2", before=words)
    jobs.completed(job)
    told(jobs, job)


@pytest.mark.dask
def test_each_item_that_asks_for_a_gpu_has_one_of_its_own(jobs: Jobs) -> None:
    """There is none here: what is tested is which of them an item would see."""
    line = jobs.pilot("devices", "-p", f"out={jobs.folder}/out")
    words = "export SLURM_GPUS_ON_NODE=2 CUDA_VISIBLE_DEVICES=4,7"
    job = jobs.submit(line, "--ntasks=1", "--cpus-per-task=4", before=words)
    jobs.completed(job)
    assert set(json.loads((jobs.folder / "out").read_text())) == {"4", "7"}
    assert "runner: dask" in jobs.log(job)


def test_a_second_call_in_one_job_is_a_run_of_its_own(jobs: Jobs) -> None:
    line = pilot(jobs).removeprefix("exec ")
    job = jobs.submit(f"{line} && {line}", "--ntasks=1")
    jobs.completed(job)
    assert jobs.log(job).count("Beginning flow run") == 2


@pytest.mark.dask
def test_a_program_in_an_interactive_allocation(jobs: Jobs) -> None:
    program = jobs.folder / "program.py"
    program.write_text(
        "from anabranch import DaskRunner, SlurmAllocation\n"
        "from tests.integration.pilot.flows import squares\n"
        "with SlurmAllocation() as cluster:\n"
        f"    print(squares.with_options(runner=DaskRunner(cluster=cluster))({N}, {str(jobs.folder / 'out')!r}))\n"
    )
    asked = ["salloc", "--ntasks=2", "--cpus-per-task=2", "--time=10", sys.executable, str(program)]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "ANABRANCH_HOME": str(jobs.home), "TMPDIR": str(jobs.tmp)}
    done = subprocess.run(asked, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == str(sum(x * x for x in range(N)))
    assert ranks(told(jobs, "")) == {"0", "1"}
    assert [file for file in jobs.left() if "jobs" in file or "tmp/" in file] == ["home/jobs"]


def test_another_parameter_than_the_flow_has_is_an_error_at_once(jobs: Jobs) -> None:
    job = jobs.submit(jobs.pilot("squares", "-p", "m=1", "--runner", "dask"), "--ntasks=2")
    assert jobs.ended(job) == ["FAILED"]
    assert "has no parameter 'm'; there are: n, out" in jobs.log(job)


def test_workers_that_cannot_be_started_are_told_of(jobs: Jobs) -> None:
    """As in a container without Slurm."""
    job = jobs.submit(pilot(jobs, "--runner", "dask"), "--ntasks=2", before="export PATH=/none")
    assert jobs.ended(job) == ["FAILED"]
    assert "there is no srun here to start workers on the nodes" in jobs.log(job)


@pytest.mark.dask
@pytest.mark.parametrize("runner", ["dask", RAY])
def test_signals_to_the_steps_of_a_job_do_not_end_workers(jobs: Jobs, runner: str) -> None:
    """The driver alone decides; Slurm's reach all processes of a step, before the limit and at a preemption."""
    folder, gate = jobs.folder / "noted", jobs.folder / "gate"
    folder.mkdir()
    words = ["-p", f"folder={folder}", "-p", f"gate={gate}", "-p", f"out={jobs.folder}/out", "--runner", runner]
    job = jobs.submit(jobs.pilot("gated", *words), *TWO_SETS)
    until(lambda: len(list(folder.iterdir())) > 50, jobs.log, job)
    for name in ("USR1", "USR2", "TERM", "CONT", "TERM"):
        subprocess.run(["scancel", f"--signal={name}", job], check=True)
    time.sleep(1.0)  # for signals to arrive that should have no effect
    gate.touch()
    jobs.completed(job)
    attempts = [len((folder / str(x)).read_text().split()) for x in range(100)]
    assert attempts == [1] * 100, jobs.log(job)


@pytest.mark.nightly("what it needs has a unit test")
@pytest.mark.parametrize("runner", ["dask", pytest.param("ray", marks=pytest.mark.ray)])
def test_a_program_that_an_item_starts_can_be_ended(jobs: Jobs, runner: str) -> None:
    """Its worker leaves such signals to the driver; a program that it starts does not inherit that."""
    job = jobs.submit(jobs.pilot("ending_programs", "-p", f"out={jobs.folder}/out", "--runner", runner), *TWO_SETS)
    jobs.completed(job)
    assert json.loads((jobs.folder / "out").read_text()) == [-signal.SIGTERM] * 4


@pytest.mark.nightly("100,000 items: a minute and more on each engine")
@pytest.mark.parametrize("runner", ["dask", "ray"])
def test_many_items_in_one_job(jobs: Jobs, runner: str) -> None:
    line = jobs.pilot("squares", "-p", "n=100000", "-p", f"out={jobs.folder}/out", "--runner", runner)
    job = jobs.submit(line, *TWO_SETS)
    jobs.completed(job)
    assert json.loads((jobs.folder / "out").read_text())["sum"] == sum(x * x for x in range(100_000))
    assert len([file for file in jobs.left() if (jobs.folder / file).is_file()]) < 20
    assert os.listdir(jobs.tmp) == []
