"""What all schedules have: a next tick, and what becomes of ticks that come at a bad time."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import KW_ONLY, dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from anabranch.core import option_checks
from anabranch.core.errors import ServiceError
from anabranch.core.nearest import meant

if TYPE_CHECKING:
    from collections.abc import Mapping

Catchup = Literal["latest", "all", "none"]
Overlap = Literal["allow", "skip", "queue_one", "cancel_running"]
DAY = 86_400.0
YEARS = 50  # without any tick: then there is none


@dataclass(frozen=True)
class Schedule(ABC):
    """When runs of a deployment are ordered.

    Attributes:
        kind: the key that its dictionary is known by.
        active: whether it ticks; a person's pause or resume goes over it.
        parameters: of its runs, over those of the deployment.
        slug: its name, unique in its deployment; "": one is made.
        catchup: which ticks are made up for that nobody could order in time: the "latest", "all" or "none".
        window: seconds; with "latest", a tick missed for longer is not made up for.
        overlap: what a tick does while an earlier run of the schedule is not over: "allow" orders its run all the same,
            "skip" drops the tick, "queue_one" orders one run when the earlier is over, "cancel_running" cancels that.
        jitter: seconds; each run is due up to so much later than its tick, always by the same.
    """

    kind: ClassVar[str] = ""
    _: KW_ONLY
    active: bool = True
    parameters: Mapping[str, Any] | None = None
    slug: str = ""
    catchup: Catchup = "latest"
    window: float = DAY
    overlap: Overlap = "allow"
    jitter: float = 0.0

    def __post_init__(self) -> None:
        zone: Any = getattr(self, "timezone", None)
        if zone is not None and option_checks.zone_name(zone) is None:
            raise ServiceError(f"timezone of a schedule is a name, such as 'Europe/Berlin'; not {zone!r}")
        object.__setattr__(self, "timezone", option_checks.zone_name(zone))
        _one_of("catchup", self.catchup, get_args(Catchup))
        _one_of("overlap", self.overlap, get_args(Overlap))
        for name in ("window", "jitter"):
            object.__setattr__(self, name, duration(getattr(self, name), name))
        if self.jitter < 0 or self.window < 0:
            raise ServiceError("window and jitter of a schedule are seconds, and not below 0")
        if self.overlap == "queue_one" and self.catchup != "latest":
            raise ServiceError(
                f"overlap='queue_one' keeps the latest tick back, which catchup={self.catchup!r} would not: "
                "leave catchup out"
            )

    @abstractmethod
    def after(self, instant: float) -> float | None:
        """Return the first tick later than an instant, both Unix seconds; None where there is none in 50 years."""


def duration(given: object, name: str) -> float:
    """Return a number of seconds or a timedelta as seconds.

    Raises:
        ServiceError: it is neither.
    """
    if isinstance(given, timedelta):
        return given.total_seconds()
    if isinstance(given, bool) or not isinstance(given, int | float) or not math.isfinite(given):
        raise ServiceError(f"{name} {given!r} of a schedule is no duration: give seconds or a timedelta")
    return float(given)


def _one_of(name: str, given: object, known: tuple[str, ...]) -> None:
    if given not in known:
        choice = ", ".join(repr(word) for word in known)
        raise ServiceError(f"{name} of a schedule is one of {choice}; not {given!r}{meant(given, known)}")
