"""The driver's environment variables, folder and search path, carried to its workers.

driver: Driver.look() at each map and each batch of chunks --> Surroundings, numbered; a new one after a change
worker: Worker.enter(surroundings), before the chunk begins: applies the changes since the runner's start

A worker's own variables (from its engine, its nanny) stay. A change that the driver takes back is undone there. A
process has one environment: chunks that run at the same time in its threads see the last one applied.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from anabranch.core.chunks import Stage

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_log = logging.getLogger("anabranch.runners")
_QUIET = ("PYTEST_CURRENT_TEST", "RAY_", "DASK_")  # prefixes of variables that a lent cluster does not need
_Present = tuple[object, str | None, list[str]]  # variables, folder, search path


class Surroundings(NamedTuple):
    """The driver's changes since its runner started."""

    number: int = 0
    changes: tuple[tuple[str, str | None], ...] = ()  # environment variables; None: deleted
    folder: str | None = None  # None: that of the start, or a folder that is gone
    path: tuple[str, ...] = ()  # entries added before the old `sys.path`
    behind: tuple[str, ...] = ()  # entries added after it

    def __repr__(self) -> str:
        return f"Surroundings({self.number})"  # without the variables: they may be secrets

    def told(self) -> str:
        """Return the changes in words, without values that may be secrets; "" where no task needs them."""
        names = sorted(name for name, _ in self.changes if not name.startswith(_QUIET))
        parts = [", ".join(names), self.folder or "", ", ".join((*self.path, *self.behind))]
        return "; ".join(part for part in parts if part)


_AT_START = Surroundings()


class Driver:
    """The driver's side: the changes since this was made.

    Args:
        since: for workers that an earlier runner started: the `Driver` made at that start.
        path: whether workers begin with this program's `sys.path`; else with that of any Python here.
    """

    def __init__(self, since: Driver | None = None, *, path: bool = True) -> None:
        self.environ: dict[str, str] = dict(os.environ) if since is None else since.environ
        variables, here, ours = _present()
        self._began: _Present = (variables, here, ours if path else _path_of_any()) if since is None else since._began
        self._seen = self._began
        self._now = Surroundings()
        self._maps: dict[int, Surroundings] = {}  # by stage
        self._said = False
        self._lock = threading.Lock()

    def look(self) -> Surroundings:
        """Return the present surroundings: the same object while nothing changes. Costs two microseconds."""
        seen = self._seen
        if seen[0] == _raw() and seen[1] == folder() and seen[2] == sys.path:
            return self._now
        with self._lock:
            present = _present()
            there = dict(os.environ)
            changes: dict[str, str | None] = {n: text for n, text in there.items() if self.environ.get(n) != text}
            changes.update((name, None) for name in self.environ.keys() - there.keys())
            moved = present[1] if present[1] != self._began[1] else None
            if present[1] is None:  # the folder is gone: the last surroundings stay
                moved = self._now.folder
            number = self._now.number + 1
            self._now = Surroundings(number, tuple(changes.items()), moved, *_added(self._began[2], present[2]))
            self._seen = present  # set last: a thread that finds it unchanged returns the surroundings set above
            return self._now

    def put(self, shared_id: int, value: Any) -> None:
        """Keep the present surroundings for a map, which is not sent all at once."""
        if type(value) is Stage and value.kind == "map":
            self._maps[shared_id] = self.look()

    def drop(self, shared_ids: Iterable[int]) -> None:
        for shared_id in shared_ids:
            self._maps.pop(shared_id, None)

    def of(self, stages: Sequence[int], now: Surroundings) -> Surroundings:
        """Return a chunk's surroundings: of the last map among its stages, else `now`, those of its sending."""
        found = [one for one in map(self._maps.get, stages) if one is not None]
        return max(found, key=_number) if found else now

    def not_ours(self, engine: str) -> None:
        """Warn once, for a lent cluster, that the changes are not seen there."""
        told = self._now.told()
        if told and not self._said:
            self._said = True
            _log.warning(
                "workers of a %s that is lent keep their own environment, folder and path: what this program has "
                "changed since (%s) is not seen there; pass it as arguments, or set it where the workers are started",
                engine, told,
            )  # fmt: skip


class Worker:
    """The worker's side: the changes that this process has applied."""

    def __init__(self) -> None:
        self.number = 0
        self._own: dict[str, str | None] = {}  # own values of the changed variables
        self._told: dict[str, str | None] = {}  # values that were set for them
        self._folder: str | None = None
        self._asked: str | None = None  # the folder that was set last
        self._path: tuple[str, ...] = ()
        self._lock = threading.Lock()  # threads of one worker begin chunks at the same time
        self._children = False

    def enter(self, given: Surroundings | None) -> None:
        """Apply the driver's surroundings (None: those of its runner's start). A missing folder is ignored."""
        given = given or _AT_START
        if given.number == self.number:
            return
        with self._lock:
            if given.number == self.number:
                return
            changes = dict(given.changes)
            for name in self._own.keys() - changes.keys():
                _set(name, self._own.pop(name))
                del self._told[name]
            for name, text in changes.items():
                if name not in self._told:
                    self._own[name] = os.environ.get(name)
                elif self._told[name] == text:  # changes that a task made since are left alone
                    continue
                _set(name, text)
                self._told[name] = text
            self._go_to(given.folder)
            self._find_in(given)
            self.number = given.number  # set last: a thread that finds it begins its chunk

    def start_children_as_python_does(self) -> None:
        """Reset multiprocessing's start method, in a spawned worker, where "spawn" would hold for its children too."""
        processes = sys.modules.get("multiprocessing")
        if processes is not None and not self._children:
            self._children = True
            processes.set_start_method(None, force=True)

    def _go_to(self, wanted: str | None) -> None:
        if wanted == self._asked:
            return
        self._asked = wanted
        here = folder()
        self._folder = self._folder or here
        target = wanted or self._folder
        if target is not None and target != here:
            try:
                os.chdir(target)
            except OSError as error:
                _log.warning("tasks stay in %s: the driver's folder cannot be had here: %s", here, error)

    def _find_in(self, given: Surroundings) -> None:
        had = [place for place in sys.path if place not in self._path]
        ahead, behind = ([place for place in part if place not in had] for part in (given.path, given.behind))
        path = [*ahead, *had, *behind]
        self._path = (*ahead, *behind)
        if path != sys.path:
            sys.path[:] = path
            importlib.invalidate_caches()


def _path_of_any() -> list[str]:
    """Return the entries of `sys.path` that every interpreter of this installation and environment has."""
    theirs = [os.path.abspath(place) for place in os.environ.get("PYTHONPATH", "").split(os.pathsep) if place]
    ours = {os.path.realpath(place) + os.sep for place in (sys.prefix, sys.base_prefix)}
    return [place for place in sys.path if place in theirs or os.path.realpath(place).startswith(tuple(ours))]


def folder() -> str | None:
    """Return the working folder; None where it is gone."""
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
    """Return the raw dict inside `os.environ`, which itself decodes each variable at every read."""
    return getattr(os.environ, "_data", os.environ)


def _present() -> _Present:
    return dict(getattr(os.environ, "_data", os.environ)), folder(), list(sys.path)


def _added(before: list[str], now: list[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the new entries of a search path: those before all old ones, and the rest."""
    had = set(before)
    first = next((n for n, place in enumerate(now) if place in had), 0)
    return tuple(now[:first]), tuple(place for place in now[first:] if place not in had)


def _number(one: Surroundings) -> int:
    return one.number
