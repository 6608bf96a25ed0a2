"""When a question to the API server is asked once more: a pure decision."""

from __future__ import annotations

_PAUSES = (0.5, 1.0, 2.0)  # seconds
_PASSING = {408, 429, 500, 502, 503, 504}
_LONGEST = 10.0  # seconds of a pause that the server asks for


def pause_before(attempt: int, code: int, told: str, retry_after: float | None) -> float | None:
    """Return the seconds until a failed question is asked again; None: it is not.

    Args:
        attempt: how often it was asked, from 1 on.
        code: of HTTP; 0: there was no answer.
        told: what the server said.
        retry_after: the pause that the server asks for.
    """
    passing = code in _PASSING or (code == 409 and "resourcequotas" in told)  # two creates counted at once
    if attempt > len(_PAUSES) or not (passing or (code == 0 and attempt == 1)):
        return None
    return min(retry_after, _LONGEST) if retry_after is not None else _PAUSES[attempt - 1]
