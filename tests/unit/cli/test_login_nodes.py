"""Where a machine ends long programs, what would live on it says so, once, before it starts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from anabranch import SlurmCluster
from anabranch.cli.cluster import command
from anabranch.clusters import held, named
from anabranch.clusters.here import HereCluster
from anabranch.core.login_nodes import told

if TYPE_CHECKING:
    from pathlib import Path

SIZE = {"cores": 1, "memory": "1 GiB"}


class Held:
    """The holder's process, which is not started."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.process = SimpleNamespace(poll=lambda: None)

    def end(self, timeout: float) -> None:
        pass


@pytest.fixture(autouse=True)
def on_a_login_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLURM_JOB_ID", "PBS_JOBID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ANABRANCH_HOME", str(tmp_path))
    monkeypatch.setenv("ANABRANCH_LOGIN_NODE", "true")
    monkeypatch.setattr(told, "said", "")
    monkeypatch.setattr(held, "Held", Held)


def test_a_cluster_of_jobs_warns_once_when_it_starts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with SlurmCluster(**SIZE, home=tmp_path) as cluster:  # type: ignore[arg-type]
        cluster.start()
    [line] = [record.getMessage() for record in caplog.records]
    assert line == (
        "this is a login node (setting login_node), and this program and its scheduler live here as long as the flow "
        "takes: run the whole flow in a job (`anabranch submit slurm FILE`), or this program in a small one "
        "(login_node = false silences this)"
    )


def test_a_cluster_of_this_machine_does_not(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with HereCluster(**SIZE, home=tmp_path):  # type: ignore[arg-type]
        pass
    assert caplog.records == []


@pytest.mark.parametrize("said", ["true", "false"])
def test_the_command_that_starts_one_does(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    monkeypatch.setenv("ANABRANCH_LOGIN_NODE", said)
    monkeypatch.setattr(named, "start", lambda cluster: SimpleNamespace(scheduler_address="tls://10.0.0.1:1"))
    done = CliRunner().invoke(command, ["start", "fit", "--kind", "slurm", "--cores", "1", "--memory", "1 GiB"])
    assert done.exit_code == 0
    warned = "the scheduler of fit lives here until `anabranch cluster stop fit`: ask the site" in done.output
    assert warned is (said == "true")
