"""Maps under shared limits, for `limits.shared`: the dispatcher's methods behind the pump's lock."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anabranch.driver.pump import Pump
    from anabranch.engine.limits import Look


class LimitedMaps:
    """Callable from any thread; runs no user code."""

    def __init__(self, pump: Pump) -> None:
        self._pump = pump

    def apply_limits(self, slots: Sequence[str], rates: Sequence[str]) -> None:
        """Let these limits of slots and of starts hold from now on."""
        self._pump.call_locked(self._pump.dispatcher.apply_limits, slots, rates)

    def look_at_limits(self) -> Look:
        """Return the slots that maps use and wait for."""
        found: Look = self._pump.call_locked(self._pump.dispatcher.look_at_limits)
        return found

    def open_limits(self, rooms: dict[str, int], starts: dict[str, int]) -> None:
        """Let maps use so many slots, and begin so many further runs."""
        self._pump.call_locked(self._pump.dispatcher.open_limits, rooms, starts)
