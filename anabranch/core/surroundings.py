"""The driver's environment variables, folder and search path, as its workers are to have them.

    driver: Driver.look() at each batch of chunks --> Surroundings, numbered; a new one only where something changed
    worker: Worker.enter(them), before the chunk begins: what the driver has changed since its runner started

What a worker has of its own (from its engine, its nanny) stays; what the driver takes back is as it was
there. A process has one environment: chunks that run at the same time in its threads have the last one's.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from typing import NamedTuple

_log = logging.getLogger("anabranch.runners")


class Surroundings(NamedTuple):
    """What the driver has changed since its runner started."""

    number: int = 0
    changes: tuple[tuple[str, str | None], ...] = ()  # environment variables; None: deleted
    folder: str | None = None  # None: that of the start, or one that is gone
    path: tuple[str, ...] = ()  # what was added to `sys.path`

    def told(self) -> str:
        """In words, without what may be a secret."""
        parts = [", ".join(sorted(name for name, _ in self.changes)), self.folder or "", ", ".join(self.path)]
        return "; ".join(part for part in parts if part)


class Driver:
    """What has changed since this was made.

    Args:
        path: whether workers begin with this program's `sys.path`; else with that of any Python here.
    """

    def __init__(self, *, path: bool = True) -> None:
        self.environ = dict(os.environ)
        self._folder, self._path = folder(), list(sys.path) if path else _path_of_any()
        self._seen = (_variables(), self._folder, list(sys.path))
        added = self._added()
        self._now = Surroundings(1, path=added) if added else Surroundings()
        self._said = False

    def look(self) -> Surroundings:
        """The present ones: the same object while nothing changes. Costs two microseconds."""
        seen = self._seen
        if seen[0] == _raw() and seen[1] == folder() and seen[2] == sys.path:
            return self._now
        self._seen = (_variables(), folder(), list(sys.path))
        there = dict(os.environ)
        changes: dict[str, str | None] = {n: text for n, text in there.items() if self.environ.get(n) != text}
        changes.update((name, None) for name in self.environ.keys() - there.keys())
        moved = self._seen[1] if self._seen[1] != self._folder else None
        self._now = Surroundings(self._now.number + 1, tuple(changes.items()), moved, self._added())
        return self._now

    def _added(self) -> tuple[str, ...]:
        return tuple(place for place in sys.path if place not in self._path)


    def not_ours(self, engine: str) -> None:
        """Say once, for a cluster that is lent: what has changed is not seen there."""
        if not self._said:
            self._said = True
            _log.warning(
                "workers of a %s that is lent keep their own environment, folder and path: what this program has "
                "changed since (%s) is not seen there; pass it as arguments, or set it where the workers are started",
                engine, self._now.told(),
            )  # fmt: skip


class Worker:
    """What this process has taken over of a driver's."""

    def __init__(self) -> None:
        self.number = 0
        self._own: dict[str, str | None] = {}  # what it had of its own in the place of what was changed
        self._folder: str | None = None
        self._path: tuple[str, ...] = ()
        self._children = False

    def enter(self, given: Surroundings | None) -> None:
        """Be as the driver was (None: at the start of its runner). A folder that is not here is let be."""
        given = given or Surroundings()
        if given.number == self.number:
            return
        self.number = given.number
        changes = dict(given.changes)
        for name in self._own.keys() - changes.keys():
            _set(name, self._own.pop(name))
        for name, text in changes.items():
            self._own.setdefault(name, os.environ.get(name))
            _set(name, text)
        self._go_to(given.folder)
        gone, self._path = self._path, given.path
        sys.path[:] = [*given.path, *(place for place in sys.path if place not in gone and place not in given.path)]

    def start_children_as_python_does(self) -> None:
        """In a worker that was spawned, which would make that the way of its own children too."""
        processes = sys.modules.get("multiprocessing")
        if processes is not None and not self._children:
            self._children = True
            processes.set_start_method(None, force=True)

    def _go_to(self, wanted: str | None) -> None:
        here = folder()
        self._folder = self._folder or here
        target = wanted or self._folder
        if target is not None and target != here:
            with contextlib.suppress(OSError):
                os.chdir(target)


def _path_of_any() -> list[str]:
    """What of `sys.path` every interpreter of this installation and environment has."""
    theirs = [os.path.abspath(place) for place in os.environ.get("PYTHONPATH", "").split(os.pathsep) if place]
    ours = {os.path.realpath(place) + os.sep for place in (sys.prefix, sys.base_prefix)}
    return [place for place in sys.path if place in theirs or os.path.realpath(place).startswith(tuple(ours))]


def folder() -> str | None:
    """The working folder; None where it is gone."""
    try:
        return os.getcwd()
    except OSError:
        return None


def _set(name: str, text: str | None) -> None:
    if text is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = text


def _raw() -> object:
    """The environment as it lies in `os.environ`, which decodes each variable at every look."""
    return getattr(os.environ, "_data", os.environ)


def _variables() -> object:
    return dict(getattr(os.environ, "_data", os.environ))
