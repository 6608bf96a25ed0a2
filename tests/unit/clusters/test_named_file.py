"""The file of a cluster with a name: one cluster has it, and each removes its own alone."""

from __future__ import annotations

import os
import stat
import threading
from typing import TYPE_CHECKING

import pytest

from anabranch.core.errors import RunnerError

pytest.importorskip("distributed")

from anabranch.clusters import named_file

if TYPE_CHECKING:
    from pathlib import Path

ONE = {"name": "one", "kind": "local", "spec": {}}
WORDS = {"addresses": ["tcp://127.0.0.1:1"], "tls": {}}


def test_of_several_starts_at_once_one_has_the_name(tmp_path: Path) -> None:
    """Else the one that is replaced runs on, and nothing finds it."""
    gate, had, refused = threading.Barrier(8), [], []

    def start(number: int) -> None:
        gate.wait()
        try:
            had.append(named_file.write(tmp_path, ONE, WORDS, tmp_path / str(number)))
        except RunnerError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=start, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert had == [named_file.text(tmp_path, "one")]
    assert len(refused) == 7
    assert "the cluster 'one' runs already" in refused[0]
    assert os.listdir(tmp_path) == ["one.json"]
    assert stat.S_IMODE((tmp_path / "one.json").stat().st_mode) == 0o600


def test_each_end_removes_its_own_file_alone(tmp_path: Path) -> None:
    first = named_file.write(tmp_path, ONE, WORDS, tmp_path / "first")
    named_file.remove(tmp_path, "one", first)
    second = named_file.write(tmp_path, ONE, WORDS, tmp_path / "second")
    named_file.remove(tmp_path, "one", first)
    assert named_file.text(tmp_path, "one") == second
    named_file.remove(tmp_path, "one", second)
    named_file.remove(tmp_path, "one", second)
    assert os.listdir(tmp_path) == []
