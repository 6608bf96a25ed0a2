"""What an agent's state machine hears of, and what it asks its loop to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anabranch.core.launching import Reference, Sight
    from anabranch.core.orders import Claim, Heard, Hold

Key = tuple[str, int]  # of what an agent holds: the run and the claim's token


# -- events ------------------------------------------------------------------------------------------


class Joined(NamedTuple):
    """The service knows this agent."""


class Claimed(NamedTuple):
    """The answer to `Ask`."""

    claims: Sequence[Claim]


class Started(NamedTuple):
    """The answer to `Start`."""

    key: Key
    reference: Reference


class NotStarted(NamedTuple):
    """The launcher's refusal."""

    key: Key
    why: str


class Seen(NamedTuple):
    """The answer to `Look`; a job that the launcher cannot judge is left out."""

    sights: Mapping[Reference, Sight]


class Told(NamedTuple):
    """The answer to `Beat`.

    Attributes:
        holds: as they were told.
    """

    holds: Sequence[Hold]
    heard: Heard


class Sent(NamedTuple):
    """The answer to `Send`: nothing of this driver waits here any more."""

    key: Key


class NotSent(NamedTuple):
    """The refusal of `Send`.

    Attributes:
        away: the server did not answer.
    """

    key: Key
    away: bool


class NotEnded(NamedTuple):
    """The launcher's refusal of `End`."""

    reference: Reference


class Failed(NamedTuple):
    """No answer to an instruction of this type.

    Attributes:
        unknown: the service does not know this agent.
    """

    what: type
    unknown: bool = False


class Stop(NamedTuple):
    """Claim no more.

    Attributes:
        grace: seconds that running jobs get to end; None: they go on without this agent.
    """

    grace: float | None = None


class Tick(NamedTuple):
    """Time has passed."""


Event = Joined | Claimed | Started | NotStarted | Seen | Sent | NotSent | Told | NotEnded | Failed | Stop | Tick


# -- instructions ------------------------------------------------------------------------------------


class Join(NamedTuple):
    """Tell the service of this agent."""


class Ask(NamedTuple):
    """Claim orders."""

    places: int
    wait: bool


class Start(NamedTuple):
    """Start the job of a claim."""

    key: Key
    claim: Claim


class Look(NamedTuple):
    """Look at jobs, all of them at once."""

    references: Sequence[Reference]


class Send(NamedTuple):
    """Send what the driver of a job that has ended could not send itself."""

    key: Key
    reference: Reference


class End(NamedTuple):
    """End a job; at once, or in its own time."""

    reference: Reference
    at_once: bool


class Beat(NamedTuple):
    """Tell the service what this agent has."""

    holds: Sequence[Hold]


class Discard(NamedTuple):
    """Delete the folder of a job that ended well."""

    reference: Reference


class Keep(NamedTuple):
    """Note in the folder of a job that ended otherwise that it is over: the folder goes after a while."""

    reference: Reference


Instruction = Join | Ask | Start | Look | Send | End | Beat | Discard | Keep
