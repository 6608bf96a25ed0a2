"""The key for a server, as a setting: never shown."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from anabranch import settings
from anabranch.cli import cli
from anabranch.core import secrets

if TYPE_CHECKING:
    from pathlib import Path

KEY = "ab_abcdefgh_0123456789012345678901234567890123456789012"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ANABRANCH_HOME", str(tmp_path))
    monkeypatch.delenv("ANABRANCH_API_KEY", raising=False)
    return tmp_path


@pytest.mark.parametrize("where", ["file", "profile", "environment"])
def test_no_command_shows_it(home: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    said = ""
    if where == "file":
        said = CliRunner().invoke(cli, ["config", "set", "api_key", KEY]).output
    elif where == "profile":
        said = CliRunner().invoke(cli, ["profile", "create", "prod", f"api_key={KEY}"]).output
    else:
        monkeypatch.setenv("ANABRANCH_API_KEY", KEY)
        said = CliRunner().invoke(cli, ["config", "set", "api_key", "another-key"]).output
    for words in (["config", "view"], ["config", "view", "--json"], ["profile", "ls"], ["profile", "ls", "--json"]):
        said += CliRunner().invoke(cli, words).output
    assert KEY not in said
    assert secrets.MASK in said


def test_the_file_that_has_it_is_its_owners_alone(home: Path) -> None:
    CliRunner().invoke(cli, ["config", "set", "api_key", KEY])
    assert settings.load().api_key == KEY
    assert (home / "config.toml").stat().st_mode & 0o777 == 0o600
    shown = json.loads(CliRunner().invoke(cli, ["config", "view", "--json"]).output)
    assert [row["value"] for row in shown if row["setting"] == "api_key"] == [secrets.MASK]
