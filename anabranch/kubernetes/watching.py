"""A list and a watch that survive what happens to them, as a state machine without I/O, threads or clocks.

            .-----------------410, as a status or as an event: what was deleted meanwhile is computed-----.
            v                                                                                             |
    list, page by page --version of the list--> watch --line--> a change, or a newer version (bookmark) --+
            ^   |                                 ^  '--ended, cut, silent--> from the last version ------'
            '---'  failed: again, after a pause   '---------- failed: again, after a pause

What is to be asked next is an `Ask`; what came of it is told by `page`, `line`, `ended` or `failed`.
"""

from __future__ import annotations

import json
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

from anabranch.kubernetes.api import PAGE, lean

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

WATCH_SECONDS = 290  # after which the server ends a watch: ours is to be known alive
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
GONE = 410  # the version is too old, or the token of a page


class Ask(NamedTuple):
    """A question that is to be asked.

    Attributes:
        watch: of a watch, with lines that come one by one; else of a page of a list.
        params: of the request.
        pause: seconds to wait before.
    """

    watch: bool
    params: dict[str, str]
    pause: float


class Change(Enum):
    """What happened to an object."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"


class Watching:
    """See the module's head.

    Args:
        selectors: parameters that choose the objects.
        jitter: a factor for pauses, about 1: programs that were cut off together come back apart.

    Attributes:
        objects: what there is, by uid.
        synced: whether there was a whole list since the last 410.
    """

    def __init__(self, selectors: Mapping[str, str], jitter: Callable[[], float] = lambda: 1.0) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.synced = False
        self._selectors = dict(selectors)
        self._jitter = jitter
        self._version = ""  # "": a list is to come
        self._pages: dict[str, dict[str, Any]] = {}
        self._continue = ""
        self._limited = True
        self._fruitless = 0  # questions in a row that brought nothing
        self._lines = 0
        self._wish = 0.0

    def next(self) -> Ask:
        """Return what is to be asked now."""
        pause, self._wish = max(self._pause(), self._wish), 0.0
        if self._version:
            self._lines = 0
            words = {"watch": "true", "resourceVersion": self._version, "allowWatchBookmarks": "true"}
            return Ask(True, {**self._selectors, **words, "timeoutSeconds": str(WATCH_SECONDS)}, pause)
        params = dict(self._selectors)
        if self._limited:
            params["limit"] = str(PAGE)
        if self._continue:
            params["continue"] = self._continue
        return Ask(False, params, pause)

    def _pause(self) -> float:
        """A first end without fruit is no reason to wait: a watch of quiet objects ends so."""
        if self._fruitless < 2:
            return 0.0
        return float(min(_FIRST_PAUSE * 2 ** (self._fruitless - 2), _LONGEST_PAUSE) * self._jitter())

    # -- what came -------------------------------------------------------------------------------

    def page(self, body: Mapping[str, Any]) -> list[tuple[Change, dict[str, Any]]]:
        """Take a page of a list; returns what has changed, with the last page."""
        for one in body.get("items") or ():
            self._pages[one["metadata"]["uid"]] = lean(one)
        self._continue = str(body["metadata"].get("continue") or "")
        if self._continue:
            return []
        before, self.objects, self._pages = self.objects, self._pages, {}
        self._version = str(body["metadata"]["resourceVersion"])
        self._limited = self.synced = True
        changes = [(Change.DELETED, one) for uid, one in before.items() if uid not in self.objects]
        for uid, one in self.objects.items():
            if uid not in before:
                changes.append((Change.ADDED, one))
            elif _version(one) != _version(before[uid]):
                changes.append((Change.MODIFIED, one))
        return changes

    def line(self, text: str) -> list[tuple[Change, dict[str, Any]]]:
        """Take a line of a watch; returns what has changed. One that cannot be read was cut, and is left out."""
        try:
            event = json.loads(text)
            kind, one = event["type"], event["object"]
        except (ValueError, TypeError, KeyError):
            return []
        if kind == "ERROR":
            self.failed(int(one.get("code") or 500), (one.get("details") or {}).get("retryAfterSeconds"))
            return []
        self._lines += 1
        self._fruitless = 0
        self._version = _version(one)
        if kind not in Change.__members__:  # a bookmark
            return []
        change, uid = Change(kind), one["metadata"]["uid"]
        if change is Change.DELETED:
            self.objects.pop(uid, None)
        else:
            self.objects[uid] = one
        return [(change, lean(one))]

    def ended(self) -> None:
        """Take the end of a watch: by the server, by a cut, by silence. It goes on from the last version."""
        if not self._lines:
            self._fruitless += 1

    def failed(self, code: int, retry_after: float | None = None) -> None:
        """Take the failure of a question.

        Args:
            code: of HTTP; 0: no answer.
            retry_after: seconds that the server wants to be left alone.
        """
        self._fruitless += 1
        self._wish = float(retry_after or 0.0)
        if code == GONE:
            self._limited = not self._continue  # a list that outlives its pages comes in one piece
            self._version, self._continue, self._pages = "", "", {}
            self.synced = False


def _version(one: Mapping[str, Any]) -> str:
    return str(one["metadata"]["resourceVersion"])
