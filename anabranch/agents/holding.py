"""One order that an agent holds: from its claim to the answer that its end was heard.

    CLAIMED --start--> STARTING --its reference--> STARTED --its end is seen--> ENDED --its rows are sent--> OVER
       |                  '------refused----------------------------------------------------------------------^
       '--to be ended before it was started-------------------------------------------------------------------'

The end of a job is told only after the rows that its driver left were sent: one of them may say that the run has
ended, and then nothing of it is done again.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

from anabranch.core.launching import Phase, Reference, Sight
from anabranch.core.orders import Hold

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anabranch.agents.words import Key
    from anabranch.core.orders import Claim

ENDED = (Phase.ENDED, Phase.GONE)
_AGAIN = 5.0  # seconds after which what could not be done, such as to end a job, is to be done once more
_REFUSALS = 10  # of the rows that a driver left: its end is told without them then


class Stage(Enum):
    CLAIMED = auto()
    STARTING = auto()
    STARTED = auto()
    ENDED = auto()
    OVER = auto()


@dataclass(slots=True)
class Holding:
    """An order that an agent holds.

    Attributes:
        claim: None: it was adopted.
        reference: of its job, once it is known.
        sight: the last one.
        ours: whether the service says so; one that is not is ended and not told of.
        end_by: seconds after which its job is to be ended at once; infinite: it may go on.
        asked: whether it was asked to end in its own time.
        killed: whether it was ended at once.
        quiet_until: seconds before which its launcher is not asked to end it, and its rows are not sent.
        sending: whether the rows that its driver left are being sent.
        refusals: of these rows.
        time_to_begin: seconds that its driver has to begin, from the first look that sees its job run; infinite: any.
        waits_count: whether they run while its job waits for its infrastructure, too.
        since: when they began.
        overdue: whether they are over.
    """

    key: Key
    claim: Claim | None = None
    reference: Reference | None = None
    stage: Stage = Stage.CLAIMED
    sight: Sight | None = None
    ours: bool = True
    end_by: float = math.inf
    asked: bool = False
    killed: bool = False
    quiet_until: float = -math.inf
    sending: bool = False
    refusals: int = 0
    time_to_begin: float = math.inf
    waits_count: bool = False
    since: float = math.inf
    overdue: bool = False

    @property
    def over(self) -> bool:
        """Whether its end can be told."""
        return self.stage is Stage.OVER

    @property
    def ended(self) -> bool:
        """Whether its job has ended, or never began."""
        return self.stage in (Stage.ENDED, Stage.OVER)

    @property
    def out_of_sight(self) -> bool:
        """Whether its launcher cannot tell of its job, and so cannot end it either."""
        return self.sight is not None and self.sight.phase is Phase.UNKNOWN

    def hold(self) -> Hold:
        """Return what the service is told of it."""
        handle = "" if self.reference is None else json.dumps(self.reference._asdict())
        seen = self.sight
        if seen is None:
            phase = Phase.PENDING.value if self.stage is Stage.STARTED else ""
            return Hold(*self.key, phase=phase, handle=handle)
        if self.stage is Stage.ENDED:
            return Hold(*self.key, Phase.RUNNING.value, handle)
        overdue = self.time_to_begin if self.overdue and not self.ended else 0.0
        return Hold(*self.key, seen.phase.value, handle, seen.reason, seen.code, tuple(seen.last), overdue)

    def started(self, reference: Reference) -> None:
        if self.stage is Stage.STARTING:
            self.stage, self.reference = Stage.STARTED, reference

    def saw(self, sight: Sight, now: float) -> None:
        if self.stage is not Stage.STARTED:
            return
        self.sight = sight
        if sight.phase in ENDED:
            self.stage, self.quiet_until = Stage.ENDED, -math.inf
        elif sight.phase is Phase.RUNNING or self.waits_count:
            self.since = min(self.since, now)
        elif sight.phase is Phase.PENDING:
            self.since = math.inf  # a queue may take days, also for a job that it puts back
        self.overdue = now - self.since > self.time_to_begin

    def sends(self, now: float) -> bool:
        """Return whether the rows that its driver left are to be sent now; they are being sent from then on."""
        if self.stage is not Stage.ENDED or self.sending or now < self.quiet_until:
            return False
        self.sending = True
        return True

    def sent(self) -> None:
        if self.stage is Stage.ENDED:
            self.stage = Stage.OVER

    def not_sent(self, now: float, *, away: bool) -> None:
        """Have it tried again; a server that answers and refuses them many times is told of the end without them."""
        self.sending, self.quiet_until = False, now + _AGAIN
        self.refusals += not away
        if self.refusals >= _REFUSALS:
            self.sent()

    def never_started(self, why: str) -> None:
        if self.stage in (Stage.CLAIMED, Stage.STARTING):
            self.stage, self.sight = Stage.OVER, Sight(Phase.ENDED, why)

    def end(self, by: float, *, ask: bool = True) -> None:
        """Have it ended by then; of two times the earlier one counts.

        Args:
            ask: whether it is asked to end before; else it ends by itself, and is killed where it does not.
        """
        self.end_by = min(self.end_by, by)
        self.asked = self.asked or not ask
        if self.stage is Stage.CLAIMED:
            self.never_started("it was to end before it was started")

    def ends(self, now: float) -> Iterator[bool]:
        """Yield what is to be asked of its launcher: False: to end in its own time; True: at once."""
        if self.stage is not Stage.STARTED or self.end_by == math.inf or now < self.quiet_until:
            return
        if now < self.end_by and not self.asked:
            self.asked = True
            yield False
        if now >= self.end_by and not self.killed:
            self.killed = True
            yield True

    def not_ended(self, now: float) -> None:
        self.asked = self.killed = False
        self.quiet_until = now + _AGAIN

    def wake(self) -> float:
        """Return when `ends` or `sends` has something; infinite where nothing is due by time alone."""
        if self.stage is Stage.ENDED:
            return math.inf if self.sending else self.quiet_until
        if self.stage is not Stage.STARTED or self.killed or self.end_by == math.inf:
            return math.inf
        return max(self.quiet_until, self.end_by if self.asked else -math.inf)

    @property
    def ended_well(self) -> bool:
        return self.ended and self.sight is not None and self.sight.code == 0


def reference_of(handle: str) -> Reference | None:
    """Return the reference in an order's handle; None for one that is not known or that another version wrote."""
    try:
        found = Reference(**json.loads(handle))
    except (ValueError, TypeError):
        return None
    return found if all(isinstance(one, str) for one in found) else None
