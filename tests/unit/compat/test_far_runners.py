"""DaskTaskRunner and RayTaskRunner: what of their arguments counts, and what is said of the others."""

from __future__ import annotations

import sys
import warnings
from types import SimpleNamespace
from typing import Any

import pytest

from anabranch.compat.prefect_dask import task_runners as dask_runners
from anabranch.compat.prefect_dask.task_runners import DaskTaskRunner
from anabranch.compat.prefect_ray.task_runners import BegunRay, RayTaskRunner


class FakeRay(SimpleNamespace):
    """Stands for the module `ray`."""

    def __init__(self) -> None:
        super().__init__(begun=[])

    def is_initialized(self) -> bool:
        return bool(self.begun)

    def init(self, **given: Any) -> None:
        self.begun.append(given)

    def get_runtime_context(self) -> Any:
        return SimpleNamespace(gcs_address="127.0.0.1:6379")


def test_ray_is_begun_with_all_arguments_when_its_address_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = FakeRay()
    monkeypatch.setitem(sys.modules, "ray", ray)
    runner = RayTaskRunner(init_kwargs={"num_cpus": 2, "namespace": "mine"})
    cluster = runner.options()["cluster"]
    assert ray.begun == []
    assert [cluster.address, cluster.address] == ["127.0.0.1:6379"] * 2
    assert ray.begun == [{"address": None, "num_cpus": 2, "namespace": "mine"}]
    assert RayTaskRunner("auto", {"num_cpus": 2, "namespace": "mine"}) != runner
    assert cluster == BegunRay(None, {"num_cpus": 2, "namespace": "mine"})


def test_a_plain_ray_is_the_runners_own() -> None:
    assert RayTaskRunner(init_kwargs={"num_cpus": 2}).options() == {"address": None, "num_cpus": 2}
    assert RayTaskRunner("10.0.0.1:6379").options() == {"address": "10.0.0.1:6379", "num_cpus": None}


def test_what_changes_nothing_on_dask_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_runners, "_warned", set())
    with pytest.warns(UserWarning, match="DaskTaskRunner") as told:
        runner = DaskTaskRunner(
            address="tcp://10.0.0.1:8786", client_kwargs={"timeout": 3, "security": "certificates"},
            performance_report_path="report.html",
        )  # fmt: skip
    assert ["timeout" in str(told[0].message), "performance_report_path" in str(told[1].message)] == [True, True]
    assert runner.options() == {
        "address": "tcp://10.0.0.1:8786", "cluster": None, "security": "certificates"
    }  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        DaskTaskRunner(client_kwargs={"timeout": 5}, performance_report_path="another.html")


def test_a_local_cluster_with_other_arguments_is_dasks_own() -> None:
    plain = DaskTaskRunner(cluster_kwargs={"n_workers": 2, "threads_per_worker": 1})
    assert plain.cluster_class is None
    assert plain.options() == {
        "cluster": None, "address": None, "security": None, "n_workers": 2, "threads_per_worker": 1
    }  # fmt: skip
    made: list[Any] = []

    class Cluster:
        def __init__(self, **given: Any) -> None:
            made.append(given)

        def adapt(self, **given: Any) -> None:
            made.append(given)

    other = DaskTaskRunner(cluster_kwargs={"memory_limit": "1GB"}, adapt_kwargs={"maximum": 4})
    assert other.cluster_class == "distributed.LocalCluster"
    other.cluster_class = Cluster
    assert isinstance(other.options()["cluster"], Cluster)
    assert made == [{"memory_limit": "1GB"}, {"maximum": 4}]
