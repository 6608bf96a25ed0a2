"""Keys as a server looks them up: right ones, all kinds of wrong ones, and those of runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from anabranch.core import secrets
from anabranch.core.access import ADMIN, AGENT, RUN, VIEWER, Access
from anabranch.core.errors import AccessError
from anabranch.records.service.direct import DirectService
from anabranch.records.service.memory import memory_service
from anabranch.testing import ManualClock
from tests.begun import begun

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1000.0)


@pytest.fixture
def service(clock: ManualClock) -> Iterator[DirectService]:
    made = memory_service(clock=clock)
    yield made
    made.close()


def test_a_key_opens_what_it_was_made_for(service: DirectService) -> None:
    assert not service.keys.any()
    text = service.keys.make("fleet", AGENT, pool="default").text
    assert service.keys.any()
    assert service.keys.access(text) == Access("fleet", AGENT, "default")


def test_a_wrong_key_opens_nothing_and_is_not_repeated(service: DirectService) -> None:
    text = service.keys.make("ann", ADMIN).text
    last = "A" if text[-1] != "A" else "B"
    other = f"ab_{'a' * 8}_{'b' * 43}"
    for wrong in ("", "ab", text[:-1], text[:-1] + last, text + "A", text.upper(), other, "\ud800"):
        with pytest.raises(AccessError) as caught:
            service.keys.access(wrong)
        assert len(wrong) < 3 or wrong not in str(caught.value)


def test_a_key_that_is_over_says_so(service: DirectService, clock: ManualClock) -> None:
    short, gone = service.keys.make("short", VIEWER, expires=1010.0), service.keys.make("gone", VIEWER)
    service.keys.revoke("gone")
    assert service.keys.access(short.text).role == VIEWER
    clock.advance(10)
    for text, said in ((short.text, "'short' has expired"), (gone.text, "'gone' was revoked")):
        with pytest.raises(AccessError, match=said):
            service.keys.access(text)
    assert not service.keys.any()


def test_the_last_use_is_noted_once_a_minute(service: DirectService, clock: ManualClock) -> None:
    text = service.keys.make("ann", VIEWER).text
    for seconds, noted in ((1, 1001.0), (30, 1001.0), (31, 1062.0)):
        clock.advance(seconds)
        service.keys.access(text)
        assert service.keys.all()[0].last_used == noted


def test_the_record_does_not_have_the_text(service: DirectService) -> None:
    text = service.keys.make("ann", ADMIN).text
    with service.database.opened() as db:
        row = db.execute("SELECT * FROM api_keys").fetchone()
    assert text not in str(row)
    assert text.split("_", 2)[2] not in str(row)  # the secret part may have an underscore itself
    assert secrets.mask(f"key {text}") == f"key {secrets.MASK}"


def test_a_runs_key_is_of_one_run_and_one_token(service: DirectService) -> None:
    token = begun(service, "a_b_3")
    text = service.keys.of_run("a_b_3", token)
    assert DirectService(service.database).keys.access(text) == Access("run a_b_3", RUN, run="a_b_3", token=token)
    assert text == service.keys.of_run("a_b_3", token)
    for wrong in (text.replace("_1_", "_8_"), text.replace("a_b_3", "a_b_4"), text[:-1], text.replace("_1_", "_01_x")):
        with pytest.raises(AccessError):
            service.keys.access(wrong)
    assert not service.keys.any()


def test_keys_of_runs_differ_between_records(service: DirectService) -> None:
    other = memory_service()
    with pytest.raises(AccessError):
        other.keys.access(service.keys.of_run("r", 1))
    other.close()
