"""A reader on another engine that stops again and again, over an input without end: how far its map runs ahead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import psutil

from anabranch import flow, task
from anabranch.engine.chunks import WINDOW_BYTES
from tests.faults.workers import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anabranch.core.contracts import Runner
    from anabranch.session import Session

VALUE = 20_000  # bytes
WINDOW = WINDOW_BYTES // VALUE  # values
STOPS = 4
WAIT = 60.0


class Seen(NamedTuple):
    """At the stops: elements pulled beyond the reader, bytes of values wherever they lie, bytes the driver grew by."""

    ahead: list[int]
    held: list[int]
    grown: list[int]

    @property
    def too_much(self) -> list[str]:
        """What was more than it may be: a window, and for the driver also what it unpacks of it."""
        found = [f"{n} elements ahead" for n in self.ahead if n > WINDOW]
        found += [f"{n} bytes held" for n in self.held if n > WINDOW_BYTES]
        return found + [f"{n} bytes more in the driver" for n in self.grown if n > 2 * WINDOW_BYTES]


def read_slowly(runner: Runner, session: Session) -> Seen:
    """Read a window of values between one stop and the next; at each the map has to come to rest by itself."""
    seen = Seen([], [], [])
    pulled = read = 0

    def own() -> int:
        """Bytes of this process; the shared ones are those of Ray's store."""
        info = psutil.Process().memory_info()
        return int(info.rss - info.shared)

    def numbers() -> Iterator[int]:
        """Without end, but for a map that runs away: what shall fail shall not take all memory."""
        nonlocal pulled
        while pulled <= read + 2 * WINDOW:
            pulled += 1
            yield pulled - 1

    @task
    def make(x: int) -> bytes:
        return x.to_bytes(8, "big") * (VALUE // 8)

    @flow(runner=runner, on_exit="cancel")
    def main() -> None:
        nonlocal read
        futures = make.map(numbers())
        map: Any = futures._map

        def at_rest() -> bool:
            """Nothing is under way, and no more is asked for."""
            return session.pump.inspect(lambda: not map.inputs.pulling and 0 < map.done == len(map.codes))

        before = own()
        values = futures.results()
        for n, value in enumerate(values):
            read = n
            assert value[:8] == n.to_bytes(8, "big")
            if n % WINDOW == 0:
                until(at_rest, WAIT)
                seen.ahead.append(pulled - n)
                seen.held.append(futures.bytes_held)
                seen.grown.append(own() - before)
                if len(seen.ahead) == STOPS:
                    break
        values.close()

    main()
    return seen
