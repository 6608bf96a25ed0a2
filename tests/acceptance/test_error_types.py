"""`except MyError` catches on every runner what it catches in plain Python."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from anabranch import flow, task
from tests.acceptance.ways import WAYS, result_of


class TwoArgs(Exception):
    def __init__(self, where: str, why: str) -> None:
        super().__init__(f"{where}: {why}")
        self.where, self.why = where, why


class KeywordOnly(Exception):
    def __init__(self, message: str, *, code: int) -> None:
        super().__init__(message)
        self.code = code


class Holder(Exception):
    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.lock = threading.Lock()
        self.code = 7


class Delegates(Exception):
    def __init__(self, fields: dict[str, Any]) -> None:
        super().__init__("api")
        self.fields = fields

    def __getattr__(self, name: str) -> Any:
        return self.__dict__["fields"][name]


class NoWords(Exception):
    def __str__(self) -> str:
        raise LookupError("no words")

    __repr__ = __str__


class Cancels(BaseException):
    def __getattr__(self, name: str) -> Any:
        raise KeyError(name)


KINDS: dict[str, tuple[type[BaseException], dict[str, Any]]] = {
    "two": (TwoArgs, {"where": "disk", "why": "full"}),
    "keyword": (KeywordOnly, {"code": 503}),
    "holder": (Holder, {"code": 7}),
    "delegates": (Delegates, {"fields": {}}),
    "no words": (NoWords, {}),
    "base": (Cancels, {}),
    "unicode": (UnicodeDecodeError, {"reason": "invalid start byte", "start": 0}),
    "file": (FileNotFoundError, {"filename": "/no/such/file"}),
    "group": (ExceptionGroup, {"message": "both"}),
}


def fail(kind: str) -> Any:
    if kind == "two":
        raise TwoArgs("disk", "full")
    if kind == "keyword":
        raise KeywordOnly("bad answer", code=503)
    if kind == "holder":
        raise Holder("has a lock")
    if kind == "delegates":
        raise Delegates({})
    if kind == "no words":
        raise NoWords
    if kind == "base":
        raise Cancels("base")
    if kind == "unicode":
        return b"\xff".decode()
    if kind == "file":
        return open("/no/such/file")
    if kind == "group":
        raise ExceptionGroup("both", [TwoArgs("a", "b"), ValueError("c")])
    return kind


fails = task(fail)
fails_again = task(fail, retries=1, name="fails_again")  # type: ignore[call-overload]


@pytest.mark.parametrize("way", WAYS)
def test_an_exception_is_caught_by_its_type(runner: str, way: str) -> None:
    for kind, (expected, attributes) in KINDS.items():
        with pytest.raises(expected) as caught:
            result_of(way, fails, kind)
        assert {name: getattr(caught.value, name) for name in attributes} == attributes


def test_an_exception_of_a_retried_task_too(threads: str) -> None:
    for kind, (expected, _) in KINDS.items():
        for way in WAYS:
            with pytest.raises(expected):
                result_of(way, fails_again, kind)


def test_an_exception_goes_through_a_flow(threads: str) -> None:
    @flow
    def passes(kind: str) -> Any:
        return fails(kind)

    for kind, (expected, _) in KINDS.items():
        with pytest.raises(expected):
            passes(kind)


def test_neighbours_of_what_fails_complete(runner: str) -> None:
    futures = fails.map([*KINDS, "fine"], chunk=len(KINDS) + 1)
    futures.wait(60.0)
    assert futures.failed() == list(range(len(KINDS)))
    assert futures[len(KINDS)].result() == "fine"


def test_the_cause_is_the_same_everywhere(runner: str) -> None:
    def wraps() -> None:
        try:
            raise TwoArgs("disk", "full")
        except TwoArgs as error:
            raise ValueError("wrapped") from error

    error: Any = task(wraps).submit().exception(60.0)
    assert type(error) is ValueError
    assert type(error.__cause__) is TwoArgs
    assert error.__cause__.why == "full"
