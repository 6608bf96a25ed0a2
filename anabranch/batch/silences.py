"""What a busy or restarting queue says; a job that was handed over may be there all the same."""

from __future__ import annotations

_WORDS = (
    "timed out", "timeout", "time-out", "no answer in time", "did not answer", "unable to contact", "cannot connect",
    "connection failure", "connection refused", "connection reset", "communication failure", "transport endpoint",
    "temporarily", "try again", "rate limit", "zero bytes", "end of file", "standby mode", "unexpected message",
)  # fmt: skip


def is_silence(told: str) -> bool:
    """Return whether the words of a command that failed say nothing about the job."""
    return any(words in told.lower() for words in _WORDS)
