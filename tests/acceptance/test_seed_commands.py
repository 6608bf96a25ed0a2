"""Commands of seeds 002 and 004 on server, agents, projects and profiles, with `anabranch` for `prefect`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import tomllib
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from anabranch.settings import load
from tests.beds import free_ports
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[2]
WAIT = 100.0
pytestmark = [pytest.mark.timeout(250), pytest.mark.sampled(3, "a Python for each command")]


class Shell:
    """A terminal with a home of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("ANABRANCH_")}
        self.environ = {**inherited, "ANABRANCH_HOME": str(folder / "home"), "PYTHONPATH": str(ROOT)}

    def typed(self, *words: str, code: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "anabranch", *words], env=self.environ, cwd=self.folder, capture_output=True,
            text=True, timeout=WAIT,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    @contextmanager
    def going(self, *words: str) -> Iterator[Callable[[str], None]]:
        """Start a command that stays; gives what waits until it has said some words. At the end it gets a SIGTERM."""
        said = self.folder / "-".join(words)
        with open(said, "wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "anabranch", *words], env=self.environ, cwd=self.folder, stdout=out, stderr=out
            )

        def until(text: str) -> None:
            end = time.monotonic() + WAIT
            while text not in said.read_text():
                assert process.poll() is None, said.read_text()
                assert time.monotonic() < end, said.read_text()
                time.sleep(0.05)

        try:
            yield until
            process.send_signal(signal.SIGTERM)
            process.wait(WAIT)
        finally:
            process.kill()
            process.wait(WAIT)


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def test_seed_002_commands_of_interest(shell: Shell) -> None:
    """Blocks "Configures Prefect for local orchestration" to "Create Project"; the port of the server is a free one."""
    shell.typed("backend", "server")
    records = tomllib.loads((shell.folder / "home" / "config.toml").read_text())["records"]
    assert records == "http://127.0.0.1:4200"
    port = str(free_ports(23000, 1))
    with shell.going("server", "start", "--port", port) as server:
        server("serves")
        shell.environ["ANABRANCH_RECORDS"] = f"http://127.0.0.1:{port}"
        with shell.going("agent", "local", "start") as agent:
            agent("agent ")
            shell.typed("create", "project", "Hello, World!")
            assert "Hello, World!" in shell.typed("project", "ls")


def test_seed_004_server_start(shell: Shell) -> None:
    """Block "Local Prefect Server"; at 4200 unless told otherwise."""
    assert "default: 4200" in " ".join(shell.typed("server", "start", "--help").split())
    with shell.going("server", "start", "--port", str(free_ports(23000, 1))) as server:
        server("at http://127.0.0.1:")
        until(lambda: (shell.folder / "home" / "server.json").exists(), "the server tells where it is")
        assert "serves at http://127.0.0.1:" in shell.typed("server", "status")


def test_seed_004_profiles(shell: Shell) -> None:
    """Block "Using SDS Prefect Server": the profile has the address and the key, and is the chosen one."""
    shell.typed("profile", "create", "uvasds")
    shell.typed("profile", "use", "uvasds")
    shell.typed("config", "set", "PREFECT_API_URL=https://flows.example.org/api")
    shell.typed("config", "set", "PREFECT_API_KEY=ab_12345678_" + "x" * 43)
    chosen = load({"ANABRANCH_HOME": str(shell.folder / "home")})
    assert (chosen.records, chosen.api_key) == ("https://flows.example.org", "ab_12345678_" + "x" * 43)
    file = shell.folder / "home" / "config.toml"
    assert set(tomllib.loads(file.read_text())["profiles"]["uvasds"]) == {"records", "api_key"}
    assert file.stat().st_mode & 0o077 == 0, "others of this machine cannot read the key"
    assert "x" * 43 not in shell.typed("config", "view")
