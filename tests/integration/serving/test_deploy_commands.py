"""`anabranch deploy` and `anabranch deployment`, as typed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from anabranch.cli import cli
from anabranch.documents import yaml_file
from tests.integration.serving.played import PlayedAgent

if TYPE_CHECKING:
    from pathlib import Path

    from anabranch.core.service import Service

pytestmark = pytest.mark.sampled(4, "Pythons for each")
CODE = """
from anabranch import flow

@flow(description="Says it.")
def say(word: str, times: int = 1):
    open("said", "w").write(word * times)
"""
PROJECT = """
deployments:
- name: one
  entrypoint: saying.py:say
  parameters: {word: a}
- name: two
  entrypoint: saying.py:say
  parameters: {word: b}
  schedules: [{cron: '@daily'}]
"""


@pytest.fixture(autouse=True)
def folder(service: Service, tmp_path: Path) -> Path:
    (tmp_path / "saying.py").write_text(CODE)
    return tmp_path


def typed(*words: str, code: int = 0) -> str:
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == code, done.output + str(done.exception)
    return done.output


def found(service: Service, name: str) -> Any:
    row = service.deployments.find(name)
    assert row is not None
    return row


def test_one_flow(service: Service) -> None:
    words = ["-n", "d", "--cron", "0 9 * * *", "--timezone", "Asia/Tokyo", "--param", "word=hi", "--tag", "a"]
    assert typed("deploy", "saying.py:say", *words) == "say/d: revision 1, in pool default\n"
    row = found(service, "say/d")
    assert (row.tags, row.document["parameters"], row.document["description"]) == (("a",), {"word": "hi"}, "Says it.")
    assert [one.spec for one in service.schedules.all("say/d")] == [{"cron": "0 9 * * *", "timezone": "Asia/Tokyo"}]


def test_the_deployments_of_a_file(service: Service, folder: Path) -> None:
    (folder / "prefect.yaml").write_text(PROJECT)
    assert "has one, two: say --all" in typed("deploy", code=2)
    assert typed("deploy", "-n", "two", "--param", "times=2") == "say/two: revision 1, in pool default\n"
    row = found(service, "say/two")
    assert row.document["parameters"] == {"word": "b", "times": 2}
    assert row.document["parameter_schema"]["required"] == ["word"]  # of the flow, which the file does not repeat
    assert typed("deploy", "--all").splitlines() == [
        "say/one: revision 1, in pool default", "say/two: revision 2, in pool default",
    ]  # fmt: skip
    assert "has no deployment 'three'" in typed("deploy", "-n", "three", code=2)


def test_written_and_read_again(service: Service, folder: Path) -> None:
    typed("deploy", "saying.py:say", "-n", "d", "--param", "word=hi")
    text = typed("deployment", "export", "say/d")
    assert yaml_file.parsed(text, "")["name"] == "d"
    typed("deployment", "export", "say/d", "d.json")
    assert typed("deployment", "apply", "d.json") == "say/d: revision 1, in pool default\n"
    changed = json.loads((folder / "d.json").read_text())
    (folder / "d.json").write_text(json.dumps({**changed, "tags": ["x"]}))
    assert typed("deployment", "apply", "d.json") == "say/d: revision 2, in pool default\n"
    listed = json.loads(typed("deployment", "ls", "--json"))
    assert [(one["name"], one["revision"]) for one in listed["deployments"]] == [("d", 2)]
    assert "say/d" in typed("deployment", "ls")
    assert "did you mean 'say/d'" in typed("deployment", "export", "say/b", code=1)


def test_a_run_is_ordered(service: Service, folder: Path) -> None:
    typed("deploy", "saying.py:say", "-n", "d", "--param", "word=hi")
    with PlayedAgent(service):
        said = typed("deployment", "run", "say/d", "-p", "times=2", "--name", "mine", "--wait")
    assert said.startswith("run mine of say/d is ordered: ")
    assert "Completed" in said
    assert (folder / "said").read_text() == "hihi"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["deploy"], "'anabranch.yaml' cannot be read: No such file"),
        (["deploy", "saying.py:say"], "give one --name"),
        (["deploy", "lost.py:say", "-n", "d"], "there is no file"),
        (["deploy", "saying.py:say", "-n", "d", "--cron", "x", "--interval", "3"], "give one of --cron, --interval"),
        (["deploy", "saying.py:say", "-n", "d", "--cron", "0 25 * * *"], "the hour '25'"),
        (["deploy", "saying.py:say", "-n", "d", "-p", "defualt"], "did you mean 'default'"),
        (["deploy", "saying.py:say", "-n", "d", "--param", "wrd=x"], "did you mean 'word'"),
        (["deployment", "run", "say/none"], "no deployment 'say/none'"),
    ],
)
def test_what_is_refused(words: list[str], sentence: str) -> None:
    done = CliRunner().invoke(cli, words)
    assert done.exit_code != 0
    assert sentence in done.output + str(done.exception)
