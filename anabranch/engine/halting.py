"""Flow runs that are told to end: nothing of them begins any more, what runs goes on to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anabranch.core.events import Shorten
from anabranch.engine.losses import Losses

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from anabranch.core.maps import MapRun
    from anabranch.engine.lanes import Sent


class Halting(Losses):
    """Adds the halt of flow runs; `enqueue` and `pull` below pass over what `halted` names."""

    def halt(self, flow_runs: Iterable[str], call: Callable[[], None]) -> None:
        """Begin nothing more of these flow runs; `call` once nothing of them runs that can get on."""
        fresh = set(flow_runs) - self.halted
        self.halted |= fresh
        for sent in self.sent.values():
            if sent.maps[0].flow_run_id in fresh:
                self.out.append(Shorten(sent.lane.index, sent.chunk.id, 0))
        self._when_halted.append(call)
        self._look_halted()

    def forget_maps(self, maps: Sequence[MapRun]) -> None:
        super().forget_maps(maps)
        self.halted.difference_update(map.flow_run_id for map in maps)

    def _retire(self, sent: Sent) -> None:
        super()._retire(sent)
        self._look_halted()

    def _look_halted(self) -> None:
        """A task that waits for others waits in vain: what has not begun never will."""
        if not self._when_halted:
            return
        if not any(s.maps[0].flow_run_id in self.halted and not s.waiting for s in self.sent.values()):
            self.wake += self._when_halted
            self._when_halted.clear()
