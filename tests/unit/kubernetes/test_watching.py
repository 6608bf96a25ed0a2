"""A list and a watch that go on: whatever happens to them, what is known is what the server has."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.kubernetes.watching import Change, Watching


def thing(name: str, version: int, uid: str = "") -> dict[str, Any]:
    meta = {"name": name, "uid": uid or name, "resourceVersion": str(version), "managedFields": [{"large": "part"}]}
    return {"kind": "Job", "metadata": meta}


def page(*things: dict[str, Any], version: int = 10, more: str = "") -> dict[str, Any]:
    return {"metadata": {"resourceVersion": str(version), "continue": more}, "items": list(things)}


def event(kind: str, one: dict[str, Any]) -> str:
    return json.dumps({"type": kind, "object": one})


def gone() -> str:
    return event("ERROR", {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"})


def changes(found: list[tuple[Change, dict[str, Any]]]) -> list[str]:
    return sorted(f"{change.value} {one['metadata']['name']}" for change, one in found)


@pytest.fixture
def watching() -> Watching:
    return Watching({"labelSelector": "anabranch/job"})


def listed(watching: Watching, *things: dict[str, Any], version: int = 10) -> list[str]:
    return changes(watching.page(page(*things, version=version)))


def test_a_list_comes_page_by_page_and_counts_once_it_is_whole(watching: Watching) -> None:
    assert watching.next().params == {"labelSelector": "anabranch/job", "limit": "500"}
    assert watching.page(page(thing("a", 1), more="next")) == []
    assert not watching.synced
    assert watching.next().params["continue"] == "next"
    assert changes(watching.page(page(thing("b", 2)))) == ["ADDED a", "ADDED b"]
    assert watching.synced


def test_a_watch_begins_at_the_version_of_the_list(watching: Watching) -> None:
    listed(watching, thing("a", 1), version=77)
    ask = watching.next()
    assert ask.watch
    assert ask.pause == 0
    assert ask.params == {
        "labelSelector": "anabranch/job", "watch": "true", "resourceVersion": "77", "allowWatchBookmarks": "true",
        "timeoutSeconds": "290",
    }  # fmt: skip


def test_changes_are_kept_without_their_managed_fields(watching: Watching) -> None:
    listed(watching, thing("a", 1))
    assert changes(watching.line(event("ADDED", thing("b", 11)))) == ["ADDED b"]
    assert changes(watching.line(event("MODIFIED", thing("a", 12)))) == ["MODIFIED a"]
    assert changes(watching.line(event("DELETED", thing("b", 13)))) == ["DELETED b"]
    assert [one["metadata"] for one in watching.objects.values()] == [
        {"name": "a", "uid": "a", "resourceVersion": "12"}
    ]


def test_an_ended_watch_goes_on_from_the_last_version_without_a_pause(watching: Watching) -> None:
    listed(watching, thing("a", 1))
    watching.next()
    watching.line(event("BOOKMARK", {"kind": "Job", "metadata": {"resourceVersion": "900"}}))
    watching.ended()
    ask = watching.next()
    assert ask.params["resourceVersion"] == "900"
    assert ask.pause == 0


def test_a_server_that_ends_each_watch_at_once_is_asked_less_and_less(watching: Watching) -> None:
    listed(watching)
    pauses = []
    for _ in range(12):
        pauses.append(watching.next().pause)
        watching.ended()
    assert pauses[:2] == [0, 0]
    assert pauses[2:8] == [0.5, 1, 2, 4, 8, 16]
    assert pauses[-1] == 30


@pytest.mark.parametrize("how", ["status", "event"])
def test_an_expired_version_is_listed_anew_and_deletions_are_computed(watching: Watching, how: str) -> None:
    listed(watching, thing("a", 1), thing("b", 2), thing("c", 3))
    watching.next()
    if how == "status":
        watching.failed(410)
    else:
        assert watching.line(gone()) == []
    assert not watching.synced
    ask = watching.next()
    assert not ask.watch
    assert "resourceVersion" not in ask.params
    found = listed(watching, thing("a", 1), thing("b", 50), thing("c", 60, uid="another"), version=99)
    assert found == ["ADDED c", "DELETED c", "MODIFIED b"]
    assert watching.next().params["resourceVersion"] == "99"


def test_a_list_whose_pages_expire_begins_anew_in_one_piece(watching: Watching) -> None:
    watching.page(page(thing("old", 1), more="token"))
    watching.next()
    watching.failed(410)
    ask = watching.next()
    assert "continue" not in ask.params
    assert "limit" not in ask.params
    assert listed(watching, thing("new", 2)) == ["ADDED new"]
    watching.failed(410)
    assert "limit" in watching.next().params


def test_versions_that_expire_again_and_again_are_no_hot_loop(watching: Watching) -> None:
    """kr8s sent 601 requests in two seconds."""
    pauses = []
    for _ in range(10):
        listed(watching)
        watching.next()
        watching.failed(410)
        pauses.append(watching.next().pause)
    assert sum(pauses) > 60


def test_a_busy_server_is_left_alone_as_long_as_it_asks(watching: Watching) -> None:
    listed(watching)
    watching.failed(429, 7)
    assert watching.next().pause == 7
    watching.line(event("ERROR", {"code": 429, "details": {"retryAfterSeconds": 9}}))
    assert watching.next().pause == 9


def test_a_line_that_was_cut_is_left_out(watching: Watching) -> None:
    listed(watching, thing("a", 1))
    assert watching.line('{"type": "ADDED", "obj') == []
    assert watching.line("") == []
    assert watching.next().params["resourceVersion"] == "10"


class Server:
    """What a server has, and what it has told since each version."""

    def __init__(self) -> None:
        self.version = 1
        self.things: dict[str, dict[str, Any]] = {}
        self.told: list[tuple[int, str]] = []

    def change(self, name: str) -> None:
        self.version += 1
        kind = "MODIFIED" if name in self.things else "ADDED"
        if name in self.things and self.version % 3 == 0:
            kind = "DELETED"
        one = thing(name, self.version, uid=name if kind != "ADDED" else f"{name}{self.version}")
        if name in self.things:
            one["metadata"]["uid"] = self.things[name]["metadata"]["uid"]
        if kind == "DELETED":
            del self.things[name]
        else:
            self.things[name] = one
        self.told.append((self.version, event(kind, one)))


WHAT = st.one_of(st.sampled_from("abcd"), st.sampled_from(["cut", "410", "410 event", "500", "read"]))


@given(st.lists(WHAT, max_size=60))
def test_what_is_known_becomes_what_is_there(steps: list[str]) -> None:
    server, watching = Server(), Watching({})
    oldest = 0
    for step in [*steps, "read", "read"]:
        if step in "abcd":
            server.change(step)
            continue
        ask = watching.next()
        if step == "500":
            watching.failed(500)
        elif not ask.watch:
            watching.page(json.loads(json.dumps(page(*server.things.values(), version=server.version))))
        elif step == "410" or int(ask.params["resourceVersion"]) < oldest:
            oldest = server.version
            watching.failed(410)
        elif step == "410 event":
            watching.line(gone())
        else:
            lines = [text for version, text in server.told if version > int(ask.params["resourceVersion"])]
            for text in lines[: len(lines) // 2] if step == "cut" else lines:
                watching.line(text)
            watching.ended()
    while not (ask := watching.next()).watch:
        watching.page(page(*server.things.values(), version=server.version))
    for version, text in server.told:
        if version > int(ask.params["resourceVersion"]):
            watching.line(text)
    known = {one["metadata"]["name"]: one["metadata"]["resourceVersion"] for one in watching.objects.values()}
    assert known == {name: one["metadata"]["resourceVersion"] for name, one in server.things.items()}
