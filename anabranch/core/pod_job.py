"""What travels to the pod of a flow's job, and the line by which the pod tells how its run ended.

    submit --Parcel, as one line of text--> the pod's environment --> `anabranch pod`
       ^------------- the last line of the log: `ended_line` -------------'

The pod sees neither the folder of the job nor, unless it is shared, the record of the machine that submitted it.
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from dataclasses import asdict
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from anabranch.core.errors import LaunchError
from anabranch.core.incarnations import POD_UID as POD_UID
from anabranch.core.job_file import JobFile
from anabranch.core.secrets import mask
from anabranch.core.states import NAMES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, MutableMapping

VARIABLE = "ANABRANCH_POD_JOB"  # with the parcel
POD_NAME, POD_NAMESPACE = "ANABRANCH_POD_NAME", "ANABRANCH_POD_NAMESPACE"
NODE = "ANABRANCH_POD_NODE"
AFTER = "ANABRANCH_POD_AFTER"  # the incarnation that the cluster took away, for the pod that goes on with its run
JOB_NAME, JOB_UID = "ANABRANCH_JOB_NAME", "ANABRANCH_JOB_UID"
LONGEST = 110_000  # characters; Linux gives a variable 131072 bytes
MOST = 1_000_000  # characters; a ConfigMap has 1 MiB
LEFT = 75  # the exit code of a driver that leaves its run to be gone on with
REPLACED = 76  # that of a pod in the place of another that has begun the run
_END = "anabranch: the run has ended: "
_FORMAT = 2


class Parcel(NamedTuple):
    """The job of one run, as its pod gets it.

    Attributes:
        file: with the run's id and names.
        words: parameters, as NAME=VALUE.
        place: of the flow in the pod, as FILE:FLOW or MODULE:FLOW; with `files` or `storage` below these.
        files: texts by path, the flow's file and what it imports; empty: the flow is elsewhere.
        storage: the reference to the code, as `documents.storage` has it; None: it is in the image.
        runner: where tasks run; "": as the flow and the pod have it.
        versions: of Python and anabranch where it was submitted.
        once: the pod asks the API whether another pod of its Job has begun the run.
    """

    file: JobFile
    words: tuple[str, ...]
    place: str
    files: Mapping[str, str] = MappingProxyType({})
    storage: dict[str, Any] | None = None
    runner: str = ""
    versions: str = ""
    once: bool = False

    def packed(self) -> str:
        """Return the parcel as one line. Raises LaunchError where it is too large to travel."""
        told = {**self._asdict(), "format": _FORMAT, "file": asdict(self.file), "files": dict(self.files)}
        text = base64.b64encode(zlib.compress(json.dumps(told).encode(), 9)).decode()
        if len(text) > MOST:
            large = sorted(self.files, key=lambda path: -len(self.files[path]))[:3]
            names = f" (the largest files: {', '.join(large)})" if large else ""
            raise LaunchError(
                f"the flow's files and its parameters are {len(text):,} characters once they are packed, and at most "
                f"{MOST:,} can travel{names}: put the code into the image (--in-image=/app/flow.py, or a module that "
                "is in it), name its storage (--from=git+https://...), or pass a path or an address as a parameter"
            )
        return text


def unpacked(text: str) -> Parcel:
    """Return the parcel of a line. Raises LaunchError for another text, or a parcel of a newer anabranch."""
    try:
        told = json.loads(zlib.decompress(base64.b64decode(text)))
        if told["format"] != _FORMAT:
            raise LaunchError(
                f"the job was submitted by another anabranch ({told.get('versions')}): give the image the same version"
            )
        return Parcel(
            JobFile(**told["file"]), tuple(told["words"]), told["place"], told["files"], told["storage"],
            told["runner"], told["versions"], told["once"],
        )  # fmt: skip
    except (ValueError, KeyError, TypeError, zlib.error) as error:
        raise LaunchError(f"{VARIABLE} holds no job: {error!r}") from error


def parts_of(text: str) -> dict[str, str]:
    """Return the variables that hold a line together, each as long as a variable may be: at most ten, by `MOST`."""
    return {f"{VARIABLE}_{at // LONGEST}": text[at : at + LONGEST] for at in range(0, len(text), LONGEST)}


def taken_from(environ: MutableMapping[str, str]) -> str:
    """Take a parcel's line, whole or in parts, out of the variables of a pod: no process of the flow needs it."""
    text = environ.pop(VARIABLE, "")
    names = sorted(name for name in environ if re.fullmatch(rf"{VARIABLE}_\d", name))
    return text or "".join(environ.pop(name) for name in names)


def ended_line(state: int, name: str, message: str) -> str:
    """Return the line that tells how a run ended."""
    return _END + json.dumps({"state": state, "name": name, "message": mask(message)[:2000]})


def end_of(lines: Iterable[str]) -> tuple[int, str, str] | None:
    """Return state, its name and message of the last line that tells an end; None where none does."""
    for line in reversed(list(lines)):
        if line.startswith(_END):
            try:
                told = json.loads(line.removeprefix(_END))
                state = int(told["state"])
                return (state, str(told["name"]), str(told["message"])) if state in range(len(NAMES)) else None
            except (ValueError, KeyError, TypeError):
                return None
    return None
