"""The file of a cluster with a name: one cluster has it, and each removes its own alone."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from anabranch.core.errors import RunnerError

pytest.importorskip("distributed")

from anabranch.clusters import named, named_file
from anabranch.clusters.kubernetes import left_behind
from anabranch.core.processes import process_started

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


class Dead:
    """The file of a cluster, or of the tunnel to it, whose process has ended; and its folder with a certificate."""

    def __init__(self, home: Path, **more: str) -> None:
        self.home, self.folder = home, home / "one-1234abcd"
        self.folder.mkdir()
        (self.folder / "key.pem").write_text("secret")
        (self.folder / "holder.log").write_text("why it died")
        with subprocess.Popen([sys.executable, "-c", "pass"]) as process:
            self.told = {
                "name": "one", "kind": "slurm", "folder": str(self.folder), "versions": named_file.versions(), **WORDS,
                **named_file.process_of(process.pid, process_started(process.pid)), **more,
            }  # fmt: skip
        named_file.place(home, "one", self.told)


FAR = {"tunnel": "me@login", "kind": "kubernetes", "namespace": "none", "context": "none"}


def test_a_tunnel_that_is_gone_is_no_dead_cluster(tmp_path: Path) -> None:
    Dead(tmp_path, **FAR)
    again = r"may live on at me@login: `anabranch cluster tunnel one me@login` opens it again"
    with pytest.raises(RunnerError, match=rf"the tunnel to the cluster 'one' is gone.* {again}"):
        named_file.read(tmp_path, "one")


def test_a_cluster_whose_tunnel_is_gone_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its pods may work for another: from here they are not taken away."""
    taken: list[str] = []
    monkeypatch.setattr(left_behind, "take_away", lambda *words: taken.append(words[0]))
    Dead(tmp_path, **FAR)
    said = named.stop("one", tmp_path)
    assert "The cluster may live on at me@login. `anabranch cluster tunnel one me@login` opens it again" in said
    assert "end by themselves" not in said
    assert "dead" not in said
    assert (taken, named_file.names(tmp_path)) == ([], [])


def test_a_living_tunnel_through_which_nothing_answers_is_told_as_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {**Dead(tmp_path, **FAR).told, **named_file.process_of(os.getpid(), process_started(os.getpid()))}
    (tmp_path / "one.json").write_text(json.dumps(told))
    monkeypatch.setattr(named, "first_reached", lambda addresses, seconds: ("", ""))
    with pytest.raises(RunnerError, match="does not answer through the tunnel to me@login"):
        named.NamedCluster("one", tmp_path)


@pytest.mark.parametrize(("more", "left"), [(FAR, []), ({}, ["holder.log"])])
def test_the_key_of_a_dead_cluster_goes_with_its_name(tmp_path: Path, more: dict[str, str], left: list[str]) -> None:
    """A tunnel that is killed cannot delete the key that it has fetched; the next one does."""
    dead = Dead(tmp_path, **more)
    if more:
        (dead.folder / "holder.log").unlink()  # a tunnel has none
    named.clear_dead(tmp_path, "one")
    assert named_file.names(tmp_path) == []
    assert [path.name for path in tmp_path.glob("one-*/*")] == left
    assert dead.folder.exists() is bool(left)


def test_a_file_that_cannot_be_read_has_no_key_to_delete(tmp_path: Path) -> None:
    (tmp_path / "one.json").write_text("[1]")
    named.clear_dead(tmp_path, "one")
    assert named_file.names(tmp_path) == []


def test_a_tunnel_that_lives_is_not_replaced(tmp_path: Path) -> None:
    dead = Dead(tmp_path, **FAR)
    told = {**dead.told, **named_file.process_of(os.getpid(), process_started(os.getpid()))}
    (tmp_path / "one.json").write_text(json.dumps(told))
    with pytest.raises(RunnerError, match=rf"has a tunnel already, through me@login; .*kill {os.getpid()}"):
        named.clear_dead(tmp_path, "one")
    assert (dead.folder / "key.pem").exists()
