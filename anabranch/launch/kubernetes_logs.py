"""The lines of a container as they come, once each, through cut streams and rotations.

    pod waits --> its container runs --> stream --cut, silent--> stream from the last line's second on, without equals
                                           |--refused--> `lines` raises; other trouble: once more after a longer pause
                                           '--ended--> the container has ended? --no--> once more
                                                              '--yes--> one last look, done
"""

from __future__ import annotations

import re
from collections import Counter, deque
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from anabranch.core.errors import KubernetesError
from anabranch.kubernetes.reasons import created
from anabranch.kubernetes.refusals import Asked
from anabranch.kubernetes.resources import PODS
from anabranch.launch.kubernetes_manifest import CONTAINER

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from anabranch.kubernetes.api import KubernetesApi

SILENCE = 60.0  # seconds without a line after which the stream is begun again: it may be dead
_PAUSE = 0.25  # seconds between two looks at a pod
_LONGEST_PAUSE = 8.0  # seconds before a log in trouble is asked for again
_LOGINS = 2  # refusals of the login in a row: it is renewed after the first one
_STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


class Cursor:
    """Where a reader of a log is: it asks from the last second on, and leaves out what it had.

    A server that sends no stamps, as some do, sends all lines again: as many are left out as there were.
    """

    def __init__(self) -> None:
        self._second = ""
        self._had: Counter[str] = Counter()  # lines of that second
        self._old: Counter[str] = Counter()
        self._plain = 0  # lines without a stamp
        self._skip = 0

    def begin(self) -> dict[str, str]:
        """Return the parameters of the next request."""
        self._old, self._skip = Counter(self._had), self._plain
        return {"timestamps": "true"} | ({"sinceTime": f"{self._second}Z"} if self._second else {})

    def take(self, line: str) -> str | None:
        """Return a line's text without its stamp; None for one that was had before."""
        stamp, _, text = line.partition(" ")
        if not _STAMP.fullmatch(stamp):
            if self._skip:
                self._skip -= 1
                return None
            self._plain += 1
            return line
        if self._old[line]:
            self._old[line] -= 1
            return None
        if stamp[:19] != self._second:
            self._second, self._had = stamp[:19], Counter()
        self._had[line] += 1
        return text


def container_state(pod: Mapping[str, Any] | None) -> str:
    """Return where the flow's container is: "waiting", "running" or "terminated"; "" where there is no pod."""
    statuses = ((pod or {}).get("status") or {}).get("containerStatuses") or ()
    for one in statuses:
        if one["name"] == CONTAINER:
            return next(iter(one.get("state") or {}), "waiting")
    phase = ((pod or {}).get("status") or {}).get("phase")
    return "terminated" if phase in ("Failed", "Succeeded") else "waiting" if pod else ""


def newest(pods: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    return max(pods, key=created, default=None)


class Following:
    """Follows the log of a job's newest pod, on the connection's loop.

    Args:
        pods: returns the job's pods as they are now, without waiting; raises KubernetesError where that is not known.
    """

    def __init__(self, api: KubernetesApi, namespace: str, pods: Callable[[], Sequence[dict[str, Any]]]) -> None:
        self._api = api
        self._namespace = namespace
        self._pods = pods
        self._came: deque[str] = deque()
        self._troubles: list[int] = []  # codes of HTTP in a row, since the log was to be had
        self._work: Any = api.transport.spawn(self._follow())

    @property
    def done(self) -> bool:
        """Whether the container has ended and all of its lines have come."""
        return bool(self._work.done())

    def lines(self) -> list[str]:
        """Return what has come since the last call.

        Raises:
            KubernetesError: the log is refused: a right is missing, or the login is no longer taken. What had come
                before was returned by an earlier call.
        """
        over, found = self.done, []
        while self._came:
            found.append(self._came.popleft())
        if over and not found and not self._work.cancelled() and (error := self._work.exception()) is not None:
            raise error
        return found

    def close(self) -> None:
        self._work.cancel()

    async def _follow(self) -> None:
        import asyncio

        cursor, uid = Cursor(), ""
        while True:
            known, pod = self._newest()
            if known and pod is None and uid:  # it was deleted, and its log with it
                return
            state = container_state(pod)
            if pod is not None and pod["metadata"]["uid"] != uid:
                cursor, uid = Cursor(), pod["metadata"]["uid"]
            if pod is not None and state in ("running", "terminated"):
                got = await self._read(pod["metadata"]["name"], cursor, follow=state == "running")
                if state == "terminated" and got:
                    return
            await asyncio.sleep(pause_after(len(self._troubles)))

    def _newest(self) -> tuple[bool, dict[str, Any] | None]:
        """Return whether it is known which pods there are, and the newest."""
        try:
            return True, newest(self._pods())
        except KubernetesError:
            return False, None

    async def _read(self, name: str, cursor: Cursor, *, follow: bool) -> bool:
        """Read what there is, or until the stream ends; returns whether the log has been read to its end.

        Raises:
            KubernetesError: it is refused, and would be the next time.
        """
        asked = Asked("get", PODS, self._namespace, name, "log")
        params = {"container": CONTAINER, **cursor.begin()} | ({"follow": "true"} if follow else {})
        try:
            async with aclosing(self._api.stream(asked, params, SILENCE, self._troubles.clear)) as lines:
                async for line in lines:
                    if (text := cursor.take(line)) is not None:
                        self._came.append(text)
        except KubernetesError as error:
            if error.code in (400, 404):  # gone, or never there: no more will come
                return True
            self._troubles.append(error.code)
            if error.code == 403 or self._troubles[-_LOGINS:] == [401] * _LOGINS:
                raise
            return False
        return True


def pause_after(troubles: int) -> float:
    """Return the seconds until a log is asked for again.

    Args:
        troubles: how often in a row it was not to be had.
    """
    return float(min(_PAUSE * 2 ** min(troubles, 20), _LONGEST_PAUSE))


def unread(error: KubernetesError) -> str:
    """Return the line that stands in place of a log that cannot be had."""
    return f"the log cannot be had: {error}"


def whole(api: KubernetesApi, namespace: str, pod: Mapping[str, Any], **params: str) -> list[str]:
    """Return the lines of a pod's log as they are now; none where it has none. Raises KubernetesError."""
    name = pod["metadata"]["name"]
    try:
        return api.text(PODS, name, "log", {"container": CONTAINER, **params}, namespace).splitlines()
    except KubernetesError as error:
        if error.code in (400, 404):  # it has not begun, or is gone; other trouble is no answer
            return []
        raise
