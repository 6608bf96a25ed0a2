"""The seed of a scope, and the place of each of its maps among all that draw from it."""

from __future__ import annotations

import itertools
import os
import threading
from typing import TYPE_CHECKING

from anabranch.core.context import current_task
from anabranch.core.draws import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from anabranch.core.draws import Path
    from anabranch.core.maps import MapRun


class Draws:
    """The random numbers of one flow run, or of the program outside of flows. A `core.draws.Seeds`.

    Args:
        given: the flow's seed; None: that of `around`, or one that is made when it is asked for.
        path: of the flow run among those around it.
        around: asks the run around for its seed.
        record: takes a seed that was made.
    """

    def __init__(
        self, given: int | None = None, path: Path = (), around: Callable[[], int] | None = None,
        record: Callable[[int], None] | None = None,
    ) -> None:  # fmt: skip
        self.given = given
        self.path = path
        self.record = record
        self._around = around
        self._lock = threading.Lock()
        self._counts: dict[tuple[Path, int, str, str], Iterator[int]] = {}

    def seed(self) -> int:
        if self.given is None and self._around is not None:
            return self._around()
        with self._lock:
            if self.given is None:
                self.given = int.from_bytes(os.urandom(16), "big")
                if self.record is not None:
                    self.record(self.given)
            return self.given

    def own(self) -> Source:
        return Source(self.given, (*self.path, "flow"), root=self)

    def of_map(
        self, map: MapRun, before: MapRun | None, known: Callable[[str], MapRun | None], once: int | None
    ) -> Source | None:
        """Return the place of a new map.

        Args:
            before: a series of single runs that it takes the place of, because its code has changed.
            known: finds a map by its id.
            once: the seed of this one map, which does not count among those of its task.
        """
        if before is not None:
            return _after(before)
        name, own = map.spec.name, map.options.seed
        if once is not None:
            return Source(once, (name, map.kind))
        parent, _, index = map.header.parent_id.rpartition("/")
        around = known(parent) if parent else None
        source = None if around is None else around.header.draws
        task = current_task.get()
        inside = None if source is None or task is None else (source.at(int(index)), task.run.attempt)
        path = self.next(name, map.kind, inside)
        return Source(self.given if own is None else own, path, root=self)

    def next(self, name: str, kind: str, inside: tuple[Path, int] | None = None) -> Path:
        """Return the path of the next map, series or subflow of this name.

        Args:
            inside: the place of the task run that makes it, and its attempt: each attempt counts from the beginning.
        """
        place, attempt = (self.path, 1) if inside is None else inside
        numbers = self._counts.setdefault((place, attempt, name, kind), itertools.count())
        return (*place, name, kind, next(numbers))

    def begin_again(self) -> None:
        """Count from the beginning: the flow's function is called once more."""
        self._counts = {}


def _after(series: MapRun) -> Source | None:
    before = series.header.draws
    if before is None:
        return None
    count = int(repr(series.inputs.append_index).removeprefix("count(").removesuffix(")"))  # asked, it would go on
    return Source(before.seed, before.path, before.first + count, before.root)
