"""The .sql files in PostgreSQL's words; no server is asked, the contract suite does that."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.records import service
from anabranch.records.postgres_dialect import SQL, of_folder, schema, translated, with_nul, without_nul
from anabranch.records.statements import QUERIES


def test_every_query_is_there_and_has_no_word_of_sqlite_left() -> None:
    assert SQL.keys() == QUERIES.keys()
    for name, sql in SQL.items():
        assert not re.search(r"\?|json_each|\bmax\([^()]*,|\bchar\(|rowid|NOCASE|[^:]:[a-z]", sql), name
    for step in schema():
        for statement in step.statements:
            assert not re.search(r"AUTOINCREMENT|BLOB|REAL|INTEGER|TEXT", statement), statement


@pytest.mark.parametrize(
    ("sqlite", "postgres"),
    [
        ("SELECT a FROM t WHERE b = ? AND c = :c;", "SELECT a FROM t WHERE b = %s AND c = %(c)s"),
        ("UPDATE t SET a = max(a, ?)", "UPDATE t SET a = greatest(a, %s)"),
        ("SELECT max(a) FROM t", "SELECT max(a) FROM t"),
        (
            "WHERE i.state NOT IN (SELECT value FROM json_each(:states))",
            "WHERE i.state <> ALL (ARRAY(SELECT CAST(value AS bigint) FROM "
            "json_array_elements_text(CAST(%(states)s AS json)) AS t (value)))",
        ),
        (
            "WHERE id IN (SELECT value FROM json_each(?))",
            "WHERE id = ANY (ARRAY(SELECT value FROM json_array_elements_text(CAST(%s AS json)) AS t (value)))",
        ),
    ],
)
def test_words(sqlite: str, postgres: str) -> None:
    assert translated(sqlite) == postgres


def test_every_list_is_an_array() -> None:
    """PostgreSQL's planner guesses wrong how long the rows of a function are, and reads whole tables."""
    for queries in (SQL, of_folder(Path(service.__file__).parent)):
        for name, sql in queries.items():
            arrays = re.findall(r"(= ANY|<> ALL) \(ARRAY\(SELECT", sql)
            assert len(arrays) == sql.count("json_array_elements_text"), name


@given(st.text(st.sampled_from("\0\x1a01ab")))
def test_any_text_comes_back(text: str) -> None:
    stored = without_nul(text)
    assert "\0" not in stored
    assert with_nul(stored) == text
