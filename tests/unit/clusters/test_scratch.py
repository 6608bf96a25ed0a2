"""Where a node's scratch files go."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from anabranch.clusters.scratch import SOCKET_ROOT, scratch
from anabranch.core import node_folders
from anabranch.core.errors import RunnerError


def test_it_is_the_owners_alone_in_tmpdir_and_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with scratch("7.0") as first, scratch("7.0") as second:
        assert first != second
        assert Path(first).parent == tmp_path
        assert stat.S_IMODE(Path(first).stat().st_mode) == 0o700
        Path(first, "spilled").touch()
    assert list(tmp_path.iterdir()) == []


def test_a_program_started_by_another_takes_the_jobs_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On another node the first one's folder is not there."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with scratch("7.0") as first:
        monkeypatch.setenv("TMPDIR", first)
        with scratch("7.0") as second:
            assert Path(second).parent == tmp_path


def test_a_network_file_system_is_no_place_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(node_folders, "shared", lambda place: place == str(tmp_path))
    with scratch("7.0") as folder:
        assert not folder.startswith(str(tmp_path))


def test_sockets_get_a_short_path_whatever_tmpdir_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket's path has at most 107 bytes; and /tmp/ray may be another user's."""
    long = tmp_path / ("x" * 60)
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))
    with scratch("12345678.0", short=True) as folder:
        assert len(folder) <= SOCKET_ROOT
        assert "ray" not in folder


def test_no_room_anywhere_is_told_with_the_places(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setenv("TMPDIR", "/none")
    monkeypatch.setattr("tempfile.mkdtemp", full)
    why = r"no room for scratch files: tried /none \(No space left on device\), /tmp"
    with pytest.raises(RunnerError, match=why), scratch("7.0"):
        pass
