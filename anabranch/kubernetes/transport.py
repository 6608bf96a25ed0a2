"""Requests to one API server, over kr8s: a loop in a thread of its own carries them out for all threads.

    any thread --coroutine--> the loop's thread --kr8s' call_api (httpx)--> API server

kr8s brings the login: kubeconfig, exec plug-ins, certificates, service account. What it would do by itself after an
answer is left out: it sends a 403 four times. A login that was refused is read anew once, by `renew`.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import ssl
import tempfile
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from anabranch.core.errors import KubernetesError, MissingExtraError
from anabranch.kubernetes.login import pod_namespace

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine, Iterator, Mapping

    from anabranch.kubernetes.login import Login

CONNECT = 5.0  # seconds until a connection stands
TOKEN_HOLDS = 60.0  # seconds; a pod's token is renewed in its file


class Answer(NamedTuple):
    """What came back.

    Attributes:
        body: the object, or the text where it is none.
        retry_after: seconds, as the server asks.
    """

    status: int
    body: Any
    retry_after: float | None = None


class NoAnswerError(Exception):
    """Raised inside of this room where no answer came, or a stream was cut; says why."""


class Transport:
    """See the module's head.

    Attributes:
        server: the address, once connected.
        namespace: the one that requests go to unless they name another, once connected.
        context: of the kubeconfig; "": the login is a pod's.
        version: major and minor, of the server; empty: it has not told.
    """

    def __init__(self, login: Login) -> None:
        import asyncio

        self.server = ""
        self.namespace = login.namespace
        self.context = login.context
        self.version: tuple[int, ...] = ()
        self._login = login
        self._api: Any = None
        self._read = 0.0  # when the login was read
        self._loop = asyncio.new_event_loop()
        self._lock = asyncio.Lock()
        self._thread = threading.Thread(target=self._loop.run_forever, name="anabranch-kubernetes", daemon=True)
        self._thread.start()

    # -- any thread ------------------------------------------------------------------------------

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Carry a coroutine out on the loop, and wait for its result."""
        return self.spawn(work).result()

    def spawn(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Begin to carry a coroutine out on the loop; returns its future."""
        import asyncio

        if self._loop.is_closed():
            work.close()
            raise KubernetesError("this connection to Kubernetes is closed")
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def close(self) -> None:
        """End what is under way. Idempotent."""
        if self._loop.is_closed():
            return
        self.run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # -- on the loop -----------------------------------------------------------------------------

    async def _end(self) -> None:
        import asyncio

        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._leave()
        await self._loop.shutdown_asyncgens()

    async def request(
        self, method: str, base: str, url: str, *, params: Mapping[str, str], body: Any = None,
        content: str = "application/json", seconds: float,
    ) -> Answer:  # fmt: skip
        """Send a request and return its answer, whatever its status. Raises NoAnswerError."""
        api = await self.connected()
        data = None if body is None else json.dumps(body)
        with _no_answer(seconds):
            async with api.call_api(
                method, version="", base=base, url=url, raise_for_status=False, params=dict(params), content=data,
                headers=self._headers(content), timeout=seconds,
            ) as response:  # fmt: skip
                return Answer(response.status_code, _body(response.text), _retry_after(response.headers))

    async def stream(
        self, base: str, url: str, *, params: Mapping[str, str], silence: float
    ) -> AsyncGenerator[Any, None]:
        """Yield the `Answer` first, then its lines where its status is 200. Raises NoAnswerError.

        Args:
            silence: seconds without a byte after which the stream counts as cut.
        """
        api = await self.connected()
        with _no_answer(silence):
            async with api.call_api(
                "GET", version="", base=base, url=url, raise_for_status=False, stream=True, params=dict(params),
                headers=self._headers("application/json"), timeout=(CONNECT, silence, CONNECT, CONNECT),
            ) as response:  # fmt: skip
                if response.status_code != 200:
                    await response.aread()
                    yield Answer(response.status_code, _body(response.text), _retry_after(response.headers))
                    return
                yield Answer(200, None)
                async for line in response.aiter_lines():
                    yield line

    def _headers(self, content: str) -> dict[str, str]:
        token = self._api.auth.token
        return {"Content-Type": content} | ({"Authorization": f"Bearer {token}"} if token else {})

    async def connected(self) -> Any:
        """Return kr8s' client, with a login that is read anew once a minute where it is a pod's."""
        async with self._lock:
            if self._api is None:
                self._api = await self._connect()
            elif not self._login.kubeconfig and time.monotonic() - self._read > TOKEN_HOLDS:
                with _no_login(self._login):
                    await self._api.auth.reauthenticate()
                self._taken(self._api.auth)
            return self._api

    def _taken(self, auth: Any) -> None:
        auth.token = auth.token and auth.token.strip()  # a file ends in a line's end, which no header may have
        self._read = time.monotonic()

    async def renew(self) -> None:
        """Read the login anew: a kubeconfig that was changed, an exec plug-in, a token that was replaced."""
        async with self._lock:
            await self._leave()

    async def _connect(self) -> Any:
        try:
            import kr8s
        except ImportError:
            raise MissingExtraError("Kubernetes needs kr8s: pip install 'anabranch[kubernetes]'") from None
        login = self._login
        with _no_login(login):
            # Not by its factory, which asks for the server's version and warns of those it does not know.
            api: Any = kr8s.Api(
                bypass_factory=True, kubeconfig=login.kubeconfig or None, context=login.context or None,
                serviceaccount=login.service_account,
            )  # fmt: skip
            await api.auth
        self._taken(api.auth)
        self.server = str(api.auth.server)
        self.namespace = login.namespace or _namespace(login, api.auth)
        self.context = str(api.auth.active_context or "")
        with _no_answer(CONNECT):  # makes the session: two that are made at once would leave one open
            async with api.call_api(base="/version", version="", raise_for_status=False, timeout=CONNECT) as response:
                _drop_copies(api.auth)
                self.version = _version(_body(response.text))
        return api

    async def _leave(self) -> None:
        api, self._api = self._api, None
        if api is not None and api._session is not None:
            with contextlib.suppress(Exception):
                await api._session.aclose()


def _namespace(login: Login, auth: Any) -> str:
    """Return the namespace of the chosen context or of the pod: kr8s has that of the current context."""
    if not login.kubeconfig:
        return pod_namespace(login.service_account) or "default"
    return str(auth.kubeconfig.get_context(auth.active_context).get("namespace") or "default")


def _drop_copies(auth: Any) -> None:
    """Delete the files with keys and certificates that kr8s has made of a kubeconfig's data, once they are read."""
    for path in (auth.client_key_file, auth.client_cert_file, auth.server_ca_file):
        made = path and os.path.dirname(str(path)) == tempfile.gettempdir() and os.path.basename(path).startswith("tmp")
        if made:
            with contextlib.suppress(OSError):
                os.unlink(path)


@contextlib.contextmanager
def _no_login(login: Login) -> Iterator[None]:
    try:
        yield
    except KubernetesError:
        raise
    except Exception as error:  # of the file's content, or of a plug-in: kr8s has no error of its own for these
        said = " ".join(str(error).split()) or type(error).__name__
        raise KubernetesError(
            f"the login to Kubernetes from {login.words} cannot be used: {said}. `kubectl get pods` asks the same"
        ) from error


@contextlib.contextmanager
def _no_answer(seconds: float) -> Iterator[None]:
    import httpx
    import kr8s

    try:
        yield
    except (kr8s.APITimeoutError, httpx.TimeoutException) as error:
        raise NoAnswerError(f"nothing came within {seconds:g} s") from error
    except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, ssl.SSLError, OSError) as error:
        raise NoAnswerError(" ".join(str(error).split()) or type(error).__name__) from error


def _body(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _version(body: Any) -> tuple[int, ...]:
    """Return the numbers of "v1.33.1-eks-123": (1, 33)."""
    found = re.match(r"v?(\d+)\.(\d+)", str(body.get("gitVersion", "")) if isinstance(body, dict) else "")
    return (int(found[1]), int(found[2])) if found else ()


def _retry_after(headers: Mapping[str, str]) -> float | None:
    text = headers.get("Retry-After", "")
    return float(text) if text.isdigit() else None
