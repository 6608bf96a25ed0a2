"""Names are such that Kubernetes takes them, within their limits, and two texts have two names."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.kubernetes.names import CLUSTER, JOB, LABEL, dns_name, is_dns_name, label_value


@pytest.mark.parametrize("text", ["survey", "survey-2", "a", "2-survey", "x" * 52])
def test_a_name_that_dns_takes_stays(text: str) -> None:
    assert dns_name(text, JOB) == text


@pytest.mark.parametrize(
    ("text", "begin"),
    [("Jane.Doe", "jane-doe-"), ("jane_doe", "jane-doe-"), ("x" * 53, "x" * 43 + "-"), ("Äger", "ger-"), ("__", "a-")],
)
def test_another_is_cut_and_marked(text: str, begin: str) -> None:
    found = dns_name(text, JOB)
    assert found.startswith(begin)
    assert re.fullmatch(r".*-[0-9a-f]{8}", found)
    assert len(found) <= JOB


def test_texts_that_look_alike_have_different_names() -> None:
    assert len({dns_name(text) for text in ("Jane.Doe", "jane_doe", "jane-doe", "JANE-DOE")}) == 4


def test_a_digit_is_not_first_where_a_letter_has_to_be() -> None:
    assert dns_name("2-survey", CLUSTER, letter_first=True).startswith("a-2-survey-")


@given(st.text(max_size=200), st.integers(12, 63), st.booleans())
def test_every_text_has_a_name(text: str, limit: int, letter: bool) -> None:
    found = dns_name(text, limit, letter_first=letter)
    assert is_dns_name(found, limit, letter_first=letter)
    assert dns_name(found, limit, letter_first=letter) == found


@given(st.text(max_size=200))
def test_every_text_has_a_label(text: str) -> None:
    found = label_value(text)
    assert len(found) <= LABEL
    assert re.fullmatch(r"([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)?", found)
    assert label_value(found) == found
