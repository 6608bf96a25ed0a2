"""A Slurm of three nodes, each a slurmd of its own on this machine: what one node cannot show.

    slurm_bed (munged, its slurm.conf) --copied, with other nodes--> slurmctld
                                                                     slurmd n1   127.0.0.1
                                                                     slurmd n2   127.0.0.2   a test may kill it
                                                                     slurmd n3   127.0.0.3

The nodes have two GPUs each, which are two devices that every system has: what a job is told of them is Slurm's own.
Jobs of the partition `urgent` take the place of those in `main`, which get their grace and are queued again.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.beds import free_ports
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMES = ("n1", "n2", "n3")
_OWN = re.compile(r"^(NodeName|PartitionName|Slurm(ctldPort|dPort|dSpoolDir|dPidFile|dTimeout))=.*\n", re.M)
PATIENCE = 120.0  # seconds, for a node that starts or fails


class SlurmNodes:
    """The servers of a Slurm with several nodes.

    Args:
        cpus: processors of each node, in Slurm's eyes.
        memory: MiB of each.

    Attributes:
        conf: the path of slurm.conf.
    """

    def __init__(self, folder: Path, pattern: str, *, cpus: int = 2, memory: int = 4000) -> None:
        self.folder = folder
        self.conf = folder / "slurm.conf"
        self._servers: dict[str, subprocess.Popen[bytes]] = {}
        base = free_ports(17100, 1 + len(NAMES))
        old = re.search(r"^StateSaveLocation=(.*)/state$", pattern, re.M)
        assert old is not None, pattern
        kept = _OWN.sub("", pattern)
        for name in ("StateSaveLocation", "SlurmctldPidFile", "JobCompLoc"):
            kept = re.sub(rf"^{name}={re.escape(old[1])}", f"{name}={folder}", kept, flags=re.M)
        nodes = [
            f"NodeName={name} NodeHostname={socket.gethostname()} NodeAddr=127.0.0.{n} Port={base + n} CPUs={cpus} "
            f"Gres=gpu:2 RealMemory={memory} State=UNKNOWN\n"
            for n, name in enumerate(NAMES, 1)
        ]
        self.conf.write_text(
            f"{kept}SlurmctldPort={base}\nSlurmdSpoolDir={folder}/spool-%n\nSlurmdPidFile={folder}/%n.pid\n"
            "SlurmdTimeout=10\nGresTypes=gpu\nPreemptType=preempt/partition_prio\nPreemptMode=REQUEUE\n"
            f"{''.join(nodes)}"
            "PartitionName=main Nodes=ALL Default=YES PriorityTier=1 GraceTime=300 State=UP\n"
            "PartitionName=urgent Nodes=ALL PriorityTier=10 PreemptMode=OFF State=UP\n"
            "PartitionName=short Nodes=ALL PriorityTier=1 State=UP\n"
        )
        (folder / "gres.conf").write_text("Name=gpu File=/dev/null\nName=gpu File=/dev/zero\n")
        (folder / "state").mkdir()
        (folder / "jobcomp.txt").touch()
        for name in NAMES:
            (folder / f"spool-{name}").mkdir()

    def start(self) -> None:
        """Start all of them, and wait until the nodes take jobs."""
        self._start("slurmctld", "-i")
        for name in NAMES:
            self.start_node(name)
        for name in NAMES:
            self.wait_for(name, "idle")

    def start_node(self, name: str) -> None:
        self._start("slurmd", "-N", name)

    def _start(self, program: str, *words: str) -> None:
        key = words[-1]
        with (self.folder / f"{program}{key}.log").open("ab") as log:
            command = [shutil.which(program) or f"/usr/sbin/{program}", "-D", *words, "-f", str(self.conf)]
            place = self._spool(key) if key in NAMES else self.folder  # where its watchers of jobs are, too
            self._servers[key] = subprocess.Popen(
                command, stdout=log, stderr=log, env=self._env(), cwd=place, start_new_session=True
            )

    def kill_node(self, name: str) -> None:
        """Take a node away with all that runs on it, as a power cut does; Slurm hears nothing of it."""
        self._servers[name].kill()
        self._servers.pop(name).wait()
        for pid in self._of(name):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _of(self, name: str) -> list[int]:
        """The processes of jobs there; those with which Slurm watches them come first, so that they cannot tell."""
        watching, working = [], []
        for place in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                environment = (place / "environ").read_bytes()
                if str(self.folder).encode() not in environment + (place / "cmdline").read_bytes():
                    continue
                watches = (place / "comm").read_text().startswith("slurmstepd")
                if watches and (place / "cwd").readlink() == self._spool(name):
                    watching.append(int(place.name))
                elif f"SLURMD_NODENAME={name}\0".encode() in environment:
                    working.append(int(place.name))
        return [*watching, *working]

    def _spool(self, name: str) -> Path:
        return self.folder / f"spool-{name}"

    def state(self, name: str) -> str:
        done = subprocess.run(["sinfo", "-h", "-n", name, "-o", "%T"], env=self._env(), capture_output=True, text=True)
        return done.stdout.split()[0] if done.stdout.strip() else ""

    def _env(self) -> dict[str, str]:
        return {**os.environ, "SLURM_CONF": str(self.conf)}

    def wait_for(self, name: str, state: str) -> None:
        """Wait until a node is in a state, as sinfo names it."""
        until(
            lambda: self.state(name) == state,
            lambda: f"node {name} {self.state(name)!r}, not {state!r}:\n{self.log()}",
            seconds=PATIENCE,
            pause=0.2,
        )

    def log(self) -> str:
        return "\n".join(file.read_text(errors="replace")[-2000:] for file in self.folder.glob("*.log"))

    def close(self) -> None:
        for server in self._servers.values():
            server.kill()
            server.wait()
        for name in NAMES:
            for pid in self._of(name):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def started(slurm_bed: dict[str, str], **size: int) -> Iterator[SlurmNodes]:
    """Servers with nodes of this size, which end with the block."""
    if os.environ.get("SLURM_CONF"):
        pytest.skip("SLURM_CONF names a cluster, whose nodes no test kills")
    folder = Path(tempfile.mkdtemp(prefix="anabranch-nodes-"))
    nodes = SlurmNodes(folder, Path(slurm_bed["SLURM_CONF"]).read_text(), **size)
    try:
        nodes.start()
        yield nodes
    finally:
        nodes.close()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def slurm_servers(slurm_bed: dict[str, str]) -> Iterator[SlurmNodes]:
    with started(slurm_bed) as nodes:
        yield nodes


@pytest.fixture(scope="module")
def slurm_site(slurm_bed: dict[str, str]) -> Iterator[SlurmNodes]:
    """Three nodes of 32 processors and 64 GB in Slurm's eyes, as a campus has them; one partition is `short`."""
    with started(slurm_bed, cpus=32, memory=64_000) as nodes:
        yield nodes


@pytest.fixture
def slurm_nodes(slurm_servers: SlurmNodes, slurm: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlurmNodes]:
    """Three nodes that are up; this process and its children submit there. What the test leaves in the queue goes."""
    monkeypatch.setenv("SLURM_CONF", str(slurm_servers.conf))
    yield slurm_servers
    subprocess.run(["scancel", "--me"], env={**os.environ, "SLURM_CONF": str(slurm_servers.conf)}, capture_output=True)
