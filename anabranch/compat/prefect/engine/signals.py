"""Prefect 1"s `prefect.engine.signals`."""

from __future__ import annotations

from anabranch.compat.prefect1.signals import (
    FAIL,
    LOOP,
    PAUSE,
    PrefectStateSignal,
    RETRY,
    SKIP,
    SUCCESS,
    TRIGGERFAIL,
    VALIDATIONFAIL,
)

__all__ = ["FAIL", "LOOP", "PAUSE", "PrefectStateSignal", "RETRY", "SKIP", "SUCCESS", "TRIGGERFAIL", "VALIDATIONFAIL"]
