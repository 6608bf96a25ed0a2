"""What the scopes of one program share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.core.contracts import Clock
    from anabranch.core.ids import Ids
    from anabranch.core.maps import MapRun
    from anabranch.driver.pump import Pump
    from anabranch.driver.sent_tasks import SentTasks
    from anabranch.driver.stores import Stores


@dataclass(eq=False, slots=True)
class Program:
    """The pump, and where tasks, values and records go.

    Attributes:
        flush_records: waits until what has ended is in the record.
        watchers: are told of each new map, with its scope.
    """

    pump: Pump
    tasks: SentTasks
    stores: Stores
    ids: Ids
    clock: Clock
    flush_records: Callable[[], None]
    watchers: list[Callable[[Any, MapRun], None]] = field(default_factory=list)
