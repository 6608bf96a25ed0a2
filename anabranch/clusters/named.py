"""Clusters with a name: started by a command, held by a process of their own, and used by any number of programs.

    anabranch cluster start NAME --> holder (detached) --> <home>/clusters/NAME.json
    DaskRunner(cluster="NAME") ----> reads the file, takes the address that answers <--TLS--> the scheduler
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anabranch.clusters import certificates, named_file
from anabranch.clusters.addresses import first_reached
from anabranch.clusters.asking import ask, security_of
from anabranch.clusters.held import Held, clusters_folder
from anabranch.clusters.kubernetes import left_behind
from anabranch.core.errors import RunnerError
from anabranch.core.processes import host_name, process_alive
from anabranch.core.showing import Facts, Shown

if TYPE_CHECKING:
    from anabranch.clusters.held import HeldCluster

REACH_SECONDS = 10.0
END_SECONDS = 60.0


class NamedCluster(Shown):
    """A cluster that ``anabranch cluster start NAME`` has started, for programs that use it; see `core.clusters`.

    Args:
        name: as given to the command.
        home: the folder of clusters; None: anabranch's.

    Attributes:
        tunnel: the host through which it is reached; "": directly.

    Raises:
        RunnerError: there is none, it has died, or none of its addresses answers here.
        VersionMismatch: it runs another Python or another distributed.
    """

    pages = ""
    elastic = True

    def __init__(self, name: str, home: Path | None = None) -> None:
        self.name = name
        found = named_file.read(home or clusters_folder(), name)
        named_file.fitting(found)
        self.kind = str(found["kind"])
        self._tls: dict[str, str] = found["tls"]
        self.tunnel = str(found.get("tunnel", ""))
        self.scheduler_address, _ = first_reached(found["addresses"], REACH_SECONDS)
        if not self.scheduler_address and self.tunnel:
            raise RunnerError(
                f"the cluster {name!r} does not answer through the tunnel to {self.tunnel}: the tunnel is broken, or "
                f"the cluster has ended there; end the tunnel, then {named_file.reopened(found)}"
            )
        if not self.scheduler_address:
            raise RunnerError(
                f"the cluster {name!r} does not answer at {', '.join(found['addresses'])}: process {found['pid']} on "
                f"{found['host']} has died, or a firewall is between; `anabranch cluster stop {name}` clears it away"
            )

    def __repr__(self) -> str:
        return f"NamedCluster({self.name!r})"

    def facts(self) -> Facts:
        """Return what a notebook shows of it, without asking its scheduler: `status` does that."""
        rows = (("kind", self.kind, ""), ("scheduler", self.scheduler_address, ""), ("through", self.tunnel, ""))
        return Facts("NamedCluster", self.name, rows=rows)

    @property
    def security(self) -> Any:
        """The `distributed.Security` of its clients; None for a cluster without encryption."""
        return security_of(self._tls)

    @property
    def alive(self) -> bool:
        with contextlib.suppress(RunnerError):
            return bool(self.status())
        return False

    def start(self) -> None:
        """Nothing to do: it runs."""

    def close(self, timeout: float = 0.0) -> None:
        """Nothing to do: it outlives the programs that use it. `stop` ends it."""

    def scale(self, jobs: int) -> None:
        """Have so many jobs from now on, whatever there is to do."""
        self.adapt(minimum=jobs, maximum=jobs)

    def adapt(self, *, minimum: int = 0, maximum: int) -> None:
        """Have as many jobs as the work asks for, between these."""
        ask(self.scheduler_address, self._tls, "scale", minimum=minimum, maximum=maximum)

    def status(self) -> dict[str, Any]:
        """Return what there is: jobs by phase, workers, what was asked for."""
        return ask(self.scheduler_address, self._tls, "status")

    def why(self) -> str:
        """Return why it has fewer jobs than it wants, in plain words; "" when it has them."""
        return str(self.status()["why"])

    def stop(self) -> None:
        """End its jobs and itself."""
        ask(self.scheduler_address, self._tls, "stop")


def start(cluster: HeldCluster, home: Path | None = None) -> NamedCluster:
    """Start a cluster that outlives this program, under its name; raises RunnerError when the name is taken."""
    folder = home or clusters_folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if cluster.name in named_file.names(folder):
        clear_dead(folder, cluster.name)
    held = Held({**cluster.options(), "home": str(folder), "detached": True})
    held.wait(cluster.start_seconds)
    held.leave()
    return NamedCluster(cluster.name, folder)


def clear_dead(folder: Path, name: str) -> None:
    """Take the name of a cluster that has died; raises RunnerError when it lives."""
    said = named_file.text(folder, name)
    try:
        found = named_file.read(folder, name)
    except RunnerError:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            _take_keys_away(json.loads(said))
        named_file.remove(folder, name, said)
        return
    if found.get("tunnel"):
        raise RunnerError(
            f"the cluster {name!r} has a tunnel already, through {found['tunnel']}; Ctrl-C ends the command that holds "
            f"it, `kill {found['pid']}` its ssh"
        )
    raise RunnerError(
        f"the cluster {name!r} runs already, on {found['host']} as process {found['pid']}; "
        f"`anabranch cluster stop {name}` ends it"
    )


def _take_keys_away(found: dict[str, Any]) -> None:
    """Delete the certificate of a cluster, and its folder where nothing else is in it: of a tunnel nothing is."""
    folder = Path(found["folder"])
    certificates.remove(folder)
    with contextlib.suppress(OSError):
        folder.rmdir()


def logs(folder: Path, job: str | None) -> list[Path]:
    """Return the logs of a cluster: those of its jobs and its own, or that of one job.

    Args:
        folder: as the cluster's file has it.
        job: its number, as `status` has it; of a local cluster its name. A part of it finds nothing.
    """
    found = sorted(folder.glob("logs/*"))
    if job is None:
        return [*found, folder / "holder.log"]
    return [path for path in found if path.name == f"{job}.log" or path.suffix == f".o{job.partition('.')[0]}"]


def stop(name: str, home: Path | None = None) -> str:
    """End a cluster and clear away what is left of a dead one; returns a sentence on what was done."""
    folder = home or clusters_folder()
    try:
        told = named_file.text(folder, name)
        cluster = NamedCluster(name, folder)
    except RunnerError:
        if name not in named_file.names(folder):
            raise
        return _clear_away(folder, name)
    cluster.stop()
    if cluster.tunnel:  # the file there goes with the cluster, this one with the tunnel
        _take_keys_away(json.loads(told))  # the tunnel's command, which does it too, may have been killed
        named_file.remove(folder, name, told)
        return f"{name}: it was told to end, through {cluster.tunnel}; the tunnel ends too"
    end = time.monotonic() + END_SECONDS
    while name in named_file.names(folder):
        if time.monotonic() > end:
            return f"{name}: it was told to end, and has not ended after {END_SECONDS:g} s"
        time.sleep(0.1)
    return f"{name}: its jobs and its process have ended"


def _clear_away(folder: Path, name: str) -> str:
    """Remove what a cluster left that does not answer, and end its process where it is one of this machine.

    A cluster behind a tunnel stays as it is: this machine has its tunnel alone, and does not know how it is.
    """
    said, told = "was dead; its file is removed", named_file.text(folder, name)
    tunnel = "had a tunnel, which was gone; its file is removed"
    rest = "Its jobs end by themselves within a minute of running without it"
    with contextlib.suppress(OSError, ValueError, KeyError):
        found = json.loads(told)
        if found["host"] == host_name() and process_alive(int(found["pid"]), float(found["started"])):
            os.kill(int(found["pid"]), signal.SIGKILL)
            said = f"did not answer; its process {found['pid']} is killed, and its file removed"
            tunnel = f"did not answer through its tunnel, whose process {found['pid']} is killed"
        _take_keys_away(found)
        if through := found.get("tunnel"):
            said = f"{tunnel}. The cluster may live on at {through}"
            rest = f"{named_file.reopened(found)}; `anabranch cluster stop {name}` there ends the cluster"
        elif found["kind"] == "kubernetes":
            rest = left_behind.take_away(name, found["namespace"], found["context"])
    named_file.remove(folder, name, told)
    return f"{name}: {said}. {rest}"
