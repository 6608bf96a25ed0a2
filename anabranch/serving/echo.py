"""What an agent's jobs write, shown where the agent runs: lines of their logs, as they come."""

from __future__ import annotations

import codecs
import os
import sys
from typing import TYPE_CHECKING, TextIO

from anabranch.agents.holding import ENDED
from anabranch.agents.words import Seen, Started
from anabranch.launch.script import LOG

if TYPE_CHECKING:
    from anabranch.agents.words import Event
    from anabranch.core.launching import Reference

_PIECE = 1 << 16  # bytes of one log that are shown at a time
_MOST = 16  # such pieces a look: a job that writes faster is read in turn with the others


class Echo:
    """Shows logs of jobs; called with each event of an agent, in its thread."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out
        self._followed: dict[Reference, _Followed] = {}

    def __call__(self, event: Event) -> None:
        if isinstance(event, Started):
            self._followed.setdefault(event.reference, _Followed(event.reference))
        elif isinstance(event, Seen):
            for reference, sight in event.sights.items():
                followed = self._followed.get(reference)
                if followed is not None:
                    if sight.phase in ENDED:
                        del self._followed[reference]
                    self._write(followed.lines(last=sight.phase in ENDED))

    def _write(self, text: str) -> None:
        if text:
            out = self._out or sys.stdout
            encoding = getattr(out, "encoding", None) or "utf-8"
            out.write(text.encode(encoding, "replace").decode(encoding))  # a letter that it cannot show is a ?
            out.flush()


class _Followed:
    """One log, and how far it was shown."""

    def __init__(self, reference: Reference) -> None:
        self._path = os.path.join(reference.folder, LOG)
        self._at = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""

    def lines(self, *, last: bool) -> str:
        """Return the whole lines that are new; with `last` what there is."""
        text = self._rest + "".join(self._pieces())
        whole, newline, self._rest = text.rpartition("\n")
        if last and self._rest:
            whole, self._rest = f"{text}\n", ""
            return whole
        return whole + newline

    def _pieces(self) -> list[str]:
        found: list[str] = []
        try:
            with open(self._path, "rb") as file:
                file.seek(self._at)
                while len(found) < _MOST and (piece := file.read(_PIECE)):
                    self._at += len(piece)
                    found.append(self._decoder.decode(piece))
        except OSError:  # not there yet, or gone with its folder
            pass
        return found
