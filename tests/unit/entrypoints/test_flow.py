"""A flow is found by its file or module and its name; an error names what is there."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from anabranch.core.errors import EntrypointError, LoadError
from anabranch.entrypoints.flow import flow_of

if TYPE_CHECKING:
    from pathlib import Path

TWO = "from anabranch import flow\n\n@flow\ndef survey(): ...\n\n@flow\ndef census(): ...\n\nnumber = 3\n"


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "two_flows.py").write_text(TWO)
    (tmp_path / "no_flow.py").write_text("number = 3\n")
    (tmp_path / "broken_flow.py").write_text("def inner():\n    raise ValueError('no such field')\n\ninner()\n")


def test_a_flow_is_found_in_a_file_and_in_a_module() -> None:
    assert [flow_of(text).name for text in ("two_flows.py:survey", "two_flows:census")] == ["survey", "census"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("two_flow.py", "there is no file 'two_flow.py'; did you mean 'two_flows.py'?"),
        ("two_flow", "there is no module 'two_flow', and no file of this name"),
        ("two_flows.py:servey", "there is no flow 'servey' in 'two_flows.py'; did you mean 'survey'?"),
        ("two_flows.py:xxxxxx", "there is no flow 'xxxxxx' in 'two_flows.py'; there are: survey, census"),
        ("two_flows.py:number", "'number' in 'two_flows.py' is not a flow but a int"),
        ("two_flows.py", "'two_flows.py' holds several flows; say which one:\n  two_flows.py:survey"),
        ("no_flow.py", "there is no flow in 'no_flow.py': a flow is a function under @flow"),
    ],
)
def test_an_error_names_what_is_there(text: str, sentence: str) -> None:
    with pytest.raises(EntrypointError) as caught:
        flow_of(text)
    assert str(caught.value).startswith(sentence)
    assert not isinstance(caught.value, LoadError)


def test_the_trace_of_a_file_that_does_not_load_begins_in_it() -> None:
    with pytest.raises(LoadError) as caught:
        flow_of("broken_flow.py")
    first, _, rest = str(caught.value).partition("\n")
    assert first == "'broken_flow.py' could not be loaded:"
    assert "no such field" in rest
    assert "loading.py" not in rest
    assert "importlib" not in rest
