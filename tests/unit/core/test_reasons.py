"""Reasons: every word has a sentence, details travel as JSON, and what people type names what they mean."""

from __future__ import annotations

import re

import pytest

from anabranch.core import reasons
from anabranch.core.errors import RecordsError
from anabranch.diagnosis.from_record import Because, Explanation, target

TOLD = {"attempt": 2, "error": "ValueError: bad", "message": "no good", "state": "Failed"}
DETAILS = {
    "upstream": {"upstream": "load[3]", "state": "Failed"},
    "cache-hit": {"parts": ["inputs", "task source"], "key": "abc"},
    "poison": {"cause": "worker-lost", "spent": 3},
    "timeout": {"seconds": 2.0, "spent": 1, "of": 1},
    "capacity": {"resources": "gpus=2 (none)", "seconds": 300},
    "limit": {"limit": "tag:db", "used": 2, "places": 2},
    "limit/shared": {"limit": "tag:api", "places": 1},
    "walltime/interrupted": {"ran": 3000.0, "walltime": 3540.0},
    "walltime": {"takes": 12.0, "left": 4.0},
    "resources": {"resources": "gpus=2 (none)"},
    "slots": {"runner": "thread", "busy": 8, "slots": 4},
    "reader": {"ahead": 9},
    "driver": {"driver": "process 7 on here"},
}


@pytest.mark.parametrize("word", reasons.ENDED)
def test_every_end_has_a_whole_sentence(word: str) -> None:
    text = reasons.sentence(word, DETAILS.get(word, {}), **TOLD)
    assert not {"?", "{"} & set(text), text


@pytest.mark.parametrize("word", reasons.WAITING)
def test_every_wait_has_a_whole_sentence(word: str) -> None:
    text = reasons.sentence(word, DETAILS.get(word, {}), waits=True)
    assert not {"?", "{"} & set(text), text


def test_words_are_code_words() -> None:
    for word in (*reasons.ENDED, *reasons.WAITING):
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*(/[a-z]+(-[a-z]+)*)?", word)


@pytest.mark.parametrize(
    ("details", "text"),
    [
        ({"spent": 0, "of": 0}, "it has no retries"),
        ({"spent": 1, "of": 3}, "1 of 3 retries is spent"),
        ({"spent": 3, "of": 3}, "3 of 3 retries are spent"),
        ({"spent": 0, "of": 3, "refused": "retry_on"}, "retry_on allowed no other attempt, 0 of 3 retries are spent"),
    ],
)
def test_a_budget_is_told_in_full(details: dict[str, object], text: str) -> None:
    assert reasons.sentence("budget/user", details, **TOLD) == f"attempt 2 ended with ValueError: bad; {text}"


def test_details_travel_as_json() -> None:
    made = reasons.make("upstream", upstream="lädt[3]", index=3)
    assert reasons.details_of(made.details) == {"upstream": "lädt[3]", "index": 3}
    assert reasons.make("input") == reasons.Reason("input", "")
    assert reasons.details_of("") == reasons.details_of("{half") == reasons.details_of("[1]") == {}


def test_a_word_of_a_newer_version_is_shown_by_its_message() -> None:
    assert reasons.sentence("moonphase", {}, message="the moon was full") == "the moon was full"
    assert reasons.sentence("moonphase", {}) == "moonphase"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("load", ("load", 0, None)),
        ("load[17]", ("load", 0, 17)),
        ("load#2[0]", ("load", 2, 0)),
        ("load#2", ("load", 2, None)),
        ("a task [x][3]", ("a task [x]", 0, 3)),
    ],
)
def test_targets(text: str, found: tuple[str, int, int | None]) -> None:
    assert target(text) == found


def test_an_empty_target_is_refused() -> None:
    with pytest.raises(RecordsError, match="TASK"):
        target("")


def test_an_explanation_reads_well() -> None:
    one = Because("load", "m", 3, 1, "Failed", "budget/user", "attempt 1 ended with ValueError; it has no retries")
    many = Because("load", "m", 3, 5000, "Failed", "budget/user", "so it is")
    assert str(one) == "load[3] Failed [budget/user]: attempt 1 ended with ValueError; it has no retries"
    assert str(many) == "load: 5,000 x Failed [budget/user]: so it is (first at item 3)"
    assert str(Explanation("x", (one, many), 2, 7000)).endswith("\nand 7,000 runs in 2 other groups")
    assert str(Explanation("x")) == "no task run has failed, was retried or was cancelled"
    assert Explanation("x", (one,)).plain()["groups"][0]["reason"] == "budget/user"
