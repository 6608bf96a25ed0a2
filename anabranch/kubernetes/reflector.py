"""The objects of one kind as they are now, kept by one watch for however many questions."""

from __future__ import annotations

import random
import threading
import time
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar

from anabranch.core.errors import KubernetesError
from anabranch.kubernetes.api import selectors
from anabranch.kubernetes.refusals import Asked
from anabranch.kubernetes.watching import GONE, Watching

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.kubernetes.api import KubernetesApi
    from anabranch.kubernetes.resources import Resource

    T = TypeVar("T")

SILENCE = 100.0  # seconds; the server sends a bookmark about once a minute


class Reflector:
    """Watches objects from its start to its close; see `watching` for how.

    Args:
        namespace: "": that of the connection.
        labels, fields: selectors.
        silence: seconds without a byte after which the watch is begun again.
    """

    def __init__(
        self, api: KubernetesApi, resource: Resource, namespace: str = "", *, labels: str = "", fields: str = "",
        silence: float = SILENCE,
    ) -> None:  # fmt: skip
        self._api = api
        self._asked = Asked("watch", resource, namespace)
        self._silence = silence
        self._state = Watching(selectors(labels, fields), lambda: random.uniform(0.8, 1.2))
        self._changed = threading.Condition()
        self._told = 0  # how often something came
        self._trouble: KubernetesError | None = None
        self._work: Any = api.transport.spawn(self._watch())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the watch. Idempotent."""
        self._work.cancel()

    def objects(self, seconds: float = 30.0) -> list[dict[str, Any]]:
        """Return what there is, as of the last change; waits for the first list. The objects are not to be changed.

        Raises:
            KubernetesError: there is no list within `seconds`, or the watch is in trouble: what was seen may be old.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._state.synced or self._stays(), seconds)
            if self._trouble is not None:
                raise self._trouble
            if not self._state.synced:
                raise KubernetesError(f"no list of {self._asked.named} came within {seconds:g} s: try again later")
            return list(self._state.objects.values())

    def wait(self, ready: Callable[[list[dict[str, Any]]], T | None], seconds: float) -> T | None:
        """Wait until a function of the objects returns something; returns that, or None after `seconds`.

        Args:
            ready: it is called at each change, in the caller's thread.

        Raises:
            KubernetesError: the watch is refused, for a reason that does not pass. Other trouble is waited out.
        """
        until = time.monotonic() + seconds
        while True:
            with self._changed:
                if self._stays() and self._trouble is not None:
                    raise self._trouble
                told = self._told
                objects = list(self._state.objects.values()) if self._state.synced else None
            if objects is not None and (found := ready(objects)) is not None:
                return found
            with self._changed:
                while self._told == told:
                    if not self._changed.wait(max(0.0, until - time.monotonic())):
                        return None

    def _stays(self) -> bool:
        code = self._trouble.code if self._trouble is not None else 0
        return 400 <= code < 500 and code not in (408, GONE, 429)

    # -- on the loop -----------------------------------------------------------------------------

    async def _watch(self) -> None:
        import asyncio

        while True:
            ask = self._state.next()
            await asyncio.sleep(ask.pause)
            try:
                if ask.watch:
                    await self._follow(ask.params)
                else:
                    body = await self._api.answer(self._asked._replace(verb="list"), "GET", ask.params)
                    self._tell(partial(self._state.page, body))
            except KubernetesError as error:
                trouble = None if error.code == GONE else error
                self._tell(partial(self._state.failed, error.code, error.retry_after), trouble)
            except Exception as error:  # an object that is none: the watch would end, and nobody know
                what = KubernetesError(f"the watch of {self._asked.named} is begun anew after {error!r}")
                self._tell(partial(self._state.failed, GONE), what)

    async def _follow(self, params: dict[str, str]) -> None:
        opened = False

        def agreed() -> None:
            nonlocal opened
            opened = True
            self._tell(lambda: None)

        try:
            async with aclosing(self._api.stream(self._asked, params, self._silence, agreed)) as lines:
                async for line in lines:
                    self._tell(partial(self._state.line, line))
                    if not self._state.synced:  # 410 as an event: what else comes is of no use
                        return
        except KubernetesError as error:
            if error.code or not opened:
                raise
        self._tell(self._state.ended)

    def _tell(self, what: Callable[[], object], trouble: KubernetesError | None = None) -> None:
        with self._changed:
            what()
            self._trouble = trouble
            self._told += 1
            self._changed.notify_all()
