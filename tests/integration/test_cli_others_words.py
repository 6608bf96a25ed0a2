"""Pools, queues and agents in the words of Prefect 3 and Prefect 1."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from click.testing import CliRunner

from anabranch.cli import cli
from anabranch.cli.agent_install import unit
from anabranch.core.errors import AnabranchError
from anabranch.kubernetes.ours import STAYS
from tests.integration.test_cli_service import service, told

if TYPE_CHECKING:
    from anabranch.core.service import Service

__all__ = ["service"]


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ANABRANCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("ANABRANCH_RECORDS", "ANABRANCH_PROFILE"):
        monkeypatch.delenv(name, raising=False)


def test_a_work_pool_is_made_seen_changed_and_deleted(service: Service) -> None:
    told("work-pool", "create", "k", "--type", "process", "--paused", "--concurrency-limit=4", "--description", "big")
    [pool] = [one for one in service.pools.all() if one.name == "k"]
    assert (pool.kind, pool.paused, pool.slots, pool.description) == ("process", True, 4, "big")
    assert "k: process, 4 of runs at once, 0 not done, paused" in told("work-pool", "inspect", "k")
    for words, slots in (
        (("set-concurrency-limit", "k", "7"), 7), (("clear-concurrency-limit", "k"), None),
        (("update", "k", "--concurrency-limit", "2"), 2), (("resume", "k"), 2),
    ):  # fmt: skip
        told("work-pool", *words)
        [pool] = [one for one in service.pools.all() if one.name == "k"]
        assert pool.slots == slots
    assert (pool.paused, pool.description) == (False, "big")
    assert "k " in told("work-pool", "ls")
    told("work-pool", "delete", "k")
    assert "k " not in told("work-pool", "ls")
    assert "the default pool is the one named 'default'" in told("work-pool", "create", "k", "--set-as-default", code=2)
    assert "no pool 'defualt'; did you mean 'default'?" in told("work-pool", "pause", "defualt", code=1)


def test_a_work_queue_is_made_seen_changed_and_deleted(service: Service) -> None:
    told("work-queue", "create", "urgent", "--pool", "default", "--priority", "0", "--limit", "2")
    assert told("work-queue", "inspect", "urgent") == "urgent of pool default: priority 0, 2 at once\n"
    told("work-queue", "pause", "urgent")
    assert told("work-queue", "inspect", "urgent", "-p", "default").endswith("2 at once, paused\n")
    told("work-queue", "resume", "urgent")
    told("work-queue", "set-concurrency-limit", "urgent", "5")
    assert "5" in told("work-queue", "ls")
    told("work-queue", "clear-concurrency-limit", "urgent")
    [queue] = [one for one in service.pools.queues("default") if one.name == "urgent"]
    assert (queue.priority, queue.slots, queue.paused) == (0, None, False)
    told("work-queue", "delete", "urgent")
    assert "no queue 'urgent'" in told("work-queue", "inspect", "urgent", code=1)


def refused(*args: str) -> str:
    """What a command says that one of our errors ends."""
    found = CliRunner().invoke(cli, args)
    assert isinstance(found.exception, AnabranchError), found.output
    return str(found.exception)


def manifests(*args: str) -> dict[str, Any]:
    text = told("agent", "install", "kubernetes", "--image", "r/agent:1", *args)
    return {one["kind"]: one for one in yaml.safe_load_all(text)}


def test_an_agent_of_a_cluster_is_a_deployment_with_a_role_of_its_own() -> None:
    found = manifests("--records", "https://flows.test", "--namespace", "flows", "-p", "k", "-l", "gpu", "--limit", "9")
    assert set(found) == {"ServiceAccount", "Role", "RoleBinding", "Deployment"}
    assert {one["metadata"]["namespace"] for one in found.values()} == {"flows"}
    assert found["RoleBinding"]["subjects"] == [
        {"kind": "ServiceAccount", "name": "anabranch-agent", "namespace": "flows"}
    ]
    pod = found["Deployment"]["spec"]["template"]
    assert found["Deployment"]["spec"]["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    [container] = pod["spec"]["containers"]
    started = ["agent", "start", "--pool", "k", "--label", "gpu", "--kind", "kubernetes", "--limit", "9"]
    assert container["command"] == ["python", "-m", "anabranch", *started]
    assert {"name": "ANABRANCH_RECORDS", "value": "https://flows.test"} in container["env"]
    assert {verb for rule in found["Role"]["rules"] for verb in rule["verbs"]} == {
        "create", "get", "list", "watch", "delete",
    }  # fmt: skip


def test_agents_of_two_pools_are_two_deployments_in_one_namespace() -> None:
    first, second = (
        manifests("--records", "https://flows.test", "-p", pool)["Deployment"] for pool in ("default", "gpu")
    )
    assert (first["metadata"]["name"], second["metadata"]["name"]) == ("anabranch-agent", "anabranch-agent-gpu")
    selected = second["spec"]["selector"]["matchLabels"]
    assert selected.items() <= second["spec"]["template"]["metadata"]["labels"].items()
    assert not selected.items() <= first["spec"]["template"]["metadata"]["labels"].items()


def test_an_agent_of_a_cluster_asks_a_server() -> None:
    assert "--records=https://flows.example.org" in refused("agent", "install", "kubernetes", "--image", "r/agent:1")


def test_seed_002_issues_of_interest_an_autoscaler_does_not_move_the_agent(service: Service) -> None:
    """The seed: `prefect agent install/start kubernetes --safe-to-evict=False`."""
    pod = manifests("--records", "https://flows.test", "--safe-to-evict=False")["Deployment"]["spec"]["template"]
    assert pod["metadata"]["annotations"] == STAYS
    assert STAYS["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"
    moved = manifests("--records", "https://flows.test", "--safe-to-evict=True")["Deployment"]["spec"]["template"]
    assert "annotations" not in moved["metadata"]
    why = told("agent", "start", "kubernetes", "--safe-to-evict=True", code=2)
    assert "the pods of runs are not evicted" in why
    # No agent of another kind: the word after `start` is the kind.
    assert "did you mean 'kubernetes'?" in refused("agent", "start", "kubernets", "--safe-to-evict=False")


def test_an_agent_of_this_machine_is_a_unit_whose_end_leaves_its_drivers(tmp_path: Path) -> None:
    text = told("agent", "install", "systemd", "-p", "gpu", "--label", "a$b 100%")
    lines = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    assert lines["KillMode"] == "process"
    assert lines["ExecStart"].endswith("-m anabranch agent start --pool gpu --label 'a$$b 100%%'")
    assert lines["Environment"] == f'"ANABRANCH_HOME={tmp_path / "home"}"'
    assert told("agent", "install", "local", "-p", "gpu", "--label", "a$b 100%") == text
    said = told("agent", "install", "systemd", "-p", "gpu", "--label", "a$b 100%", "--write")
    file = tmp_path / ".config/systemd/user/anabranch-agent-gpu.service"
    assert file.read_text() == text
    assert f"{file} is written" in said
    assert "systemctl --user enable --now anabranch-agent-gpu" in said


def test_a_unit_has_its_home_as_it_is() -> None:
    """systemd reads no `$` in Environment=, and ends a text at a quote."""
    text = unit(["python"], Path('/a$b"c\\d%'), "", Path("/w$"))
    assert 'Environment="ANABRANCH_HOME=/a$b\\"c\\\\d%%"' in text.splitlines()
    assert "WorkingDirectory=/w$" in text.splitlines()
