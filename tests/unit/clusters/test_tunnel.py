"""What is asked of a login node, and how its answer is read."""

from __future__ import annotations

import io
import json
import os
import pwd
import subprocess
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.clusters.tunnel import Way, unpacked
from anabranch.core.errors import RunnerError

if TYPE_CHECKING:
    from pathlib import Path

FOUND = {"folder": "/home/me/.anabranch/clusters/fit-1234abcd", "tls": {"ca": "x"}, "addresses": ["tls://10.0.0.1:5"]}


def test_forwarded_ports_are_this_machines_alone_and_end_where_they_cannot_be_had() -> None:
    line = Way("fit", "me@login", ("Port=22",)).forwarding([(5000, "10.0.0.1:8786"), (5001, "10.1.0.1:8786")])
    assert line[:3] == ["ssh", "-o", "Port=22"]
    assert line[-5:] == ["-L", "127.0.0.1:5000:10.0.0.1:8786", "-L", "127.0.0.1:5001:10.1.0.1:8786", "me@login"]
    assert "ExitOnForwardFailure=yes" in line


def there(folder: Path, keys: bool = True, name: str = "fit") -> Path:
    """A home as a login node has it, in which another cluster's folder has nearly the same name."""
    home = folder / "a home"
    for place in ("fit-1234abcd", "fit-old"):
        (home / "clusters" / place).mkdir(parents=True)
        for what in ("ca", "cert", "key"):
            if keys:
                (home / "clusters" / place / f"{what}.pem").write_text(f"{what} of {place}")
    (home / "clusters" / f"{name}.json").write_text(json.dumps({**FOUND, "tls": FOUND["tls"] if keys else {}}))
    return home


def answer(way: Way) -> subprocess.CompletedProcess[bytes]:
    """What the words say that are sent to the login node, said by this machine's shell."""
    return subprocess.run(["sh", "-c", f"echo Welcome; {way.fetching()[-1]}"], capture_output=True)


@pytest.mark.parametrize("keys", [True, False])
def test_the_words_that_are_sent_bring_the_file_and_the_certificate(tmp_path: Path, keys: bool) -> None:
    home = there(tmp_path, keys)
    found, texts = unpacked(answer(Way("fit", "login", home=str(home))).stdout, "fit")
    assert found["addresses"] == FOUND["addresses"]
    assert texts == ({what: f"{what} of fit-1234abcd" for what in ("ca", "cert", "key")} if keys else {})


def test_the_usual_home_is_that_of_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANABRANCH_HOME", str(there(tmp_path)))
    assert unpacked(answer(Way("fit", "login")).stdout, "fit")[0]["folder"] == FOUND["folder"]


@pytest.mark.parametrize("whose", ["", pwd.getpwuid(os.getuid()).pw_name])
def test_a_home_there_may_begin_with_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whose: str) -> None:
    """The shell here leaves it alone in '~/x', and would mean a home of this machine by it."""
    home = there(tmp_path)
    if not whose:
        monkeypatch.setenv("HOME", str(tmp_path))
    path = os.path.relpath(home, os.path.realpath(os.path.expanduser(f"~{whose}")))
    found = answer(Way("fit", "login", home=f"~{whose}/{path}")).stdout
    assert unpacked(found, "fit")[0]["folder"] == FOUND["folder"]


@pytest.mark.parametrize("home", ["$(touch made)", "~/$(touch made)", "~$(touch made)", "~/`touch made`", "~;touch x"])
def test_a_home_there_runs_no_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: str) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert answer(Way("fit", "login", home=home)).returncode
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_name_is_told_with_the_known_ones(tmp_path: Path) -> None:
    done = answer(Way("fit", "login", home=str(there(tmp_path, name="other"))))
    assert done.returncode == 3
    assert done.stderr == b"other.json\n"


def tar(files: dict[str, Any]) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for name, value in files.items():
            text = json.dumps(value).encode()
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text))
    return b"anabranch: " + data.getvalue()


@pytest.mark.parametrize(
    "data", [b"", b"no mark", b"anabranch: no tar", tar({}), tar({"fit.json": []}), tar({"fit.json": FOUND})]
)
def test_another_answer_is_refused(data: bytes) -> None:
    with pytest.raises(RunnerError, match="what the other side says of the cluster 'fit' cannot be read"):
        unpacked(data, "fit")
