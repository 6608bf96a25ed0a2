"""The real clock; tests put `anabranch.testing.ManualClock` in its place."""

from __future__ import annotations

import time as _time


class SystemClock:
    """Wall and monotonic time of this machine."""

    __slots__ = ()

    time = staticmethod(_time.time)
    monotonic = staticmethod(_time.monotonic)
    sleep = staticmethod(_time.sleep)


SYSTEM = SystemClock()
