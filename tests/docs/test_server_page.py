"""The blocks of docs/server.md that a page's player cannot type: servers that run on, a program beside one, PostgreSQL.

The commands are the page's own, but for the place: any free port, the tests' PostgreSQL, a program `report.py`.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.docs.blocks import ROOT, blocks
from tests.docs.not_run import NOT_RUN
from tests.integration.homes import Home

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.timeout(250)
PAGE = "docs/server.md"
REPORT = """
from anabranch import flow

@flow
def report():
    return 1

report()
"""


def commands(reason: str) -> list[list[str]]:
    """The words of each command in the page's block that is left out for this reason."""
    [block] = [one for one in blocks((ROOT / PAGE).read_text(encoding="utf-8")) if one.reason == reason]
    return [shlex.split(line.removeprefix("$ ")) for line in block.text.splitlines() if line.startswith("$ ")]


def shown(reason: str) -> str:
    """What the page says that these commands print."""
    [block] = [one for one in blocks((ROOT / PAGE).read_text(encoding="utf-8")) if one.reason == reason]
    return "\n".join(line for line in block.text.splitlines() if not line.startswith("$ "))


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = Home(tmp_path / "home", HOME=str(tmp_path))
    yield made
    made.end()


def started(home: Home, words: list[str]) -> str:
    """Start a server by the page's command at a free port; gives its address."""
    assert words[:3] == ["anabranch", "server", "start"]
    return home.start(*words[3:])


def test_a_server_on_one_machine_and_a_program_that_finds_it(home: Home, tmp_path: Path) -> None:
    install, start = commands("runs until Ctrl-C")
    assert install == ["pip", "install", "anabranch[server]"]
    address = started(home, start)
    line = shown("runs until Ctrl-C")
    wanted = re.escape(line).replace(re.escape("0.1.0"), r"\S+").replace(re.escape("~/.anabranch"), r"\S+")
    wanted = wanted.replace(re.escape("http://127.0.0.1:4200"), re.escape(address))
    assert re.search(wanted, home.told()), (line, home.told())

    login, program = commands("needs the server above")
    person = Home(tmp_path / "person")
    entered = person.run(*(word.replace("http://127.0.0.1:4200", address) for word in login[1:]))
    assert entered.returncode == 0, entered.stderr
    (tmp_path / "report.py").write_text(REPORT)
    assert program == ["python", "report.py"]
    done = subprocess.run(
        [sys.executable, *program[1:]], env=person.environ, cwd=tmp_path, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    assert "report" in home.run("runs", "--flow", "report").stdout


@pytest.mark.postgres
def test_a_server_over_postgresql_behind_a_proxy(home: Home, postgres_address: str) -> None:
    assert set(NOT_RUN[PAGE]) == {"runs until Ctrl-C", "needs the server above", "needs PostgreSQL and a proxy"}
    export, start = commands("needs PostgreSQL and a proxy")
    name, _, place = export[1].partition("=")
    assert (export[0], place.partition("://")[0]) == ("export", "postgresql")
    home.environ[name] = postgres_address
    refused = home.run(*start[1:], "--port", "0")
    assert refused.returncode == 1
    assert "needs a key first" in refused.stderr
    assert home.run("key", "create", "me", "--role", "admin").returncode == 0
    address = started(home, start)
    assert home.answers(address)
    assert "postgresql" in home.told()
    if password := os.environ.get("PGPASSWORD"):
        assert password not in home.told()
