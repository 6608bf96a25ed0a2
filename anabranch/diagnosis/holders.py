"""`anabranch.holders`: the maps with values that take memory, and the holders of these."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anabranch import session as sessions
from anabranch.core.errors import MissingContextError, OptionError
from anabranch.core.future_lists import FutureList
from anabranch.core.futures import Future
from anabranch.core.map_states import States
from anabranch.core.states import State
from anabranch.diagnosis.names import names_of
from anabranch.engine import held

if TYPE_CHECKING:
    from anabranch.core.maps import MapRun
    from anabranch.engine.held import Held
    from anabranch.session import Session

SHOWN = 20  # maps that have lines in the text


@dataclass(slots=True, frozen=True)
class Holding:
    """The values of one map, or of the submitted runs of one task, and their holders.

    Attributes:
        task: name of the task.
        items: how many runs there are.
        nbytes: bytes of their values that are held, as estimated where they were made.
        by: the holders, a phrase each.
        names: where the program has lists, futures or states of them: variables, outputs of cells, frames of the last
            error.
        way_out: what lets go of them; "" where only the end of readers does.
    """

    task: str
    items: int
    nbytes: int
    by: tuple[str, ...]
    names: tuple[str, ...]
    way_out: str

    def __str__(self) -> str:
        lines = [f"{self.task}, {self.items:,} items: {_size(self.nbytes)} held", *(f"  {one}" for one in self.by)]
        lines += [f"  named by {', '.join(self.names)}"] if self.names else []
        lines += [f"  to let go: {self.way_out}"] if self.way_out else []
        return "\n".join(lines)


@dataclass(slots=True, frozen=True)
class Holdings:
    """What `holders` found, the largest first; printed as text."""

    found: tuple[Holding, ...]

    def __str__(self) -> str:
        if not self.found:
            return "no values are held"
        rest = len(self.found) - SHOWN
        lines = [str(one) for one in self.found[:SHOWN]] + ([f"and {rest} more maps"] if rest > 0 else [])
        return "\n".join(lines)

    __repr__ = __str__


def holders(what: Future[Any] | FutureList[Any] | None = None) -> Holdings:
    """Say which values take memory, and what holds them: the ledger's answer, with the program's own names for it.

    Names are looked for among the variables of the script or notebook, the outputs of its cells and the frames of the
    last error, a few containers deep. Values that a program has read (`x = fs.result()`) are its own, and not counted.

    Args:
        what: a future or a future list; without it, all maps of this program that hold values.

    Raises:
        MissingContextError: asked on a worker: the driver knows.
        OptionError: `what` is something else.
    """
    session = sessions.current()
    if what is None:
        found = session.pump.inspect(lambda: held.held(list(session.pump.dispatcher.tables.maps.values())))
        return Holdings(tuple(_holding(session, one) for one in found))
    if not isinstance(what, (Future, FutureList)):
        raise OptionError(f"holders() takes a future or a future list, got {type(what).__name__} {what!r:.80}")
    if not hasattr(what._map, "queue"):
        raise MissingContextError("holders works in the program that drives the runs; here is a worker of it")
    return Holdings((_holding(session, session.pump.inspect(held.held_of, what._map)),))


def _holding(session: Session, one: Held) -> Holding:
    map = one.map
    key = session.program.keyed_maps.key_of(map)
    names = tuple(names_of(lambda value: _stands_for(value, map)))
    by = [f"the run_key {key!r}"] if key is not None else []
    by += ["the list that map returned, or its states"] if one.by_list and map.kind == "map" else []
    by += [f"futures of {one.items:,} items"] if one.items else []
    by += [f"{name!r}, which reads it and has not ended" for name in one.readers]
    by += ["an open .results()"] if one.streamed else []
    return Holding(map.spec.name, len(map.codes), one.nbytes, tuple(by), names, _way_out(key, names, one))


def _way_out(key: str | None, names: tuple[str, ...], one: Held) -> str:
    if key is not None:
        return ".release() of the list"
    ways = [f"del {name.split('`')[1]}" for name in names if name.startswith("the variable")]
    outputs = [f"%xdel _{name[4:-1]}" for name in names if name.startswith("Out[")]
    ways += outputs or [f"%xdel {name.strip('`')}" for name in names if name in ("`_`", "`__`", "`___`")]
    if any(name.endswith("of the last error") for name in names):
        ways.append("another error such as 1/0, and gc.collect() after it")
    return "; ".join(ways) or (".release() of the list" if one.by_list else "")


def _stands_for(value: Any, map: MapRun) -> bool:
    """Return whether a value of the program keeps values of a map."""
    kind = type(value)
    if kind is Future or kind is FutureList:
        return value._map is map and not value._released
    if kind is States:
        return _stands_for(value._keeper, map)
    if issubclass(kind, State):
        run = value.origin()
        return run is not None and run[0] is map
    return False


def _size(nbytes: int) -> str:
    return f"{nbytes / 1e6:,.1f} MB" if nbytes >= 100_000 else f"{nbytes / 1e3:,.1f} kB"
