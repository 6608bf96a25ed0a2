"""Ray's parts of a cluster in an allocation: the head beside the driver, the node of one set.

Each is one `ray start --block` with the processes that it starts, in a process group of its own. No port is fixed, so
several of them live on one machine; and each ends alone: `ray stop` would end all of a user's Rays there.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from anabranch.clusters.addresses import own_addresses
from anabranch.core import left_to_driver
from anabranch.core.errors import RunnerError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anabranch.clusters.hub import Line
    from anabranch.clusters.rendezvous import Rendezvous
    from anabranch.clusters.shares import Set

UP_SECONDS = 120.0
LOOK_SECONDS = 0.1
CLOSE_SECONDS = 3.0
HEAD_SILENT_SECONDS = 20  # a node ends after so long without its head, should it miss the end of its line
# Blocked for all that Ray starts: the batch system tells each process of a job of its end, and workers that end by that
# take what they have not told along. The driver decides; `RayWorker` lets programs that items start have them again.
_START = (
    f"import signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, {[*map(int, left_to_driver.NUMBERS)]}); "
    "from ray.scripts.scripts import main; sys.argv[0] = 'ray'; main()"
)


def new_token() -> str:
    return secrets.token_hex(32)


def variables(token: str) -> dict[str, str]:
    """Return what each process of the cluster has to have in its environment, the driver too."""
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token, "RAY_USAGE_STATS_ENABLED": "0"}


def start_command(folder: str, ip: str, cpus: int, gpus: int, address: str = "") -> list[str]:
    """Return the command for a node, or for the head where there is no address of one."""
    where = [f"--address={address}"] if address else ["--head", "--port=0", "--include-dashboard=false"]
    return [
        sys.executable, "-P", "-c", _START, "start", *where, f"--node-ip-address={ip}", f"--num-cpus={cpus}",
        f"--num-gpus={gpus}", f"--temp-dir={own_folder(folder)}", "--min-worker-port=0", "--max-worker-port=0",
        "--disable-usage-stats", "--log-style=record", "--block",
    ]  # fmt: skip


def own_folder(folder: str) -> str:
    """Return where Ray's files are: it opens its folder to all users, so that lies in one that is not."""
    return os.path.join(folder, "r")


def outward(ip: str) -> str:
    """Return an address for a node: Ray takes the machine's own in place of loopback's, and then is not found there."""
    return own_addresses()[0] if ip.startswith("127.") else ip


class Processes:
    """A `ray start --block` with all that it starts."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self._log = log

    @classmethod
    async def start(cls, command: list[str], folder: str, env: Mapping[str, str]) -> Processes:
        os.mkdir(own_folder(folder))
        log = Path(folder, "start.log")
        with open(log, "wb") as file:  # noqa: ASYNC230 - on this node's own disk
            process = await asyncio.create_subprocess_exec(
                *command, stdin=asyncio.subprocess.DEVNULL, stdout=file, stderr=file, env=env, start_new_session=True
            )
        return cls(process, log)

    @property
    def ended(self) -> bool:
        return self._process.returncode is not None

    @property
    def up(self) -> bool:
        with contextlib.suppress(OSError):
            return "Ray runtime started" in self._log.read_text(errors="replace")
        return False

    def words(self) -> str:
        """Return the last lines that it has written."""
        with contextlib.suppress(OSError):
            return " | ".join(self._log.read_text(errors="replace").splitlines()[-3:])
        return ""

    def address(self) -> str:
        """Return where the head listens; "" while it is not up."""
        with contextlib.suppress(OSError):
            if self.up:
                return Path(own_folder(str(self._log.parent)), "ray_current_cluster").read_text().strip()
        return ""

    async def wait(self) -> int:
        return await self._process.wait()

    async def close(self) -> None:
        """End all of its processes, at once: the driver has let go of them, and they hear no gentler signal."""
        with contextlib.suppress(ProcessLookupError):
            for _ in range(int(CLOSE_SECONDS * 10)):  # those that die may still write into the folder
                os.killpg(self._process.pid, signal.SIGKILL)
                await asyncio.sleep(0.1)
        await self._process.wait()


class RayHead:
    """The head, with the workers of one set on the driver's node; none where the driver is not on a node of the job.

    Args:
        cpus, gpus: of that set.
        folder: of Ray's files.
    """

    def __init__(self, found: Rendezvous, cpus: int, gpus: int, folder: str) -> None:
        self._env = {**os.environ, **variables(found.token)}
        self._cpus, self._gpus = cpus, gpus
        self._folder = folder
        self._processes: Processes | None = None
        self._address = ""

    async def start(self, by: str) -> None:
        """Start it on the address by which the first set came; raises RunnerError."""
        command = start_command(self._folder, outward(by), self._cpus, self._gpus)
        processes = self._processes = await Processes.start(command, self._folder, self._env)
        for _ in range(int(UP_SECONDS / LOOK_SECONDS)):
            if processes.ended:
                raise RunnerError(f"Ray's head did not start: {processes.words()}")
            self._address = processes.address()
            if self._address:
                return
            await asyncio.sleep(LOOK_SECONDS)
        raise RunnerError(f"Ray's head is not up after {UP_SECONDS:.0f} s: {processes.words()}")

    def address(self, by: str) -> str:
        return self._address

    @property
    def lost(self) -> str:
        gone = self._processes is not None and self._processes.ended
        return f"Ray's head ended: {self._processes.words()}" if gone and self._processes else ""

    async def close(self) -> None:
        if self._processes is not None:
            await self._processes.close()


async def work(place: Set, line: Line, found: Rendezvous, folder: str) -> str:
    """Start a node of Ray's and wait until it has gone; returns why, "" for a usual end."""
    env = {**os.environ, **variables(found.token), "RAY_gcs_rpc_server_reconnect_timeout_s": str(HEAD_SILENT_SECONDS)}
    if place.devices:
        env["CUDA_VISIBLE_DEVICES"] = ",".join(place.devices)
    command = start_command(folder, outward(line.ours), place.cpus, len(place.devices), line.go)
    processes = await Processes.start(command, folder, env)
    try:
        while not (processes.up or processes.ended):  # noqa: ASYNC110 - what is looked at is a file
            await asyncio.sleep(LOOK_SECONDS)
        if processes.up:
            line.up()
        code = await processes.wait()
        return f"Ray's node ended with exit code {code}: {processes.words()}" if code else ""
    finally:
        await processes.close()
