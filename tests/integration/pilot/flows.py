"""Flows for pilots."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

from anabranch import ProcessRunner, flow, run_step, task


@task
def square(x: int) -> int:
    return x * x


@task
def place(x: int) -> dict[str, object]:
    """Where an item ran, for a while long enough that all workers get some."""
    time.sleep(0.05)
    return {
        "rank": os.environ.get("SLURM_PROCID"),
        "step": os.environ.get("SLURM_STEP_ID"),
        "node": os.environ.get("SLURMD_NODENAME"),
        "pid": os.getpid(),
        "cpus": len(os.sched_getaffinity(0)),
        "tmp": os.environ.get("TMPDIR"),
    }


@flow
def squares(n: int, out: str) -> int:
    values = square.map(range(n)).result()
    assert values == [x * x for x in range(n)]
    places = place.map(range(40)).result()
    Path(out).write_text(json.dumps({"sum": sum(values), "places": places, "driver": os.getpid()}))
    return sum(values)


@flow(runner="ray")
def both_ranks(seconds: float) -> None:
    """End once items have run in two tasks of the step: Ray's second node comes when the flow runs already."""
    found, end = set[object](), time.monotonic() + seconds
    while len(found) < 2:
        assert time.monotonic() < end, found
        found |= {one["rank"] for one in place.map(range(20)).result()}


@flow
def on_nodes(count: int, seconds: float, out: str) -> None:
    """End once items have run on so many nodes: some join when the flow runs already."""
    found, end = set[object](), time.monotonic() + seconds
    while len(found) < count:
        assert time.monotonic() < end, found
        found |= {one["node"] for one in place.map(range(20)).result()}
    Path(out).write_text(json.dumps(sorted(map(str, found))))


@task(gpus=1)
def device(x: int) -> str:
    time.sleep(0.05)
    return os.environ.get("CUDA_VISIBLE_DEVICES", "none")


@flow
def devices(out: str) -> None:
    Path(out).write_text(json.dumps(device.map(range(40)).result()))


@task
def noted(x: int, folder: str, gate: str) -> int:
    """Leave a line for each attempt; items from 50 on wait for the gate."""
    with open(f"{folder}/{x}", "a") as file:
        file.write(f"{os.environ.get('SLURM_RESTART_COUNT', '0')}\n")
    while x >= 50 and not os.path.exists(gate):
        time.sleep(0.1)
    return x


@flow
def gated(folder: str, gate: str, out: str) -> int:
    found = sum(noted.map(range(100), folder, gate, chunk=1).result())
    Path(out).write_text(str(found))
    return found


@task
def hold(x: int, folder: str) -> int:
    Path(folder, str(os.getpid())).touch()
    while True:
        time.sleep(0.2)


@flow
def held(folder: str) -> None:
    Path(folder, "driver").write_text(str(os.getpid()))
    hold.map(range(8), folder, chunk=1).wait()


@task
def counted(x: int, folder: str) -> int:
    """Leave four bytes in this process's file, as the last thing that an item does."""
    time.sleep(0.001)
    start = os.environ.get("SLURM_RESTART_COUNT", "0")
    with open(f"{folder}/{start}-{os.getpid()}", "ab", buffering=0) as file:
        file.write(x.to_bytes(4, "little"))
    return 3 * x


@flow
def counting(n: int, folder: str, out: str) -> int:
    found = sum(counted.map(range(n), folder).result())
    Path(out).write_text(str(found))
    return found


@task
def ends_a_program(x: int) -> int:
    with subprocess.Popen(["sleep", "200"]) as child:
        child.terminate()
        return child.wait(60)


@flow
def ending_programs(out: str) -> None:
    Path(out).write_text(json.dumps(ends_a_program.map(range(4)).result()))


@task
def ranks(case: str) -> list[str]:
    words = 'echo "$1 rank $SLURM_PROCID of $SLURM_NTASKS on $(nproc)"'
    return sorted(run_step(["sh", "-c", words, "sh", case], ntasks=3).splitlines())


@flow
def stepped(out: str) -> None:
    Path(out).write_text(json.dumps(ranks.map(["a", "b"]).result()))


@task
def two_cpus(case: int, folder: str, gate: str) -> None:
    Path(folder, f"item{case}").touch()
    until_open = 'while [ ! -e "$3" ]; do sleep 0.1; done'
    words = f'echo + >> "$3.log"; touch "$1/$2-$SLURM_PROCID"; {until_open}; echo - >> "$3.log"'
    run_step(["sh", "-c", words, "sh", folder, str(case), gate], ntasks=2)


@task
def beside(folder: str) -> None:
    Path(folder, "beside").touch()


@flow(runner=ProcessRunner(max_workers=4))  # as many as Slurm has processors, whatever the machine has
def side_by_side(folder: str, gate: str, cpus: int) -> None:
    """Three steps of two processors each; with `cpus` the dispatcher counts them, without Slurm does."""
    chosen = two_cpus.with_options(cpus=cpus) if cpus else two_cpus
    steps = chosen.map(range(3), folder, gate, chunk=1)
    beside.submit(folder).wait()  # on a worker that is free
    steps.result()


@flow
def timed(folder: str, gate: str) -> None:
    """End steps by a time limit until one had begun before it."""
    for seconds in (3.0, 10.0, 30.0):
        two_cpus.with_options(timeout_seconds=seconds).submit(0, folder, gate).wait()
        if (Path(folder) / "0-0").exists():
            return


@task
def refused() -> None:
    run_step(["sh", "-c", "echo from $SLURM_PROCID; exit $((SLURM_PROCID + 3))"], ntasks=2)


@flow
def failing() -> str:
    return str(refused.submit().exception())


@task
def ranks_apart(gpus: int) -> list[str]:
    words = 'echo "$SLURMD_NODENAME ${CUDA_VISIBLE_DEVICES:-none}"'
    said = run_step(["sh", "-c", words], ntasks=2, gpus_per_task=gpus, options=["--ntasks-per-node=1"])
    return sorted(said.splitlines())


@flow
def stepped_apart(gpus: int, out: str) -> None:
    Path(out).write_text(json.dumps(ranks_apart.map([gpus, gpus]).result()))
