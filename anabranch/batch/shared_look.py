"""One look at a queue for all programs of a user on a host: sites slow down or ban users that ask more often.

    program A --wants 17, 18--.                          .--> seen of 17, 18
                               \\                        /
                                file: wanted, seen, when --- the first to find the answer too old asks, for all
                               /                        \\
    program B --wants 19------'                          '--> seen of 19

A program that finds a young answer gets it, and perhaps nothing yet of a job that was started since.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from typing import IO, TYPE_CHECKING, Any, Protocol, TypedDict

from anabranch.core.errors import LaunchError
from anabranch.core.launching import Phase, Reference, Sight
from anabranch.core.processes import host_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

EVERY = 30.0  # seconds between two questions
_WANTED = 20  # times as long, a job is asked for that no program has wanted since


class _Known(TypedDict):
    asked: float
    wanted: dict[str, float]  # Unix seconds of the last wish, by reference
    seen: dict[str, list[Any]]


class Asker(Protocol):
    """Asks one infrastructure: a launcher, or a batch system."""

    def look(self, references: Iterable[Reference]) -> dict[Reference, Sight]:
        """Return what is seen of each job, by one question for all of them. Raises LaunchError for no answer."""
        ...


def file_of(home: Path, kind: str) -> Path:
    """Return the file that the programs of a home share on this host, for one kind of queue."""
    return home / "jobs" / f".queue-{kind}-{host_name()}"


class SharedLook:
    """Looks at jobs through a file that the programs of a user on one host share.

    Args:
        asker: asked where the answer is too old.
        file: see `file_of`; its folder is there, and it is made, for its owner alone.
        every: seconds between two questions to the infrastructure, by any program.
        now: the time of day.
    """

    def __init__(
        self, asker: Asker, file: Path, *, every: float = EVERY, now: Callable[[], float] = time.time
    ) -> None:
        self._asker = asker
        self._file = file
        self._every = every
        self._now = now

    def look(self, references: Iterable[Reference], *, ask: bool = True) -> dict[Reference, Sight]:
        """Return what is known of these jobs; a job that no program has asked for yet is left out.

        Args:
            ask: whether to ask the infrastructure where the answer is too old.

        Raises:
            LaunchError: the infrastructure did not answer; it is asked again at the earliest after `every` seconds.
        """
        mine = [_text(reference) for reference in references]
        now = self._now()
        with self._opened() as known:
            self._forget(known, now)
            known["wanted"].update(dict.fromkeys(mine, now))
            open_ones = [text for text in known["wanted"] if not _over(known, text)]
            old = not 0 <= now - known["asked"] < self._every
            due = ask and old and any(text in open_ones for text in mine)
            if due:
                known["asked"] = now  # before the answer: no other program asks meanwhile
        if due:
            answer = self._asker.look([_reference(text) for text in open_ones])
            with self._opened() as known:
                known["seen"].update({_text(one): _packed(seen) for one, seen in answer.items()})
        return {_reference(text): _unpacked(known["seen"][text]) for text in mine if text in known["seen"]}

    def _forget(self, known: _Known, now: float) -> None:
        for text, when in list(known["wanted"].items()):
            if now - when >= _WANTED * self._every:
                del known["wanted"][text]
                known["seen"].pop(text, None)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[_Known]:
        """Lend the content of the file, alone; what is changed in it is written."""
        try:
            number = os.open(self._file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise LaunchError(f"{self._file} cannot be written: {error.strerror or error}") from error
        with open(number, "r+", encoding="utf-8") as file:
            _lock(file)
            known = _read(file.read())
            yield known
            file.seek(0)
            file.write(json.dumps(known))
            file.truncate()


def _over(known: _Known, text: str) -> bool:
    seen = known["seen"].get(text)
    return seen is not None and Phase(seen[0]) in (Phase.ENDED, Phase.GONE)


def _lock(file: IO[str]) -> None:
    """Wait for the file's lock; a file system without locks has none: at worst two programs ask at once."""
    with contextlib.suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_EX)


def _read(text: str) -> _Known:
    """Read the content of the file; one that was cut off in the middle of a write is as good as none."""
    try:
        found = json.loads(text)
        return {"asked": float(found["asked"]), "wanted": dict(found["wanted"]), "seen": dict(found["seen"])}
    except (ValueError, KeyError, TypeError):
        return {"asked": 0.0, "wanted": {}, "seen": {}}


def _text(reference: Reference) -> str:
    return json.dumps(reference)


def _reference(text: str) -> Reference:
    return Reference(*json.loads(text))


def _packed(seen: Sight) -> list[Any]:
    return [seen.phase.value, *seen[1:]]


def _unpacked(found: list[Any]) -> Sight:
    phase, reason, code, last, *more = found
    return Sight(Phase(phase), reason, code, tuple(last), *more)
