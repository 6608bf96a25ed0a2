"""Code fetched from folders, git repositories and S3, by several drivers at once."""

from __future__ import annotations

import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from anabranch.core.errors import FetchError
from anabranch.documents.storage import remote
from anabranch.documents.storage.away import FetchAway, patiently
from anabranch.documents.storage.cache import Cache
from anabranch.documents.storage.fetch import Fetched, fetch
from tests.beds import s3_address, s3_server  # noqa: F401
from tests.integration.documents.repositories import Repository

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repository")


def text(found: Fetched, name: str = "flow") -> str:
    assert found.folder is not None
    return (found.folder / name).read_text()


# -- git -----------------------------------------------------------------------------------------


def test_a_branch_a_tag_and_a_commit(repository: Repository, tmp_path: Path) -> None:
    first = repository.commit(flow="1", part__flow="part 1")
    repository.git("tag", "-a", "-m", "x", "v1")
    second = repository.commit(flow="2")
    repository.git("branch", "other", first)
    cache = tmp_path / "cache"
    newest = fetch(repository.reference(), cache)
    assert (text(newest), newest.digest) == ("2", f"git:{second}")
    for more in ({"ref": "v1"}, {"ref": "other"}, {"commit": first}):
        found = fetch(repository.reference(**more), cache)
        assert (text(found), found.digest) == ("1", f"git:{first}"), more
    assert text(fetch(repository.reference(ref="v1", folder="part"), cache)) == "part 1"
    assert text(fetch(repository.reference(ref="v1"), cache, path="part")) == "part 1"
    assert len(list(cache.iterdir())) == 2  # a folder a commit, nothing left beside


def test_a_branch_that_moves_is_looked_up_anew(repository: Repository, tmp_path: Path) -> None:
    repository.commit(flow="1")
    before = fetch(repository.reference(ref="main"), tmp_path / "cache")
    repository.commit(flow="2")
    after = fetch(repository.reference(ref="main"), tmp_path / "cache")
    assert (text(before), text(after)) == ("1", "2")


def test_hooks_of_the_user_do_not_run(repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository.commit(flow="1")
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in ("post-checkout", "reference-transaction"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
        (hooks / name).chmod(0o755)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "config"))
    (tmp_path / "config").write_text(f"[core]\n\thooksPath = {hooks}\n[safe]\n\tdirectory = *\n")
    assert text(fetch(repository.reference(), tmp_path / "cache")) == "1"
    assert not (tmp_path / "ran").exists()


def test_a_repository_that_leads_elsewhere(repository: Repository, tmp_path: Path) -> None:
    """A link in the repository does not make a folder outside of it the working folder."""
    (tmp_path / "outside").mkdir()
    (repository.folder / "link").symlink_to(tmp_path / "outside")
    repository.commit(flow="1")
    with pytest.raises(FetchError, match="no folder 'link'"):
        fetch(repository.reference(folder="link"), tmp_path / "cache")
    with pytest.raises(FetchError, match="within its fetched code"):
        fetch(repository.reference(), tmp_path / "cache", path="link")
    for path in ("../..", "/etc"):
        with pytest.raises(FetchError, match="within its fetched code"):
            fetch(repository.reference(), tmp_path / "cache", path=path)


def test_what_is_gone_is_named(repository: Repository, tmp_path: Path) -> None:
    repository.commit(flow="1")
    cache = tmp_path / "cache"
    gone = {"git": f"file://{tmp_path}/nowhere", "local": True}
    for reference, message in [
        (gone, "git could not fetch"),
        (repository.reference(ref="mian"), "no branch or tag 'mian'"),
        (repository.reference(commit="0" * 40), "git could not fetch"),
        (repository.reference(folder="parts"), "no folder 'parts'"),
    ]:
        with pytest.raises(FetchError, match=message):
            fetch(reference, cache)
    with pytest.raises(FetchError, match="no folder 'parts' in"):
        fetch(repository.reference(), cache, path="parts")
    assert [one.name for one in cache.iterdir() if one.name.startswith(".")] == []


def test_a_helper_program_is_refused_by_git_too(repository: Repository, tmp_path: Path) -> None:
    """A submodule's url comes out of the repository, past our own checks."""
    repository.commit(flow="1")
    marker = tmp_path / "owned"
    (repository.folder / ".gitmodules").write_text(f'[submodule "s"]\n\tpath = s\n\turl = ext::touch {marker}\n')
    repository.git("add", ".gitmodules")
    repository.git("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},s")
    repository.git("commit", "--quiet", "-m", "x")
    with pytest.raises(FetchError, match="could not fetch"):
        fetch(repository.reference(submodules=True), tmp_path / "cache")
    assert not marker.exists()


@pytest.fixture
def host(repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file: while it is there, ssh reaches the host of the repository."""
    up, ssh = tmp_path / "up", tmp_path / "ssh"
    refused = "ssh: connect to host far port 22: Connection refused"
    ssh.write_text(f'#!/bin/sh\n[ -e {up} ] && shift && exec sh -c "$*"\necho "{refused}" >&2\nexit 255\n')
    ssh.chmod(0o755)
    monkeypatch.setenv("GIT_SSH_COMMAND", str(ssh))
    monkeypatch.setenv("GIT_SSH_VARIANT", "simple")
    return up


def test_a_host_that_is_up_again_at_the_second_try(repository: Repository, host: Path, tmp_path: Path) -> None:
    commit = repository.commit(flow="1")
    reference = {"git": f"ssh://far{repository.folder}"}
    with pytest.raises(FetchAway, match=r"could not reach ssh://far/.*: ssh: connect to host far port 22: Connection"):
        fetch(reference, tmp_path / "cache")
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        host.touch()

    found = patiently(lambda: fetch(reference, tmp_path / "cache"), sleep)
    assert (text(found), found.digest, slept) == ("1", f"git:{commit}", [2.0])


def test_what_a_host_refuses_is_not_asked_for_again(repository: Repository, host: Path, tmp_path: Path) -> None:
    repository.commit(flow="1")
    host.touch()
    asked: list[float] = []
    for reference in ({"git": f"ssh://far{repository.folder}", "ref": "mian"}, {"git": f"ssh://far{tmp_path}/nowhere"}):
        with pytest.raises(FetchError):
            patiently(lambda reference=reference: fetch(reference, tmp_path / "cache"), asked.append)  # type: ignore[misc]
    assert asked == []


def test_a_port_that_nobody_listens_at(tmp_path: Path) -> None:
    pytest.importorskip("s3fs")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and never listens
        address = f"https://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(FetchAway, match=f"could not reach {address}"):
            fetch({"git": f"{address}/x.git"}, tmp_path / "cache")
        options = {"endpoint_url": address, "anon": True, "config_kwargs": {"retries": {"max_attempts": 0}}}
        with pytest.raises(FetchAway, match=r"the code at s3://bucket/flows cannot be had: .*connect"):
            fetch({"url": "s3://bucket/flows", "options": options}, tmp_path / "cache")


def test_without_git(repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FetchError, match="no command git here"):
        fetch(repository.reference(), tmp_path / "cache")


# -- S3 ------------------------------------------------------------------------------------------


def test_a_folder_on_s3(s3_address: str, tmp_path: Path) -> None:  # noqa: F811
    code = tmp_path / "code"
    (code / "part").mkdir(parents=True)
    (code / "flow").write_text("1")
    (code / "part" / "flow").write_text("part")
    (code / "left.pyc").write_text("")
    assert remote.put(code, s3_address, ignored=lambda name: name.endswith(".pyc")) == 2
    cache = tmp_path / "cache"
    first = fetch({"url": s3_address}, cache)
    assert text(first) == "1"
    assert text(fetch({"url": s3_address}, cache, path="part")) == "part"
    assert first.folder is not None
    assert not (first.folder / "left.pyc").exists()
    (code / "flow").write_text("2")
    remote.put(code, s3_address, ignored=lambda name: name.endswith(".pyc"))
    second = fetch({"url": s3_address}, cache)
    assert (text(first), text(second)) == ("1", "2")
    assert first.digest != second.digest
    assert text(fetch({"url": f"{s3_address}/flow"}, cache)) == "2"  # one file


def test_s3_without_code(s3_address: str, tmp_path: Path) -> None:  # noqa: F811
    with pytest.raises(FetchError, match="no code at s3://"):
        fetch({"url": s3_address}, tmp_path / "cache")
    with pytest.raises(FetchError, match=r"the code at s3://no-bucket/x cannot be had|no code at"):
        fetch({"url": "s3://no-bucket/x"}, tmp_path / "cache")


# -- folders -------------------------------------------------------------------------------------


def test_code_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "flow").write_text("1")
    for given, path in [(None, str(tmp_path)), ({"path": str(tmp_path)}, None), ({"path": "/"}, str(tmp_path))]:
        found = fetch(given, tmp_path / "cache", path=path)
        assert (text(found), found.digest) == ("1", "")
    assert fetch(None, tmp_path / "cache") == fetch({"module": "a.b"}, tmp_path / "cache") == Fetched(None)
    assert fetch({"image": "x"}, tmp_path / "cache", path=".") == Fetched(None)
    assert not (tmp_path / "cache").exists()


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=r"no folder .*nowhere"):
        fetch(None, tmp_path / "cache", path=str(tmp_path / "nowhere"))
    with pytest.raises(FetchError, match=r"no folder .*nowhere"):
        fetch({"path": str(tmp_path / "nowhere")}, tmp_path / "cache")


# -- the cache -----------------------------------------------------------------------------------


def test_several_fetch_at_once(tmp_path: Path) -> None:
    """All have begun to fill before any is done; one result stays, and all get it."""
    cache = Cache(tmp_path / "cache")
    together = threading.Barrier(4, timeout=60)

    def fill(place: Path) -> None:
        (place / "flow").write_text("whole")
        together.wait()

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: cache.folder("name", fill), range(4)))
    assert {str(one) for one in found} == {str(tmp_path / "cache" / "name")}
    assert (found[0] / "flow").read_text() == "whole"
    assert os.listdir(tmp_path / "cache") == ["name"]


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    def fill(place: Path) -> None:
        (place / "half").write_text("x")
        raise FetchError("broken off")

    with pytest.raises(FetchError, match="broken off"):
        Cache(tmp_path / "cache").folder("name", fill)
    assert os.listdir(tmp_path / "cache") == []
