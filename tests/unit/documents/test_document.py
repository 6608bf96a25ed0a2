"""A deployment's document: the same in Python, JSON, YAML and the record."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch import Secret
from anabranch.core.errors import DeploymentError
from anabranch.core.secrets import restored
from anabranch.documents import yaml_file
from anabranch.documents.document import ALIASES, Document
from anabranch.documents.parameters import MOST, plain

if TYPE_CHECKING:
    from collections.abc import Mapping

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/%&><\n"), min_size=1, max_size=12)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(texts, values, max_size=3)
schedules = st.one_of(
    st.fixed_dictionaries({"cron": texts}, optional={"timezone": texts, "day_or": st.booleans(), "slug": texts}),
    st.fixed_dictionaries({"interval": st.integers(1) | st.timedeltas()}, optional={"anchor_date": st.datetimes()}),
    st.fixed_dictionaries({"rrule": texts}, optional={"active": st.booleans(), "parameters": objects}),
)
storages = st.sampled_from([
    None, "/srv/flows", {"module": "a.b"}, "s3://bucket/x", {"url": "s3://b", "options": {"anon": True}},
    {"git": "https://host/r.git", "ref": "main", "folder": "a/b"}, {"image": "r/i:1"},
])  # fmt: skip
optional = {name: st.none() | texts for name in ("entrypoint", "path", "description", "version", "project")}
documents = st.builds(
    Document,
    name=names,
    flow_name=names,
    storage=storages,
    parameters=objects,
    parameter_schema=objects,
    enforce_parameter_schema=st.booleans(),
    schedules=st.none() | st.lists(schedules, max_size=2),
    tags=st.lists(texts, max_size=2),
    labels=st.lists(texts, max_size=2),
    work_pool_name=st.none() | names,
    work_queue_name=st.none() | names,
    job_variables=objects,
    concurrency_limit=st.none() | st.integers(0, 9),
    collision_strategy=st.sampled_from(["enqueue", "CANCEL_NEW", "cancel_running"]),
    recover=st.sampled_from(["resume", "restart", "no"]),
    expire_after=st.none() | st.floats(0, 1e9),
    paused=st.booleans(),
    idempotency_key=st.none() | texts,
    **optional,
)


@given(documents)
def test_reading_what_was_written_gives_the_same(document: Document) -> None:
    assert Document.read(document.document()) == document
    assert Document.read(json.loads(json.dumps(document.document()))) == document
    assert Document.read(yaml_file.parsed(yaml_file.written(document), "file")) == document
    assert Document.of_row(document.row()) == document


@given(documents)
def test_a_row_decides_by_what_the_document_says(document: Document) -> None:
    row = document.row("id")
    assert (row.full_name, row.id) == (f"{document.flow_name}/{document.name}", "id")
    assert row.pool == (document.work_pool_name or "default")
    assert row.queue == (document.work_queue_name or "default")
    assert (row.slots, row.collision, row.recover) == (
        document.concurrency_limit, document.collision_strategy, document.recover,
    )  # fmt: skip


def test_what_makes_a_new_revision() -> None:
    def hashed(**given: Any) -> str:
        return Document(**{"name": "d", "flow_name": "f", **given}).content_hash()

    before = hashed()
    assert hashed(paused=True) == hashed(idempotency_key="k") == before
    changes: list[dict[str, Any]] = [
        {"parameters": {"a": 1}}, {"tags": ["x"]}, {"schedules": [{"interval": 1}]}, {"work_pool_name": "p"},
        {"entrypoint": "a.py:f"}, {"version": "2"}, {"concurrency_limit": 1}, {"collision_strategy": "cancel_new"},
    ]  # fmt: skip
    assert len({hashed(**change) for change in changes} | {before}) == len(changes) + 1


def test_other_spellings() -> None:
    found = Document.read(
        {"name": "d", "flow": "f", "pool": "p", "queue": "q", "infra_overrides": {"a": 1}, "slots": 3,
         "schedule": {"cron": "* * * * *"}}
    )  # fmt: skip
    same = Document.read(
        {"name": "d", "flow_name": "f", "work_pool": {"name": "p", "work_queue_name": "q", "job_variables": {"a": 1}},
         "concurrency_limit": {"limit": 3, "collision_strategy": "ENQUEUE"}, "schedules": [{"cron": "* * * * *"}]}
    )  # fmt: skip
    assert found == same
    assert set(ALIASES.values()) <= {*vars(found)}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"name": "d", "paramters": {}}, "no key 'paramters'; did you mean 'parameters'?"),
        ({"name": "d", "work_pool": {"nam": "p"}}, "work_pool has no key 'nam'; did you mean 'name'?"),
        ({"name": "d", "concurrency_limit": {"limits": 1}}, "did you mean 'limit'?"),
        ({"name": "d", "pool": "a", "work_pool_name": "b"}, "'work_pool_name' is given twice"),
        ({"flow_name": "f"}, "needs a name"),
        ({"name": "a/b"}, "name: must be a text without any of"),
        ({"name": "d", "tags": "x"}, "tags: "),
        ({"name": "d", "concurrency_limit": -1}, "concurrency_limit: must be a whole number of 0 or more, got -1"),
        ({"name": "d", "recover": "perhaps"}, "recover: "),
        ({"name": "d", "collision_strategy": "x"}, "collision_strategy: "),
        ({"name": "d", "schedules": [{"corn": "* * * * *"}]}, "schedules: a schedule has one of cron, interval, rrule"),
        ({"name": "d", "schedules": {"cron": "* * * * *"}}, "must be a list of schedules"),
        ({"name": "d", "storage": {"gti": "x"}}, "did you mean 'git'?"),
        ({"name": "d", "storage": {"git": "https://h/r", "branch": "x"}}, "a reference by git has no key 'branch'"),
        ({"name": "d", "expire_after": -1}, "expire_after: must be 0 or more"),
    ],
)
def test_what_is_refused_is_named(given: Mapping[str, Any], message: str) -> None:
    with pytest.raises(DeploymentError) as refused:
        Document.read(given, "here.yaml")
    assert message in str(refused.value)
    assert str(refused.value).startswith("here.yaml: ")


def test_a_row_needs_a_flow() -> None:
    with pytest.raises(DeploymentError, match="no flow_name"):
        Document("d").row()


# -- parameters ----------------------------------------------------------------------------------


class Point(pydantic.BaseModel):
    x: int


def test_parameters_become_json() -> None:
    given = {"day": date(2024, 1, 2), "path": Path("/a"), "point": Point(x=1), "set": {1}, 3: "key",
             "when": datetime(2024, 1, 2, 3), "long": timedelta(hours=1)}  # fmt: skip
    assert Document("d", parameters=given).parameters == {
        "day": "2024-01-02", "path": "/a", "point": {"x": 1}, "set": [1], "3": "key", "when": "2024-01-02T03:00:00",
        "long": "PT1H",
    }  # fmt: skip


def test_a_secret_travels_by_its_name() -> None:
    document = Document("d", parameters={"keys": [Secret("THE_KEY")]})
    assert document.parameters == {"keys": [{"$secret": "THE_KEY"}]}
    assert restored(document.parameters) == {"keys": [Secret("THE_KEY")]}
    with pytest.raises(DeploymentError, match=r"parameters|here.key: a deployment keeps no secrets"):
        Document("d", parameters={"key": pydantic.SecretStr("hidden")})


def test_values_that_are_none_of_json() -> None:
    class Own:
        pass

    cases: list[tuple[Any, str]] = [(float("nan"), "no number"), (Own(), "written"), ([0] * MOST, "more than")]
    for value, message in cases:
        with pytest.raises(DeploymentError, match=message):
            plain({"a": value})
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(DeploymentError, match="deep"):
        plain(endless)
