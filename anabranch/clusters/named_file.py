"""The file of a cluster with a name: where it is, for programs that say ``DaskRunner(cluster="NAME")``.

    <home>/clusters/NAME.json (mode 0600): kind, addresses, certificate, machine and process of its holder, versions
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from anabranch.core.errors import RunnerError, VersionMismatch
from anabranch.core.processes import host_name, process_alive, process_started

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def versions() -> dict[str, str]:
    """Return what has to be the same for a cluster and its programs."""
    return {"Python": ".".join(map(str, sys.version_info[:2])), "distributed": version("distributed")}


def path(home: Path, name: str) -> Path:
    return home / f"{name}.json"


def write(home: Path, options: dict[str, Any], words: dict[str, Any], folder: Path) -> str:
    """Write the file at once, and return its text: a reader sees all of it, or none.

    Raises:
        RunnerError: there is one already. Of several starts at once, one has the name, and the others hear of it.
    """
    told = {
        **words, "name": options["name"], "kind": options["kind"], "spec": options["spec"], "folder": str(folder),
        **process_of(os.getpid(), process_started(os.getpid())), "versions": versions(),
    }  # fmt: skip
    return place(home, options["name"], told)


def process_of(pid: int, started: float) -> dict[str, Any]:
    """Return the part of the file that says which process of this machine the cluster lives with."""
    return {"host": host_name(), "pid": pid, "started": started}


def place(home: Path, name: str, told: dict[str, Any]) -> str:
    """Do as `write`, with all that the file says."""
    text = json.dumps(told, indent=1)
    handle, beside = tempfile.mkstemp(suffix=".new", dir=home)  # mode 0600
    try:
        with open(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.link(beside, path(home, name))  # unlike a move, it replaces nothing
    except FileExistsError:
        raise RunnerError(
            f"the cluster {name!r} runs already, started a moment ago by another program; "
            f"`anabranch cluster stop {name}` ends it"
        ) from None
    finally:
        os.unlink(beside)
    return text


def text(home: Path, name: str) -> str:
    """Return what the file says, as it stands there; "" where there is none, or it cannot be read."""
    with contextlib.suppress(OSError, ValueError):
        return path(home, name).read_text(encoding="utf-8")
    return ""


def remove(home: Path, name: str, said: str) -> None:
    """Remove the file while it says this: another cluster may have the name by now."""
    with contextlib.suppress(OSError):
        if text(home, name) == said:
            path(home, name).unlink()


def read(home: Path, name: str) -> dict[str, Any]:
    """Return what the file says; raises RunnerError when there is none, it cannot be read, or its holder is dead."""
    try:
        found: dict[str, Any] = json.loads(path(home, name).read_text(encoding="utf-8"))
        dead = found["host"] == host_name() and not process_alive(int(found["pid"]), float(found["started"]))
    except FileNotFoundError:
        known = ", ".join(names(home)) or "none"
        raise RunnerError(
            f"there is no cluster {name!r} (known: {known}); `anabranch cluster start {name} ...` starts one"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunnerError(f"the file {path(home, name)} of the cluster {name!r} cannot be read: {error}") from None
    if dead and found.get("tunnel"):
        raise RunnerError(
            f"the tunnel to the cluster {name!r} is gone, and the cluster may live on at {found['tunnel']}: "
            f"{reopened(found)}"
        )
    if dead:
        raise RunnerError(
            f"the cluster {name!r} has died: its process {found['pid']} is gone from {found['host']}; "
            f"`anabranch cluster stop {name}` clears it away, then start it again"
        )
    return found


def reopened(found: Mapping[str, Any]) -> str:
    """Return how one comes to a cluster again whose tunnel is gone."""
    return f"`anabranch cluster tunnel {found['name']} {found['tunnel']}` opens it again"


def names(home: Path) -> list[str]:
    """Return the clusters that have a file, dead ones too."""
    return sorted(one.stem for one in home.glob("*.json"))


def fitting(found: dict[str, Any]) -> None:
    """Raise VersionMismatch when the cluster runs other versions than this program."""
    ours, theirs = versions(), found.get("versions", {})
    differ = [f"{what} {one} here, {theirs.get(what)} there" for what, one in ours.items() if one != theirs.get(what)]
    if differ:
        raise VersionMismatch(
            f"this program and the cluster {found.get('name')!r} do not fit: {'; '.join(differ)}; stop it, and start "
            f"it from this environment"
        )
