"""Exceptions that are hard to move out of a worker: what a user and the record are told of them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from anabranch import flow, task
from anabranch.core.errors import RemoteError

if TYPE_CHECKING:
    from anabranch.core.contracts import Runner
    from anabranch.core.runs import ItemView
    from anabranch.core.states import State
    from anabranch.session import Session

WAIT = 60.0
LINE = 'raise bad[x]("salt", "pepper")'


class Told(NamedTuple):
    """Of one item.

    Attributes:
        kind: of the exception, as the future and the record have it; both, should they differ.
        said: whether the state names kind and text.
        traced: whether the line that raised stands in the traceback, wherever that is looked for.
        itself: whether the exception is an object of its own class, and not one that stands for it.
    """

    state: str
    attempt: int
    kind: str = ""
    text: str = ""
    said: bool = False
    traced: bool = False
    itself: bool = False


SQUARES = [Told("Completed", 1, text=str(x * x)) for x in range(10)]
EXPECTED = [
    SQUARES[0], Told("Failed", 1, "Kept", "('salt', 'pepper')", True, True, True),
    SQUARES[2], Told("Failed", 1, "Two", "salt and pepper", True, True, True),
    SQUARES[4], Told("Failed", 1, "NotIn", "salt and pepper", True, True, True),
    SQUARES[6], Told("Failed", 1, "NotHere", "salt and pepper", True, True, False),
    *SQUARES[8:],
]  # fmt: skip


def told(runner: Runner, session: Session) -> list[Told]:
    """Run ten items in one chunk; four of them fail, each in its own way."""

    # Made in here, so that they travel by value: workers need not import the tests.
    class Kept(Exception):
        def __init__(self, one: str, other: str) -> None:
            super().__init__(one, other)

    class Two(Exception):
        """Is unpickled with one argument, which it does not take."""

        def __init__(self, one: str, other: str) -> None:
            super().__init__(f"{one} and {other}")

    class NotIn(Two):
        def __reduce__(self) -> Any:
            def boom() -> Any:
                raise ValueError("this exception does not unpickle")

            return boom, ()

    class NotHere(Two):
        """Unpickles in the process that raised it, and nowhere else."""

        def __reduce__(self) -> Any:
            def back(pid: int) -> NotHere:
                if os.getpid() != pid:
                    raise ValueError("this exception does not unpickle here")
                return NotHere("salt", "pepper")

            return back, (os.getpid(),)

    bad = {1: Kept, 3: Two, 5: NotIn, 7: NotHere}

    @task
    def work(x: int) -> int:
        if x in bad:
            raise bad[x]("salt", "pepper")
        return x * x

    found: list[tuple[State, Any]] = []

    @flow(runner=runner)
    def main() -> int:
        futures = work.map(range(10), chunk=10)
        futures.wait(WAIT)
        found.extend((future.state, future.exception() or future.result()) for future in futures)
        return 0  # states among what it returns would decide how it ends

    main()
    session.flush_records()
    records = session.records
    [map] = records.maps(records.flow_runs()[0].id)
    return [_told(*one, row) for one, row in zip(found, records.items(map.id), strict=True)]


def _told(state: State, found: Any, row: ItemView) -> Told:
    if not isinstance(found, Exception):
        return Told(state.name, state.attempt, text=str(found))
    kind, text, traces = type(found).__qualname__, str(found), [*found.__notes__, row.error_text]
    if isinstance(found, RemoteError):  # stands for it
        kind, text = found.type_name, found.message
        traces.append(found.traceback)
    itself = not isinstance(found, RemoteError)
    kinds = {kind.rpartition(".")[2], row.error_type.rpartition(".")[2]}
    said = state.message == f"Task run encountered an exception {'/'.join(kinds)}: {text}"
    return Told(state.name, state.attempt, "/".join(kinds), text, said, all(LINE in trace for trace in traces), itself)
