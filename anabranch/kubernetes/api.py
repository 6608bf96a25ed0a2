"""The API of one Kubernetes cluster, as launchers and clusters use it; any thread may.

An answer that is a refusal becomes a `KubernetesError` with what to do. What passes by itself (429, 5xx, a login that
was renewed) is asked again. A `create` that has lost its answer finds its own object, by our labels.
"""

from __future__ import annotations

import os
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Self

from anabranch.core.errors import KubernetesError
from anabranch.kubernetes.login import SERVICE_ACCOUNT, login
from anabranch.kubernetes.refusals import Asked, refused, unreachable
from anabranch.kubernetes.resources import NAMESPACES
from anabranch.kubernetes.retrying import pause_before
from anabranch.kubernetes.transport import Answer, NoAnswerError, Transport

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator, Mapping

    from anabranch.kubernetes.resources import Resource

OURS = "anabranch/"  # begins the labels by which an object is known as ours
ANSWER = 30.0  # seconds for an answer
PAGE = 500  # objects of a list
MERGE = "application/merge-patch+json"


class KubernetesApi:
    """A connection to one cluster, made at the first question.

    Args:
        kubeconfig: its path; "": KUBECONFIG, else ~/.kube/config, else the service account of this pod.
        context: of the kubeconfig; "": its current one.
        namespace: "": that of the context or of the pod.
        service_account: the folder with a pod's token.

    Raises:
        KubernetesError: there is no login to be found; says what to set.
    """

    def __init__(
        self, *, kubeconfig: str = "", context: str = "", namespace: str = "", service_account: str = SERVICE_ACCOUNT
    ) -> None:
        self._login = login(
            os.environ, kubeconfig=kubeconfig, context=context, namespace=namespace, service_account=service_account
        )
        self.transport = Transport(self._login)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection and what is under way. Idempotent."""
        self.transport.close()

    @property
    def namespace(self) -> str:
        """The namespace that questions go to unless they name another. Raises KubernetesError."""
        if not self.transport.server:
            self.transport.run(self._placed(Asked("get", NAMESPACES)))
        return self.transport.namespace

    @property
    def server(self) -> str:
        """The server's address; "" until the first question."""
        return self.transport.server

    @property
    def context(self) -> str:
        """The name of the kubeconfig's context; "" for the service account of a pod. Raises KubernetesError."""
        return self.transport.context if self.namespace else ""

    @property
    def version(self) -> tuple[int, ...]:
        """Major and minor version of the server; empty where it does not tell. Raises KubernetesError."""
        return self.transport.version if self.namespace else ()

    # -- questions -------------------------------------------------------------------------------

    def get(self, resource: Resource, name: str, namespace: str = "") -> dict[str, Any]:
        """Return an object; KubernetesError with code 404 where there is none."""
        return self._run(Asked("get", resource, namespace, name), "GET")

    def objects(
        self, resource: Resource, namespace: str = "", *, labels: str = "", fields: str = ""
    ) -> list[dict[str, Any]]:
        """Return all objects that the selectors choose, page by page, without their managedFields."""
        work = self._all(Asked("list", resource, namespace), selectors(labels, fields))
        found: list[dict[str, Any]] = self.transport.run(work)
        return found

    def create(self, resource: Resource, body: Mapping[str, Any], namespace: str = "") -> dict[str, Any]:
        """Create an object and return it; one of this name with the same labels of ours counts as created.

        Raises:
            KubernetesError: it is refused; code 409: there is one of somebody else.
        """
        name = str(body["metadata"]["name"])
        try:
            return self._run(Asked("create", resource, namespace, name), "POST", body)
        except KubernetesError as error:
            if error.reason != "AlreadyExists":
                raise
            there = self.get(resource, name, namespace)
            if _ours(body) and _ours(body) == _ours(there):
                return there
            raise

    def patch(
        self, resource: Resource, name: str, body: Mapping[str, Any], namespace: str = "", *, part: str = ""
    ) -> dict[str, Any]:
        """Merge fields into an object; None deletes one. Returns the object.

        Args:
            part: of the object, such as "scale".
        """
        return self._run(Asked("patch", resource, namespace, name, part), "PATCH", body)

    def delete(
        self, resource: Resource, name: str, namespace: str = "", *, grace: int | None = None, uid: str = ""
    ) -> bool:
        """Delete an object and what it owns; returns whether it was there.

        Args:
            grace: seconds for a pod to end; None: as it says itself.
            uid: of the very object: another of the same name stays, and False is returned.
        """
        options: dict[str, Any] = {"propagationPolicy": "Background"}
        if grace is not None:
            options["gracePeriodSeconds"] = grace
        if uid:
            options["preconditions"] = {"uid": uid}
        try:
            self._run(Asked("delete", resource, namespace, name), "DELETE", options)
        except KubernetesError as error:
            if error.code == 404 or (error.code == 409 and uid):
                return False
            raise
        return True

    def text(self, resource: Resource, name: str, part: str, params: Mapping[str, str], namespace: str = "") -> str:
        """Return a part of an object that is text, such as a pod's log."""
        asked = Asked("get", resource, namespace, name, part)
        found = self.transport.run(self.answer(asked, "GET", params))
        return found if isinstance(found, str) else str(found)

    def lines(
        self, resource: Resource, name: str, part: str, params: Mapping[str, str], namespace: str = "", *,
        silence: float,
    ) -> Iterator[str]:  # fmt: skip
        """Yield the lines of a part as they come; the end of the stream says nothing of the object.

        Raises:
            KubernetesError: refused; code 0: the stream was cut, or silent for `silence` seconds.
        """
        asked = Asked("get", resource, namespace, name, part)
        stream = self.stream(asked, params, silence)
        try:
            while (line := self.transport.run(_next(stream))) is not None:
                yield line
        finally:
            self.transport.run(_end(stream))

    # -- on the loop -----------------------------------------------------------------------------

    async def stream(
        self, asked: Asked, params: Mapping[str, str], silence: float, opened: Callable[[], None] | None = None
    ) -> AsyncGenerator[str, None]:
        """Yield the lines of an answer that does not end soon. Raises KubernetesError; a cut has code 0.

        Args:
            opened: called once the server has agreed.
        """
        asked = await self._placed(asked)
        stream = self.transport.stream(asked.resource.base, _url(asked), params=params, silence=silence)
        try:
            async with aclosing(stream) as lines:
                async for line in lines:
                    if not isinstance(line, Answer):
                        yield line
                    elif line.status != 200:
                        if line.status == 401:
                            await self.transport.renew()  # for the next time
                        raise refused(asked, line.status, line.body, line.retry_after)
                    elif opened is not None:
                        opened()
        except NoAnswerError as error:
            raise unreachable(asked.server, asked.login, str(error)) from error

    async def answer(self, asked: Asked, method: str, params: Mapping[str, str], body: Any = None) -> Any:
        """Ask until there is an answer that counts. Raises KubernetesError."""
        import asyncio

        attempt, renewed = 0, False
        while True:
            attempt += 1
            try:
                return await self._once(asked, method, params, body)
            except KubernetesError as error:
                pause = pause_before(attempt, error.code, str(error), error.retry_after)
                if error.code == 401 and not renewed:
                    renewed, pause = True, 0.0
                    await self.transport.renew()
                if pause is None:
                    raise
            await asyncio.sleep(pause)

    async def _once(self, asked: Asked, method: str, params: Mapping[str, str], body: Any) -> Any:
        asked = await self._placed(asked)
        try:
            got = await self.transport.request(
                method, asked.resource.base, _url(asked), params=params, body=body,
                content=MERGE if method == "PATCH" else "application/json", seconds=ANSWER,
            )  # fmt: skip
        except NoAnswerError as error:
            raise unreachable(asked.server, asked.login, str(error)) from error
        if got.status >= 400:
            raise refused(asked, got.status, got.body, got.retry_after)
        return got.body

    async def _all(self, asked: Asked, selectors: Mapping[str, str]) -> list[dict[str, Any]]:
        params = {"limit": str(PAGE), **selectors}
        found: list[dict[str, Any]] = []
        while True:
            page = await self.answer(asked, "GET", params)
            found += [lean(one) for one in page.get("items") or ()]
            params["continue"] = str(page["metadata"].get("continue") or "")
            if not params["continue"]:
                return found

    async def _placed(self, asked: Asked) -> Asked:
        """Connect, and return the question with the place that it goes to."""
        try:
            await self.transport.connected()
        except NoAnswerError as error:
            raise unreachable(self.server, self._login.words, str(error)) from error
        place = (asked.namespace or self.transport.namespace) if asked.resource.namespaced else ""
        return asked._replace(server=self.server, login=self._login.words, namespace=place)

    def _run(self, asked: Asked, method: str, body: Any = None) -> dict[str, Any]:
        found: dict[str, Any] = self.transport.run(self.answer(asked, method, {}, body))
        return found


def selectors(labels: str, fields: str) -> dict[str, str]:
    """Return the parameters by which a list or a watch chooses its objects."""
    return ({"labelSelector": labels} if labels else {}) | ({"fieldSelector": fields} if fields else {})


def lean(body: dict[str, Any]) -> dict[str, Any]:
    """Take an object's managedFields away, which are often the larger part of it."""
    body.get("metadata", {}).pop("managedFields", None)
    return body


def _url(asked: Asked) -> str:
    """Return the address of a question, below that of its kind."""
    place = ["namespaces", asked.namespace] if asked.namespace else []
    name = [asked.name] if asked.name and asked.verb != "create" else []
    return "/".join([*place, asked.resource.plural, *name, *([asked.part] if asked.part else [])])


def _ours(body: Mapping[str, Any]) -> dict[str, str]:
    labels = body["metadata"].get("labels") or {}
    return {name: value for name, value in labels.items() if name.startswith(OURS)}


async def _next(stream: AsyncGenerator[str, None]) -> str | None:
    return await anext(stream, None)


async def _end(stream: Any) -> None:
    await stream.aclose()
