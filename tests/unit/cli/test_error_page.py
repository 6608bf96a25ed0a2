"""Which section of the page of errors a command names, and what `explain` takes a word for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from anabranch.cli import cli, error_page
from anabranch.core import states
from anabranch.core.errors import AnabranchError, FetchError, MapError
from anabranch.core.runs import FlowRunRow
from anabranch.documents.storage.away import FetchAway
from anabranch.records.sqlite import SqliteRecords

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("kind", "name"), [(MapError, "MapError"), (FetchError, "FetchError"), (FetchAway, "FetchError"), (ValueError, "")]
)
def test_a_command_names_a_section_that_is_there(kind: type[Exception], name: str) -> None:
    assert error_page.name_of(kind.__new__(kind)) == name


def test_a_base_of_which_the_page_says_nothing_names_none() -> None:
    assert error_page.name_of(AnabranchError("x")) == ""


def test_a_run_with_the_name_of_a_class_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANABRANCH_HOME", str(tmp_path))
    row = FlowRunRow("01a22cd9", "survey", "Nightly", states.COMPLETED, "Completed", created=1.0, ended=2.0)
    with SqliteRecords(tmp_path / "records.db") as records:
        records.append([row])
    done = CliRunner().invoke(cli, ["explain", "Nightly"])
    assert done.exit_code == 0, done.output
    assert "anabranch has no error 'Nigthly'" in CliRunner().invoke(cli, ["explain", "Nigthly"]).output
    assert "from anabranch.errors import MapError" in CliRunner().invoke(cli, ["explain", "MapError"]).output
