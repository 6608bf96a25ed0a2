"""Where the parts of a cluster in an allocation find each other: one file in the folder that all of its nodes see.

    driver's node: hub listens on a free port --> file (mode 0600): addresses, certificate, key
    other nodes:   file --> each address is tried --> both ends show the certificate --> the line stands

The file is written beside its place and moved there, so a reader finds all of it or nothing. Each start of a job has a
name of its own for it: an earlier start's file would lead to a dead address. The certificate is made for this cluster
alone, and both ends have it: another program that happens to listen at an address is not taken for the hub, and no
other user's program gets in.
"""

from __future__ import annotations

import contextlib
import json
import os
import ssl
import tempfile
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from anabranch.core.errors import RunnerError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LOOK_SECONDS = 0.5  # between looks for the file, at first
LATEST_LOOK = 3.0


@dataclass(frozen=True, slots=True)
class Rendezvous:
    """What a node needs to reach the hub, or that there is none.

    Attributes:
        addresses: host:port, the likeliest first.
        certificate: PEM; it vouches for itself.
        key: PEM, of the certificate.
        token: the word that Ray's processes show each other.
        engine: "dask" or "ray", which the node starts; "": no node is to start anything.
    """

    addresses: tuple[str, ...]
    certificate: str
    key: str
    token: str = ""
    engine: str = ""

    def write(self, path: Path) -> None:
        """Write it in one step, readable by its owner only; raises RunnerError where it cannot be written."""
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle, new = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
            with open(handle, "w", encoding="utf-8") as file:
                json.dump(asdict(self), file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(new, path)
        except OSError as error:
            raise RunnerError(
                f"the nodes cannot be told where to meet: {path} cannot be written ({error.strerror or error})"
            ) from error

    @classmethod
    def read(cls, path: Path) -> Rendezvous | None:
        """Read it; None while it is not there."""
        try:
            with open(path, encoding="utf-8") as file:
                found: dict[str, Any] = json.load(file)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            if error.errno == 116:  # ESTALE: another client has replaced it this moment
                return None
            raise RunnerError(f"{path} cannot be read: {error.strerror or error}") from error
        return cls(tuple(found["addresses"]), found["certificate"], found["key"], found["token"], found["engine"])


def awaited(
    path: Path,
    seconds: float,
    now: Callable[[], float] = time.monotonic,
    pause: Callable[[float], object] = time.sleep,
) -> Rendezvous:
    """Return what the file says once it is there; raises RunnerError after so many seconds."""
    end, wait = now() + seconds, LOOK_SECONDS
    while (found := Rendezvous.read(path)) is None:
        if now() >= end:
            raise RunnerError(
                f"the driver has not said within {seconds:.0f} s where it listens: there is no {path}; is that folder "
                "on a file system that all nodes have?"
            )
        look_again(path.parent)
        pause(wait)
        wait = min(LATEST_LOOK, wait * 1.5)
    return found


def look_again(folder: Path) -> None:
    """Let a client of a network file system forget that a name was not there, by a file made beside it.

    It would remember that for up to a minute.
    """
    with contextlib.suppress(OSError), tempfile.TemporaryFile(dir=folder):
        pass


def both_show(found: Rendezvous, folder: str, *, server: bool) -> ssl.SSLContext:
    """Return how one end of a line proves itself and tests the other.

    Args:
        folder: of this process alone; the certificate lies there for a moment, because `ssl` reads files only.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False  # a node has many names and addresses; the certificate is this cluster's alone
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=found.certificate)
    with tempfile.NamedTemporaryFile("w", dir=folder, suffix=".pem") as file:
        file.write(found.certificate + found.key)
        file.flush()
        context.load_cert_chain(file.name)
    return context
