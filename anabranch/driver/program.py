"""The parts of one program that its scopes share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.core.contracts import Clock
    from anabranch.core.ids import Ids
    from anabranch.core.maps import MapRun
    from anabranch.driver.keyed_maps import KeyedMaps
    from anabranch.driver.pump import Pump
    from anabranch.driver.sent_tasks import SentTasks
    from anabranch.driver.stores import Stores


@dataclass(eq=False, slots=True)
class Program:
    """The pump, and the places of tasks, values and records.

    Attributes:
        flush_records: waits until all ended runs are in the record; returns for how many seconds.
        tell_end: tells once of the failures of a map that has ended; called by waiting threads.
        list_gone: told of a map whose list is gone while it is under way, perhaps in a finalizer.
        keyed_maps: maps outside of flows that have a key.
        watchers: called for each new map, with its scope.
    """

    pump: Pump
    tasks: SentTasks
    stores: Stores
    ids: Ids
    clock: Clock
    flush_records: Callable[[], float]
    tell_end: Callable[[MapRun], None]
    list_gone: Callable[[MapRun], None]
    keyed_maps: KeyedMaps
    watchers: list[Callable[[Any, MapRun], None]] = field(default_factory=list)
