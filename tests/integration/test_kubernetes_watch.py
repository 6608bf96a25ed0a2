"""A watch through all that servers and networks do to it, over real connections to a small server that plays them."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

pytest.importorskip("kr8s")
import yaml

from anabranch.core.errors import KubernetesError
from anabranch.core.launching import Phase, Reference
from anabranch.kubernetes.api import KubernetesApi
from anabranch.kubernetes.reflector import Reflector
from anabranch.kubernetes.resources import JOBS
from anabranch.launch.kubernetes import KubernetesLauncher
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DEADLINE = 50.0


class Player:
    """What the server does, in turn: each function answers one request."""

    def __init__(self) -> None:
        self.acts: list[Callable[[BaseHTTPRequestHandler, dict[str, str]], None]] = []
        self.asked: list[dict[str, str]] = []
        self.over = threading.Event()

    def __call__(self, request: BaseHTTPRequestHandler) -> None:
        query = {name: values[0] for name, values in parse_qs(urlsplit(request.path).query).items()}
        if request.path.startswith("/version"):
            return answer(request, 200, {"gitVersion": "v1.33.0"})
        self.asked.append(query)
        act = self.acts[min(len(self.asked), len(self.acts)) - 1]
        return act(request, query)


def answer(request: BaseHTTPRequestHandler, code: int, body: Any, **headers: str) -> None:
    data = json.dumps(body).encode()
    request.send_response(code)
    for name, value in {"Content-Length": str(len(data)), **headers}.items():
        request.send_header(name.replace("_", "-"), value)
    request.end_headers()
    request.wfile.write(data)


@pytest.fixture
def player(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Player]:
    """The server is KUBECONFIG's; a bed is not needed."""
    player = Player()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            player(self)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    config = {
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
        "users": [{"name": "u", "user": {}}], "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": "lab"}}],
    }  # fmt: skip
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    try:
        yield player
    finally:
        player.over.set()
        server.shutdown()
        thread.join()
        server.server_close()


def thing(name: str, version: int) -> dict[str, Any]:
    return {"metadata": {"name": name, "uid": name, "resourceVersion": str(version)}}


def listing(*things: dict[str, Any], version: int) -> Callable[..., None]:
    body = {"metadata": {"resourceVersion": str(version)}, "items": list(things)}
    return lambda request, query: answer(request, 200, body)


def refusing(code: int, **headers: str) -> Callable[..., None]:
    return lambda request, query: answer(request, code, {"kind": "Status", "code": code, "message": "so"}, **headers)


def watch(player: Player, *events: tuple[str, dict[str, Any]], then: str = "end") -> Callable[..., None]:
    """Send events; then end as a server does, cut the connection in the middle of a line, or say nothing more."""

    def act(request: BaseHTTPRequestHandler, query: dict[str, str]) -> None:
        request.send_response(200)
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        for kind, one in events:
            send(request, json.dumps({"type": kind, "object": one}).encode() + b"\n")
        if then == "end":
            request.wfile.write(b"0\r\n\r\n")
        elif then == "cut":
            send(request, b'{"type": "ADDED", "obj')
            request.close_connection = True
        else:
            player.over.wait(DEADLINE)
            request.close_connection = True

    return act


def send(request: BaseHTTPRequestHandler, data: bytes) -> None:
    request.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
    request.wfile.flush()


def known(found: list[dict[str, Any]]) -> dict[str, str]:
    return {one["metadata"]["name"]: one["metadata"]["resourceVersion"] for one in found}


def seen(reflector: Reflector, **things: str) -> bool:
    return bool(reflector.wait(lambda found: known(found) == things or None, DEADLINE))


def by_kind(to_list: Callable[..., None], to_watch: Callable[..., None]) -> Callable[..., None]:
    return lambda request, query: (to_watch if "watch" in query else to_list)(request, query)


GONE = ("ERROR", {"kind": "Status", "code": 410, "reason": "Expired"})


def test_a_server_that_ends_the_stream_is_asked_from_the_last_version(player: Player) -> None:
    player.acts = [
        listing(thing("a", 1), version=5),
        watch(player, ("ADDED", thing("b", 6))),
        watch(player, ("BOOKMARK", {"metadata": {"resourceVersion": "70"}}), then="cut"),
        watch(player, ("MODIFIED", thing("a", 71)), then="silence"),
    ]
    with KubernetesApi() as api, Reflector(api, JOBS) as reflector:
        assert seen(reflector, a="71", b="6")
    assert [query.get("resourceVersion") for query in player.asked] == [None, "5", "6", "70"]


@pytest.mark.parametrize("how", ["status", "event"])
def test_an_expired_version_is_listed_anew_with_its_deletions(player: Player, how: str) -> None:
    player.acts = [
        listing(thing("a", 1), thing("b", 2), version=5),
        refusing(410) if how == "status" else watch(player, GONE, then="silence"),
        listing(thing("b", 3), thing("c", 4), version=90),
        watch(player, then="silence"),
    ]
    with KubernetesApi() as api, Reflector(api, JOBS) as reflector:
        assert seen(reflector, b="3", c="4")
        assert reflector.wait(lambda _: len(player.asked) == 4 or None, DEADLINE)
    assert [query.get("resourceVersion") for query in player.asked] == [None, "5", None, "90"]


def test_a_hundred_jobs_are_seen_by_one_watch_through_its_ends(player: Player, tmp_path: Path) -> None:
    """However often they are looked at, there are as many requests as the server makes necessary."""
    some = [flow_pod(number, 300 + number, "Succeeded") for number in range(50)]
    rest = [flow_pod(number, 600 + number, "Succeeded") for number in range(50, 100)]
    player.acts = [
        listing(*[flow_pod(number, number, "Running") for number in range(100)], version=200),
        watch(player, *[("MODIFIED", one) for one in some]),  # and the server closes it
        refusing(410),
        listing(*some, *rest, version=900),
        watch(player, then="silence"),
    ]
    server = yaml.safe_load((tmp_path / "kubeconfig").read_text())["clusters"][0]["cluster"]["server"]
    references = [
        Reference("kubernetes", f"lab/job-{number}/uid-{number}", f"job-{number}", str(tmp_path), f"c {server}")
        for number in range(100)
    ]
    launcher, looks = KubernetesLauncher(), 0
    try:

        def over() -> bool:
            nonlocal looks
            looks += 1
            return {one.phase for one in launcher.look(references).values()} == {Phase.ENDED}

        until(over, seconds=DEADLINE)
        until(lambda: over() and looks >= 50)
        assert len(player.asked) == len(player.acts), player.asked
        assert sum("watch" in query for query in player.asked) == 3
    finally:
        launcher.close()


def flow_pod(number: int, version: int, phase: str) -> dict[str, Any]:
    meta = {"name": f"job-{number}-x", "uid": f"pod-{number}", "resourceVersion": str(version)}
    owner = [{"kind": "Job", "name": f"job-{number}", "uid": f"uid-{number}", "controller": True}]
    state = {"running": {}} if phase == "Running" else {"terminated": {"exitCode": 0}}
    return {
        "metadata": {**meta, "ownerReferences": owner, "creationTimestamp": "2026-11-29T12:00:00Z"},
        "spec": {"containers": [{"name": "flow"}], "restartPolicy": "Never"},
        "status": {"phase": phase, "containerStatuses": [{"name": "flow", "state": state}]},
    }


def test_a_version_that_stays_expired_is_no_hot_loop(player: Player) -> None:
    """Each watch is refused: the pauses grow, and the objects are known all the same."""
    player.acts = [by_kind(listing(thing("a", 1), version=5), refusing(410))]
    with KubernetesApi() as api, Reflector(api, JOBS) as reflector:
        assert seen(reflector, a="1")
        assert reflector.wait(lambda _: None, 2.0) is None
    assert len(player.asked) < 12


def test_a_silent_stream_is_begun_again(player: Player) -> None:
    player.acts = [
        listing(thing("a", 1), version=5),
        watch(player, ("MODIFIED", thing("a", 6)), then="silence"),
        watch(player, ("MODIFIED", thing("a", 7)), then="silence"),
    ]
    with KubernetesApi() as api, Reflector(api, JOBS, silence=0.5) as reflector:
        assert seen(reflector, a="7")
    assert player.asked[2]["resourceVersion"] == "6"


def test_a_busy_server_and_one_that_fails_are_waited_out(player: Player) -> None:
    player.acts = [
        refusing(429, Retry_After="1"), refusing(500), listing(thing("a", 1), version=5), refusing(503),
        watch(player, ("MODIFIED", thing("a", 6)), then="silence"),
    ]  # fmt: skip
    with KubernetesApi() as api, Reflector(api, JOBS) as reflector:
        assert seen(reflector, a="6")


def test_an_object_that_is_none_ends_no_watch(player: Player) -> None:
    player.acts = [
        listing(thing("a", 1), version=5),
        watch(player, ("ADDED", {"metadata": {}}), then="silence"),
        listing(thing("a", 8), version=9),
        watch(player, then="silence"),
    ]
    with KubernetesApi() as api, Reflector(api, JOBS) as reflector:
        assert seen(reflector, a="8")


def test_what_may_be_old_is_not_told_as_what_is(player: Player) -> None:
    """The server is gone: a question is answered by an error, and by what there is once the server is back."""
    back = threading.Event()

    def gone(request: BaseHTTPRequestHandler, query: dict[str, str]) -> None:
        if back.is_set():
            watch(player, ("MODIFIED", thing("a", 9)), then="silence")(request, query)
        else:
            refusing(503)(request, query)

    player.acts = [listing(thing("a", 1), version=5), gone]
    with KubernetesApi() as api, Reflector(api, JOBS) as reflector:
        assert seen(reflector, a="1")
        assert "failed to watch jobs.batch in namespace lab" in trouble_of(reflector)
        back.set()
        assert seen(reflector, a="9")
        assert known(reflector.objects()) == {"a": "9"}


def trouble_of(reflector: Reflector) -> str:
    def found(_: object) -> str | None:
        try:
            reflector.objects()
        except KubernetesError as error:
            return str(error)
        return None

    return reflector.wait(found, DEADLINE) or "none"


def test_a_stream_that_is_closed_leaves_nothing_behind(player: Player) -> None:
    player.acts = [by_kind(listing(version=5), watch(player, then="silence"))]
    before = threading.active_count()
    with KubernetesApi() as api:
        reflectors = [Reflector(api, JOBS) for _ in range(3)]
        assert [reflector.objects() for reflector in reflectors] == [[], [], []]
    with pytest.raises(KubernetesError, match="closed"):
        Reflector(api, JOBS)
    player.over.set()
    until(lambda: threading.active_count() <= before + 3)  # the server's own, which end with their connections
