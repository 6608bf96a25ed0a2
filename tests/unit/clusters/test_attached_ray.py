"""A Ray of pods by its name: what is found, what is told where it is not, and that a node here is part of it."""

from __future__ import annotations

import base64
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import click
import pytest

from anabranch import RayRunner
from anabranch.cli import on_cluster
from anabranch.clusters import ray_parts
from anabranch.clusters.kubernetes import attached_ray
from anabranch.clusters.kubernetes.attached_ray import AttachedRay
from anabranch.core.errors import KubernetesError, RunnerError

if TYPE_CHECKING:
    from collections.abc import Callable

READY = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}


class Api:
    """A namespace with RayClusters and their heads."""

    namespace = "team"

    def __init__(self, *names: str, ready: bool = True, error: KubernetesError | None = None) -> None:
        self.names, self.ready, self.error = names, ready, error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def objects(self, resource: Any, **_: Any) -> list[dict[str, Any]]:
        if self.error is not None:
            raise self.error
        if resource.plural == "rayclusters":
            return [{"metadata": {"name": name}} for name in self.names]
        meta = {"name": "head", "uid": "u", "creationTimestamp": "2026-11-29T12:00:00Z"}
        return [{"metadata": meta, "spec": {"containers": []}, **READY}] if self.ready else []

    def get(self, resource: Any, name: str) -> dict[str, Any]:
        return {"data": {"auth_token": base64.b64encode(b"a-token").decode()}}


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Callable[[Api], None]:
    monkeypatch.setattr(attached_ray, "READY_SECONDS", 0.0)
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_USAGE_STATS_ENABLED"):
        monkeypatch.setenv(name, "before")
    return lambda api: monkeypatch.setattr(attached_ray, "KubernetesApi", lambda **_: api)


def says(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """Let Ray be this program, which gets the head's address as its first word."""
    monkeypatch.setattr(
        ray_parts, "start_command", lambda folder, ip, cpus, gpus, head: [sys.executable, "-c", program, head]
    )


@pytest.mark.parametrize(
    ("api", "told"),
    [
        (Api("fat", "fit"), r"no RayCluster 'few' in namespace team \(there are: fat, fit\)"),
        (Api(), r"\(there are: none\)"),
        (Api(error=KubernetesError("not found", code=404)), "KubeRay is not installed"),
        (Api("few", ready=False), "few is not ready after 0 s: KubeRay has made no pod"),
    ],
)
def test_what_is_not_there_is_told(given: Callable[[Api], None], api: Api, told: str) -> None:
    given(api)
    with pytest.raises(RunnerError, match=told):
        AttachedRay("few")


def test_this_program_becomes_a_node_and_takes_it_along(
    given: Callable[[Api], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    given(Api("few"))
    says(monkeypatch, "import os, time; print('Ray runtime started', os.environ['RAY_AUTH_TOKEN'], flush=True); "
                      "time.sleep(300)")  # fmt: skip
    ray = AttachedRay("few")
    assert ray.address == ray.address == "few-head-svc.team.svc:6379"
    node = ray._node
    assert node is not None
    assert "a-token" in (Path(node._folder) / "start.log").read_text()
    ray.close()
    ray.close()
    assert node._process is not None
    assert node._process.returncode is not None
    assert not Path(node._folder).exists()


def test_a_head_that_is_no_node_yet_is_asked_again(
    given: Callable[[Api], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given(Api("few"))
    once = tmp_path / "once"
    says(monkeypatch, f"import pathlib, time; once = pathlib.Path({str(once)!r}); there = once.exists(); once.touch()\n"
                      "if not there: raise Exception('No node info found for head node in GCS. Did the head start?')\n"
                      "print('Ray runtime started', flush=True); time.sleep(300)")  # fmt: skip
    ray = AttachedRay("few")
    assert ray.address == "few-head-svc.team.svc:6379"
    ray.close()


def test_where_it_cannot_become_one_rays_words_and_the_way_out_are_told(
    given: Callable[[Api], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    given(Api("few"))
    says(monkeypatch, "import sys; print('no route to', sys.argv[1]); sys.exit(1)")
    with pytest.raises(
        RunnerError, match=r"run the program in a pod .* Ray says: no route to few-head-svc\.team\.svc:6379"
    ):
        _ = AttachedRay("few").address


def test_a_runner_finds_one_by_its_name(given: Callable[[Api], None]) -> None:
    given(Api("fit"))
    runner = RayRunner(cluster="few")
    with pytest.raises(RunnerError, match="no RayCluster 'few' in namespace team"):
        runner.start(lambda events: None)


@pytest.mark.parametrize("words", ["ray:", "kubernetes:", "slurm:fit"])
def test_words_that_name_no_cluster_say_which_do(words: str) -> None:
    with pytest.raises(click.UsageError, match="kubernetes:NAME or ray:NAME"), on_cluster.opened(words, "", "1"):
        pass


def test_pods_are_not_made_for_a_ray_that_is_there() -> None:
    with pytest.raises(click.UsageError, match="is there already"), on_cluster.opened("ray:fit", "team:1", "1"):
        pass
