"""Places of code that do not answer for a while: how they are told from refusals, and how often they are asked."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, TypeVar

from anabranch.core.errors import FetchError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
logger = logging.getLogger("anabranch.drivers")

PAUSES = (2.0, 4.0, 8.0, 16.0, 30.0)  # seconds before the second try and each later one
# What git says, in English, of a host that it cannot reach, and of one that breaks off or is overloaded.
_OF_GIT = re.compile(
    r"could not resolve|name resolution|name or service not known|nodename nor servname|failed to connect|"
    r"couldn't connect to server|connection (refused|reset|closed|timed out)|operation (timed out|too slow)|"
    r"network is unreachable|no route to host|broken pipe|host is down|empty reply from server|early eof|rpc failed|"
    r"remote end hung up|kex_exchange_identification|ssl_error_syscall|gnutls recv error|gnutls_handshake|"
    r"returned error: (408|429|5\d\d)",
    re.IGNORECASE,
)
_REFUSALS = (FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError, PermissionError)
# Errors of connections that are no OSError: of botocore and of aiohttp.
_CONNECTIONS = {"ConnectionError", "HTTPClientError", "ClientConnectionError", "ClientPayloadError"}


class FetchAway(FetchError):
    """The place of the code does not answer: it may do so in a moment."""


def line_of_git(said: str) -> str:
    """Return the last line of git that tells of a place that does not answer; "" where none does."""
    return next((line.strip() for line in reversed(said.splitlines()) if _OF_GIT.search(line)), "")


def is_away(error: Exception) -> bool:
    """Return whether an error of a file system is one of its connection, and no answer."""
    if isinstance(error, OSError):
        return not isinstance(error, _REFUSALS)
    return any(kind.__name__ in _CONNECTIONS for kind in type(error).__mro__)


def patiently(fetch: Callable[[], T], sleep: Callable[[float], object]) -> T:
    """Fetch; again after each of `PAUSES` while the place does not answer.

    Raises:
        FetchError: it did not answer at any of the tries; and what else `fetch` raises, at once.
    """
    for pause in PAUSES:
        try:
            return fetch()
        except FetchAway as error:
            logger.warning("%s. It is tried again in %g s.", error, pause)
        sleep(pause)
    try:
        return fetch()
    except FetchAway as error:
        raise FetchError(f"{error}; tried {len(PAUSES) + 1} times within {sum(PAUSES):.0f} s or more") from error
