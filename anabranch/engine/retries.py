"""Retries: whether another attempt follows a failed one, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

    from anabranch.core.options import RunOptions


def decide(
    options: RunOptions, attempt: int, error: BaseException | None, rng: random.Random
) -> float | None:
    """Return the seconds until the next attempt, None when there is none.

    Args:
        options: retries, retry_delay_seconds, retry_jitter_factor, retry_on.
        attempt: the attempt that failed, from 1, not counting those that the infrastructure lost.
        error: its exception, None for a returned failed state.
        rng: source of the jitter.
    """
    if attempt > options.retries:
        return None
    if options.retry_on and error is not None and not issubclass(type(error), options.retry_on):
        return None
    delay = base_delay(options, attempt)
    if options.retry_jitter_factor and delay:
        # Between the delay and (1 + factor) times it, so that items that failed together are retried apart.
        delay *= 1 + options.retry_jitter_factor * rng.random()
    return delay


def base_delay(options: RunOptions, attempt: int) -> float:
    """Return the delay after this attempt, before jitter; the last of a list repeats."""
    delay = options.retry_delay_seconds
    if callable(delay):
        found = delay(options.retries)
        delay = tuple(float(d) for d in found) if isinstance(found, (list, tuple)) else float(found)
    if isinstance(delay, tuple):
        return delay[min(attempt, len(delay)) - 1] if delay else 0.0
    return float(delay)
