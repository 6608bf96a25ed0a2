"""Columns of the service's tables: a dataclass comes back as it was, whatever is in it."""

from __future__ import annotations

import dataclasses
import sqlite3
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.core.deployments import DeploymentRow, ProjectRow, RevisionRow, ScheduleRow
from anabranch.core.orders import Agent, Order, Pool, Queue
from anabranch.records.service.rows import made, values
from anabranch.records.statements import migrations

KINDS = [DeploymentRow, ProjectRow, RevisionRow, ScheduleRow, Agent, Order, Pool, Queue]
TABLES = {
    DeploymentRow: "deployments", ProjectRow: "projects", RevisionRow: "deployment_revisions", ScheduleRow: "schedules",
    Agent: "agents", Order: "orders", Pool: "work_pools", Queue: "work_queues",
}  # fmt: skip
RENAMED = {"by": "author", "cursor": "ticks_until", "key": "order_key"}
TEXTS = st.text(max_size=9)
DOCUMENTS = st.dictionaries(TEXTS, st.recursive(st.none() | TEXTS | st.integers(), lambda inner: st.lists(inner)))


@st.composite
def rows(draw: st.DrawFn) -> Any:
    kind = draw(st.sampled_from(KINDS))
    given_types: dict[Any, Any] = {
        dict[str, Any]: DOCUMENTS,
        str: TEXTS,
        tuple[str, ...]: st.lists(TEXTS, max_size=3).map(tuple),
    }
    hints = get_type_hints(kind)
    return kind(
        **{name: draw(given_types[hint] if hint in given_types else st.from_type(hint)) for name, hint in hints.items()}
    )


@given(row=rows())
def test_a_row_comes_back_as_it_was(row: Any) -> None:
    stored = values(row)
    assert all(type(value) in (str, int, float, type(None)) for value in stored)
    back = made(type(row), stored)
    assert repr(back) == repr(row)
    assert back == row or "nan" in repr(row)


@pytest.mark.parametrize("kind", KINDS)
def test_fields_stand_in_the_order_of_the_columns(kind: Any) -> None:
    """The statements name columns, and values have no names: a field out of its place would go into another column."""
    db = sqlite3.connect(":memory:")
    for step in migrations():
        for statement in step.statements:
            db.execute(statement)
    columns = [column[1] for column in db.execute(f"PRAGMA table_info({TABLES[kind]})")]
    fields = [RENAMED.get(field.name, field.name) for field in dataclasses.fields(kind) if field.name != "held"]
    assert [column for column in columns if column in fields] == fields


def test_a_field_may_be_left_out_and_a_row_may_end_early() -> None:
    agent = Agent("a", "n", queues=("q",), held=4)
    assert made(Agent, values(agent, "held")) == dataclasses.replace(agent, held=0)
