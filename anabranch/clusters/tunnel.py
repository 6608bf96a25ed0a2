"""The way from a laptop to a cluster with a name on a campus: over ssh, by its login node.

    laptop                                                        HOST, the login node
    anabranch cluster tunnel NAME HOST --ssh: tar of two things--> NAME.json, the certificate
        <home>/clusters/NAME.json: 127.0.0.1:PORT
    DaskRunner(cluster="NAME") --> 127.0.0.1:PORT --ssh -L-------> the scheduler, wherever it is <--> workers

A certificate is looked at for its key, not for a host's name, so it holds at 127.0.0.1 too. Programs speak with the
scheduler alone: values of workers come through it.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
import shutil
import socket
import subprocess
import tarfile
import time
import uuid
from typing import TYPE_CHECKING, Any, NamedTuple

from anabranch.clusters import certificates, named_file
from anabranch.clusters.addresses import connects
from anabranch.clusters.asking import ask
from anabranch.clusters.held import clusters_folder
from anabranch.clusters.named import clear_dead
from anabranch.core.errors import RunnerError
from anabranch.core.processes import process_started

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

OPEN_SECONDS = 120.0  # a person may have to type a password
LOOK_SECONDS = 0.2
END_SECONDS = 5.0
_ALIVE = ("ExitOnForwardFailure=yes", "ServerAliveInterval=15", "ServerAliveCountMax=4")
_MARK = b"anabranch: "  # a login shell may print something before
_NONE = 3  # exit code of the words below where there is no such cluster


class Way(NamedTuple):
    """How to get there.

    Attributes:
        name: of the cluster.
        host: as `ssh` takes it.
        options: of ssh, each as after ``-o``.
        home: anabranch's there, where ~ and ~NAME begin with a home of that machine; "": the usual one.
    """

    name: str
    host: str
    options: tuple[str, ...] = ()
    home: str = ""

    def fetching(self) -> list[str]:
        """Return the command that prints the cluster's file and certificate, in a tar."""
        home = _word(self.home) if self.home else '"${ANABRANCH_HOME:-$HOME/.anabranch}"'
        name = self.name
        keys = " ".join(f"{name}-*/{what}.pem" for what in certificates.PARTS)
        words = (
            f"cd {home}/clusters && if test -f {name}.json; then printf '{_MARK.decode()}'; "
            f"exec tar -cf - {name}.json $(ls -d {keys} 2>/dev/null); else ls *.json >&2; exit {_NONE}; fi"
        )
        return ["ssh", *self._words(), "-T", self.host, f"exec sh -c {shlex.quote(words)}"]

    def forwarding(self, ports: Sequence[tuple[int, str]]) -> list[str]:
        """Return the command that forwards ports of this machine, each to an address there."""
        pairs = [word for port, there in ports for word in ("-L", f"127.0.0.1:{port}:{there}")]
        return ["ssh", *self._words(*_ALIVE), "-N", "-T", *pairs, self.host]

    def _words(self, *more: str) -> list[str]:
        return [word for option in (*self.options, *more) for word in ("-o", option)]


def _word(path: str) -> str:
    """Return a path as a word of a shell, which replaces a ~ only where it and its slash are not quoted."""
    if (match := re.fullmatch(r"(~[A-Za-z0-9._-]*/?)(.*)", path, re.DOTALL)) is None:
        return shlex.quote(path)
    return match[1] + (shlex.quote(match[2]) if match[2] else "")


def unpacked(data: bytes, name: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Return a cluster's file and the texts of its certificate ("ca", "cert", "key"; {} without encryption).

    Raises:
        RunnerError: the answer is not what was asked for.
    """
    try:
        with tarfile.open(fileobj=io.BytesIO(data[data.index(_MARK) + len(_MARK) :])) as archive:
            found: dict[str, Any] = json.loads(_text(archive, f"{name}.json"))
            inside = str(found["folder"]).rstrip("/").rpartition("/")[2]
            named = certificates.PARTS if found["tls"] else ()
            return found, {what: _text(archive, f"{inside}/{what}.pem") for what in named}
    except (ValueError, KeyError, TypeError, tarfile.TarError) as error:
        raise RunnerError(f"what the other side says of the cluster {name!r} cannot be read: {error}") from error


def _text(archive: tarfile.TarFile, name: str) -> str:
    file = archive.extractfile(name)  # by its exact name, and never to a disk
    if file is None:
        raise ValueError(f"{name} is not a file")
    return file.read().decode()


class Tunnel:
    """A tunnel that stands.

    Attributes:
        status: what the cluster said through it.
        line: the command of ssh.
    """

    def __init__(self, process: subprocess.Popen[bytes], line: list[str], status: dict[str, Any]) -> None:
        self._process = process
        self.line = line
        self.status = status
        self._home, self._name, self._said = clusters_folder(), "", ""

    def named(self, name: str, told: dict[str, Any]) -> None:
        """Let programs of this machine find the cluster by its name, as long as the tunnel stands."""
        self._name, self._said = name, named_file.place(self._home, name, told)

    def wait(self) -> str:
        """Wait until the tunnel ends, and return why: ssh has ended, or the cluster was stopped through it."""
        while (code := self._process.poll()) is None:
            if named_file.text(self._home, self._name) != self._said:
                return "the cluster was stopped"
            time.sleep(LOOK_SECONDS)
        return f"ssh has ended with code {code}"

    def forget(self) -> None:
        named_file.remove(self._home, self._name, self._said)


@contextlib.contextmanager
def opened(way: Way, port: int = 0) -> Iterator[Tunnel]:
    """Open a tunnel, and close it at the end of the block.

    Args:
        port: of this machine; 0: a free one.

    Raises:
        RunnerError: there is no such cluster, no way to it, or it does not answer.
        VersionMismatch: it runs another Python or another distributed.
    """
    found, keys = fetched(way)
    named_file.fitting(found)
    home = clusters_folder()
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    if way.name in named_file.names(home):
        clear_dead(home, way.name)
    folder = home / f"{way.name}-{uuid.uuid4().hex[:8]}"
    folder.mkdir(mode=0o700)
    with contextlib.ExitStack() as to_the_end:
        to_the_end.callback(shutil.rmtree, folder, ignore_errors=True)
        tls = certificates.place(folder, keys) if keys else {}
        targets = [address.partition("://")[2] for address in found["addresses"]]
        ports = [(port if port and not n else _free_port(), there) for n, there in enumerate(targets)]
        line = way.forwarding(ports)
        process = subprocess.Popen(line, stdin=subprocess.DEVNULL)
        to_the_end.callback(_end, process)
        scheme = "tls" if tls else "tcp"
        address, status = _answering(process, [f"{scheme}://127.0.0.1:{one}" for one, _ in ports], tls, way)
        tunnel = Tunnel(process, line, status)
        tunnel.named(way.name, {
            **found, "addresses": [address], "tls": tls, "folder": str(folder), "tunnel": way.host,
            **named_file.process_of(process.pid, process_started(process.pid)),
        })  # fmt: skip
        to_the_end.callback(tunnel.forget)
        yield tunnel


def fetched(way: Way) -> tuple[dict[str, Any], dict[str, str]]:
    """Return what the other side has of a cluster; raises RunnerError."""
    try:
        done = subprocess.run(way.fetching(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    except OSError as error:
        raise RunnerError(f"ssh cannot be called here: {error.strerror or error}") from error
    where = f"{way.home or '~/.anabranch'}/clusters on {way.host}"
    if done.returncode == _NONE:
        raise RunnerError(f"there is no cluster {way.name!r} in {where}: `anabranch cluster start` there starts one")
    if done.returncode == 255:
        raise RunnerError(f"ssh does not reach {way.host}; its words are above")
    if done.returncode:
        raise RunnerError(f"{where} cannot be read (code {done.returncode}): say where it is, --home PATH")
    return unpacked(done.stdout, way.name)


def _answering(
    process: subprocess.Popen[bytes], addresses: Sequence[str], tls: dict[str, str], way: Way
) -> tuple[str, dict[str, Any]]:
    """Return the first address behind which the cluster answers, and its answer."""
    end = time.monotonic() + OPEN_SECONDS
    while not connects(addresses[0]):
        if process.poll() is not None:
            raise RunnerError(f"ssh to {way.host} ended with code {process.returncode}; its words are above")
        if time.monotonic() > end:
            raise RunnerError(f"the tunnel through {way.host} does not open within {OPEN_SECONDS:g} s")
        time.sleep(LOOK_SECONDS)
    for address in addresses:
        with contextlib.suppress(RunnerError):
            return address, ask(address, tls, "status")
    raise RunnerError(
        f"{way.host} is reached, but from there the cluster {way.name!r} does not answer: `anabranch cluster status "
        f"{way.name}` there says why"
    )


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(END_SECONDS)
    if process.poll() is None:
        process.kill()
        process.wait()
