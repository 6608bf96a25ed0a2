"""Prefect 1's options of tasks, in those of Prefect 3 and ours."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from anabranch.compat.prefect1 import cache_validators

RENAMED = {
    "max_retries": "retries",
    "retry_delay": "retry_delay_seconds",
    "timeout": "timeout_seconds",
    "log_stdout": "log_prints",
    "cache_expiration_seconds": "cache_expiration",
    "cache_for": "cache_expiration",
}
_SECONDS = ("retry_delay", "timeout")


def translated(given: dict[str, Any]) -> dict[str, Any]:
    """Return options under Prefect 3's names.

    Raises TypeError where one is given by both of its names, NotImplementedError for a validator of the user's.
    """
    if not any(name in given for name in RENAMED):
        return given
    found = {name: value for name, value in given.items() if name not in RENAMED}
    for older, name in RENAMED.items():
        value = given.get(older)
        if value is None:
            continue
        if found.get(name) is not None:
            raise TypeError(f"{older!r} is an older name of {name!r}; give one of them")
        if older in _SECONDS and isinstance(value, timedelta):
            value = value.total_seconds()
        if older == "cache_expiration_seconds" and not isinstance(value, timedelta):
            value = timedelta(seconds=value)
        found[name] = value
    if given.get("cache_for") is not None:
        found["cache_key_fn"] = cache_validators.key_fn(given.get("cache_validator"))
    return found
