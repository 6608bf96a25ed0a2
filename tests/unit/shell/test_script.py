"""The script of a shell operation, read by the shells of this machine, and what its end is called."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from anabranch.shell.script import can_stop, script, shell_of, told_end

if TYPE_CHECKING:
    from pathlib import Path

SHELLS = [name for name in ("sh", "bash", "dash", "zsh", "ksh") if shutil.which(name)]


def run(shell: str, commands: list[str], at: Path, goes_on: bool) -> tuple[int, str]:
    done = subprocess.run([shell, "-c", script(commands, str(at), goes_on=goes_on)], capture_output=True, text=True)
    return done.returncode, done.stdout


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("commands", "goes_on", "code", "written", "at"),
    [
        (["x=1", "cd /", 'echo "$x $(pwd)"'], False, 0, "1 /\n", None),
        (["echo a", "(exit 7)", "echo b"], False, 7, "a\n", "1\n"),
        (["echo a", "(exit 7)", "echo $?"], True, 0, "a\n7\n", None),
        (["(exit 7)"], False, 7, "", None),
        (["true", "echo $?"], False, 0, "0\n", None),
        (["if true; then\n echo yes\nfi", "exit 3"], False, 3, "yes\n", None),
        (["echo a # not the end", "false"], False, 1, "a\n", "1\n"),
        (["cat <<EOF\ntext\nEOF", "echo b"], False, 0, "text\nb\n", None),
        (["false &\nwait", "echo b"], False, 0, "b\n", None),
        (["f() {\n return 4\n}", "f", "echo b"], False, 4, "", "1\n"),
    ],
)
def test_shells_read_it(
    tmp_path: Path, shell: str, commands: list[str], goes_on: bool, code: int, written: str, at: str | None
) -> None:
    told = tmp_path / "it's at"  # a quote in the path of a folder
    assert run(shell, commands, told, goes_on) == (code, written)
    assert (told.read_text() if told.exists() else None) == at


@pytest.mark.parametrize(
    ("commands", "at", "code", "last", "words"),
    [
        (["make"], "0\n", 2, ["no rule"], "`make` ended with code 2; its last lines:\nno rule"),
        (["a", "b  c\nd"], "1", 3, [], "command 2 of 2 (`b c d`) ended with code 3, without a word"),
        (["exit 3", "b"], "", 3, [], "the shell of 2 commands (`exit 3`, ...) ended with code 3, without a word"),
        (["a"], "", 143, [], "`a` ended with code 143 (ended by signal 15), without a word"),
        (["x" * 70], "0", 1, [], f"`{'x' * 57}...` ended with code 1, without a word"),
    ],
)
def test_its_end_in_words(commands: list[str], at: str, code: int, last: list[str], words: str) -> None:
    assert told_end(commands, at, code, last) == words


def test_where_all_are_run_the_last_one_has_failed() -> None:
    assert told_end(["a", "b"], "", 7, [], goes_on=True) == "command 2 of 2 (`b`) ended with code 7, without a word"


def test_the_shell_is_the_one_asked_for_else_bash_else_sh() -> None:
    here = {"sh": "/bin/sh", "zsh": "/bin/zsh"}
    assert shell_of("zsh", here.get) == "/bin/zsh"
    assert shell_of(None, here.get) == "/bin/sh"
    assert shell_of(None, {"bash": "/b", **here}.get) == "/b"
    with pytest.raises(FileNotFoundError, match="there is no shell fish on the path here"):
        shell_of("fish", here.get)
    with pytest.raises(FileNotFoundError, match="there is no shell bash or sh"):
        shell_of(None, {}.get)


@pytest.mark.parametrize(("shell", "can"), [(None, True), ("/usr/bin/zsh", True), ("python3", False), ("fish", False)])
def test_which_shells_can_stop(shell: str | None, can: bool) -> None:
    assert can_stop(shell) is can
