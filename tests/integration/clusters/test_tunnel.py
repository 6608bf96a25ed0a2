"""A program on a laptop uses a cluster behind a login node, through a real sshd on loopback."""

from __future__ import annotations

import getpass
import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.clusters import named, named_file
from tests.beds import free_ports
from tests.integration.clusters.conftest import WAIT, until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.dask,
    pytest.mark.timeout(300),
    pytest.mark.sampled(3, "a cluster behind a server of SSH for each"),
]

SSHD = shutil.which("sshd") or "/usr/sbin/sshd"

PROGRAM = """
import json
import psutil
from anabranch import DaskRunner, flow, task

@task
def big(x):
    return bytes([x % 256]) * 300_000

@task
def size(data):
    return len(data)

@flow(runner=DaskRunner(cluster="far"))
def study():
    values = big.map(range(20))
    found = sum(size.map(values).result()), len(values[3].result())
    connected = psutil.Process().net_connections("tcp")
    return found, sorted({tuple(one.raddr) for one in connected if one.status == "ESTABLISHED"})

if __name__ == "__main__":
    print(json.dumps(study()))
"""


HELD = """
import pathlib, sys, time
from anabranch import DaskRunner, flow, task

@task
def hold(path):
    pathlib.Path(path).touch()
    while pathlib.Path(path).exists():
        time.sleep(0.1)

@flow(runner=DaskRunner(cluster="far"))
def study():
    hold.submit(sys.argv[1]).result()

if __name__ == "__main__":
    study()
"""


@pytest.fixture(scope="module")
def login(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """The options of ssh for a login node: an sshd of this test's own, which admits one key."""
    if not (os.access(SSHD, os.X_OK) and shutil.which("ssh")):
        pytest.skip("there is no sshd here: apt-get install openssh-server openssh-client")
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    folder, port = tmp_path_factory.mktemp("sshd"), free_ports(17700, 1)
    for key in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)], check=True)
    config = {
        "Port": port, "ListenAddress": "127.0.0.1", "HostKey": folder / "host", "PidFile": "none",
        "AuthorizedKeysFile": folder / "user.pub", "StrictModes": "no", "UsePAM": "no", "PasswordAuthentication": "no",
        "PermitRootLogin": "prohibit-password",
    }  # fmt: skip
    (folder / "config").write_text("".join(f"{name} {value}\n" for name, value in config.items()))
    with ExitStack() as to_the_end:
        log = to_the_end.enter_context(open(folder / "log", "wb"))
        sshd = subprocess.Popen([SSHD, "-D", "-e", "-f", str(folder / "config")], stderr=log)
        to_the_end.callback(sshd.wait)
        to_the_end.callback(sshd.terminate)
        options = [
            f"Port={port}", f"IdentityFile={folder / 'user'}", f"UserKnownHostsFile={folder / 'known'}",
            "StrictHostKeyChecking=no", "BatchMode=yes", "LogLevel=ERROR",
        ]  # fmt: skip
        words = [word for option in options for word in ("-o", option)]
        until(lambda: subprocess.run(["ssh", *words, "127.0.0.1", "true"]).returncode == 0, "an answer of sshd")
        yield words


class Campus:
    """A cluster with its home, and a laptop that has another one."""

    def __init__(self, folder: Path, login: list[str]) -> None:
        self.there, self.here = folder / "there", folder / "here"
        self.host = f"{getpass.getuser()}@127.0.0.1"
        self.login = login

    def run(self, home: Path, *words: str, code: int = 0) -> str:
        command = [sys.executable, "-m", "anabranch", "cluster", *words]
        done = subprocess.run(command, capture_output=True, text=True, env=self.env(home))
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def env(self, home: Path) -> dict[str, str]:
        return {**os.environ, "ANABRANCH_HOME": str(home), "ANABRANCH_PROGRESS": "false"}

    def tunnel(self, name: str = "far") -> list[str]:
        return ["tunnel", name, self.host, "--home", str(self.there), *self.login]

    def names(self, home: Path) -> list[str]:
        return named_file.names(home / "clusters")


@pytest.fixture
def campus(tmp_path: Path, login: list[str]) -> Iterator[Campus]:
    made = Campus(tmp_path, login)
    made.run(made.there, "start", "far", "--kind", "local", "--cores", "1", "--memory", "500MiB", "--jobs", "1")
    yield made
    for name in made.names(made.there):
        named.stop(name, made.there / "clusters")


def hear_a_closed_terminal() -> None:
    """Undo what nohup does: tests that it has started would give it on."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture
def tunnel(campus: Campus) -> Iterator[subprocess.Popen[str]]:
    """The command, once it has said that the tunnel stands."""
    command = [sys.executable, "-m", "anabranch", "cluster", *campus.tunnel()]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=campus.env(campus.here), preexec_fn=hear_a_closed_terminal
    ) as process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            assert 'until Ctrl-C: runner=DaskRunner(cluster="far")' in said
            yield process
        finally:
            process.terminate()
            process.wait()


def test_a_program_on_a_laptop_reaches_the_cluster_through_one_port(
    campus: Campus, tunnel: subprocess.Popen[str], tmp_path: Path
) -> None:
    found = json.loads((campus.here / "clusters" / "far.json").read_text())
    [address] = found["addresses"]
    port = int(address.rpartition(":")[2])
    assert address == f"tls://127.0.0.1:{port}"
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, str(program)], capture_output=True, text=True, env=campus.env(campus.here), cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    values, peers = json.loads(done.stdout.splitlines()[-1])
    assert values == [20 * 300_000, 300_000]
    assert peers == [["127.0.0.1", port]]
    assert "far: local, " in campus.run(campus.here, "status", "far")
    assert f"ssh {campus.host} anabranch cluster logs far" in campus.run(campus.here, "logs", "far", code=1)


def left(campus: Campus) -> list[Any]:
    return list((campus.here / "clusters").iterdir())


ENDS = [
    pytest.param(signal.SIGINT, 0, marks=pytest.mark.nightly("a cluster more; by day a closed terminal ends a tunnel")),
    (signal.SIGHUP, 128 + signal.SIGHUP),
]


@pytest.mark.parametrize(("number", "code"), ENDS)
def test_after_ctrl_c_or_a_closed_terminal_nothing_is_left_here_and_the_cluster_stays(
    campus: Campus, tunnel: subprocess.Popen[str], number: int, code: int
) -> None:
    ssh = json.loads((campus.here / "clusters" / "far.json").read_text())["pid"]
    tunnel.send_signal(number)
    assert tunnel.wait() == code
    assert left(campus) == []
    until(lambda: not Path(f"/proc/{ssh}").exists(), "ssh's end")
    assert "far: local, " in campus.run(campus.there, "status", "far")


@pytest.mark.nightly("a cluster more; by day a closed terminal ends a tunnel")
def test_a_cluster_is_stopped_through_the_tunnel(campus: Campus, tunnel: subprocess.Popen[str]) -> None:
    assert f"far: it was told to end, through {campus.host}" in campus.run(campus.here, "stop", "far")
    assert tunnel.wait() == 1
    assert left(campus) == []
    until(lambda: campus.names(campus.there) == [], "the end of the cluster")


@pytest.mark.nightly("a cluster more; by day a closed terminal ends a tunnel")
def test_a_tunnel_that_breaks_is_told_and_ends_the_flow(
    campus: Campus, tunnel: subprocess.Popen[str], tmp_path: Path
) -> None:
    program = tmp_path / "program.py"
    program.write_text(HELD)
    command = [sys.executable, str(program), str(tmp_path / "begun")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=campus.env(campus.here)) as driver:
        try:
            until((tmp_path / "begun").exists, "the task's begin")
            os.kill(json.loads((campus.here / "clusters" / "far.json").read_text())["pid"], signal.SIGKILL)
            _, said = driver.communicate(timeout=WAIT)
        finally:
            driver.kill()
    assert driver.returncode == 1
    assert "scheduler" in said
    assert tunnel.wait() == 1
    assert left(campus) == []
    assert "there is no cluster 'far'" in campus.run(campus.here, "status", "far", code=1)


def test_what_is_not_there_is_told(campus: Campus) -> None:
    assert f"no cluster 'near' in {campus.there}/clusters on {campus.host}" in campus.run(
        campus.here, *campus.tunnel("near"), code=1
    )
    away = ["tunnel", "far", campus.host, "-o", "ConnectTimeout=5", *campus.login, "-o", "ProxyCommand=false"]
    assert f"ssh does not reach {campus.host}" in campus.run(campus.here, *away, code=1)
    assert "no clusters" in campus.run(campus.here, "status")
