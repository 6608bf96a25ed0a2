"""Clusters that a Dask runner is lent: encrypted, growing and shrinking, with workers that pause or leave."""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.core.chunks import BlockHandle
from anabranch.core.errors import RunnerError, VersionMismatch
from anabranch.core.events import ChunkStarted, SlotsChanged, ValuesLost
from anabranch.core.reports import Report
from anabranch.runners.dask.runner import DaskRunner
from tests.integration.dask_runner.driving import MIB, Driver, blob, local_cluster

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.dask, pytest.mark.sampled(7, "each has a cluster of its own")]


def test_workers_that_join_are_used_and_those_that_retire_hand_over_what_they_hold() -> None:
    with local_cluster(n_workers=1) as cluster:
        driver = Driver(DaskRunner(cluster))
        try:
            stage = driver.task(lambda x: (os.getpid(), blob(x)))
            assert driver.runner.slots().now == 1
            assert driver.runner.slots().maximum is None
            cluster.scale(2)
            driver.until_true(lambda: driver.runner.slots().now == 2)
            chunks = [driver.chunk(driver.task(nap), [n]) for n in range(12)]
            driver.run(chunks)
            assert len({driver.values(chunk)[0] for chunk in chunks}) == 2
            held = [driver.chunk(stage, [n]) for n in range(8)]
            driver.run(held)
            client = driver.runner._link.client
            leaver = next(iter(client.nthreads()))
            client.retire_workers([leaver])
            driver.until_true(lambda: driver.runner.slots().now == 1)
            assert [driver.values(chunk)[0][1] for chunk in held] == [blob(n) for n in range(8)]
            assert driver.seen(ValuesLost) == []
            assert [event.now for event in driver.seen(SlotsChanged)] == [2, 1]
        finally:
            driver.runner.close()


def nap(x: int) -> int:
    time.sleep(0.2)
    return os.getpid()


def test_an_adaptive_cluster_sees_our_demand_and_shrinks_after_it() -> None:
    with local_cluster(n_workers=0) as cluster:
        cluster.adapt(minimum=0, maximum=2, interval="200ms", wait_count=3, target_duration="500ms")
        driver = Driver(DaskRunner(cluster))
        try:
            chunks = [driver.chunk(driver.task(nap), [n]) for n in range(30)]
            driver.run(chunks)
            assert all(isinstance(driver.ends[chunk.id], Report) for chunk in chunks)
            assert max(event.now for event in driver.seen(SlotsChanged)) == 2
            driver.until_true(lambda: not driver.runner._link.workers)
        finally:
            driver.runner.close()


@contextlib.contextmanager
def pausing_cluster() -> Iterator[Any]:
    """Two workers that pause at 360 MiB, and neither spill nor end."""
    memory = "distributed.worker.memory."
    limits = {memory + "terminate": False, memory + "spill": False, memory + "target": False, memory + "pause": 0.6}
    importlib.import_module("distributed")  # brings defaults of its own, which would go with these
    with (
        importlib.import_module("dask").config.set(limits),
        local_cluster(n_workers=2, memory_limit="600 MiB") as cluster,
    ):
        yield cluster


def test_a_worker_paused_by_its_memory_does_not_hold_up_the_map(tmp_path: Path) -> None:
    """One of two workers is full and takes nothing new: what waits there is run by the other one."""
    with pausing_cluster() as cluster:
        driver = Driver(DaskRunner(cluster))
        try:
            def fill(x: int) -> bytes:
                return b"x" * (400 * MIB)

            full = driver.chunk(driver.task(fill), [1])
            driver.run([full])

            def statuses(dask_scheduler: Any = None) -> list[str]:
                return sorted(worker.status.name for worker in dask_scheduler.workers.values())

            client = driver.runner._link.client
            driver.until_true(lambda: client.run_on_scheduler(statuses) == ["paused", "running"])
            chunks = [driver.chunk(driver.task(nap), [n]) for n in range(10)]
            driver.run(chunks)
            assert len({driver.values(chunk)[0] for chunk in chunks}) == 1
            driver.runner.release([BlockHandle(full.id, 0, 0)])
        finally:
            driver.runner.close()


def test_all_workers_paused_by_their_memory_hold_the_map_up_and_lose_nothing() -> None:
    """Nothing begins while both are full; once they have room again all of it runs."""
    with pausing_cluster() as cluster:
        driver = Driver(DaskRunner(cluster))
        try:
            fill = driver.task(lambda x: b"x" * (350 * MIB))

            def paused() -> int:
                return sum(worker.status.name == "paused" for worker in cluster.scheduler.workers.values())

            full = [driver.chunk(fill, [n]) for n in range(2)]
            for n, chunk in enumerate(full, 1):
                driver.run([chunk])  # the second one goes to the worker that still runs
                driver.until_true(lambda n=n: paused() == n)
            chunks = [driver.chunk(driver.task(nap), [n]) for n in range(10)]
            driver.runner.submit(chunks)
            driver.until_true(lambda: driver.keys() == len(full) + len(chunks))
            assert paused() == 2
            begun = {event.chunk for event in driver.seen(ChunkStarted)}
            assert begun == {chunk.id for chunk in full}
            driver.runner.release([BlockHandle(chunk.id, 0, 0) for chunk in full])
            driver.until(lambda: all(chunk.id in driver.ends for chunk in chunks))
            assert all(isinstance(driver.ends[chunk.id], Report) for chunk in chunks)
            assert paused() < 2
        finally:
            driver.runner.close()


def test_a_more_urgent_chunk_goes_first(tmp_path: Path) -> None:
    with local_cluster(n_workers=1) as cluster:
        driver = Driver(DaskRunner(cluster))
        try:
            def mark(x: int) -> int:
                with open(tmp_path / "order", "a") as file:
                    file.write(f"{x}\n")
                time.sleep(0.1)
                return x

            stage = driver.task(mark)
            low = [driver.chunk(stage, [n], priority=0) for n in range(5)]
            high = driver.chunk(stage, [99], priority=10)
            driver.runner.submit([*low, high])
            driver.until(lambda: all(chunk.id in driver.ends for chunk in (*low, high)))
            order = (tmp_path / "order").read_text().split()
            assert order.index("99") < 3
        finally:
            driver.runner.close()


def test_workers_that_report_another_python_are_refused_by_name() -> None:
    """There is one Python here, so the workers are made to say, over the real wire, that theirs is another."""

    def lie() -> None:
        from anabranch.runners.dask import worker

        real = worker.versions
        worker.versions = lambda: {**real(), "Python": "3.99"}

    with local_cluster(n_workers=1) as cluster:
        distributed = importlib.import_module("distributed")
        with distributed.Client(cluster, set_as_default=False) as client:
            client.run(lie)
            [address] = client.nthreads()
        ours = f"{sys.version_info[0]}.{sys.version_info[1]}"
        with pytest.raises(VersionMismatch, match=f"{address} .*Python {ours} here, 3.99 there"):
            DaskRunner(cluster).start(lambda events: None)


def test_an_encrypted_cluster_takes_its_own_and_refuses_others(tmp_path: Path) -> None:
    security = certificates(tmp_path)
    with local_cluster(n_workers=1, security=security, protocol="tls") as cluster:
        assert cluster.scheduler_address.startswith("tls://")
        for given in ({"cluster": cluster}, {"address": cluster.scheduler_address, "security": security}):
            driver = Driver(DaskRunner(**given))
            try:
                chunk = driver.chunk(driver.task(blob), [1])
                driver.run([chunk])
                assert driver.values(chunk) == [blob(1)]
            finally:
                driver.runner.close()
        with pytest.raises(RunnerError, match="tls://"):
            DaskRunner(address=cluster.scheduler_address).start(lambda events: None)


def certificates(folder: Path) -> Any:
    """A Security of certificates that openssl makes; `Security.temporary()` wants a package that nothing else does."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl here")
    key, cert = folder / "key.pem", folder / "cert.pem"
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=dask-internal",
         "-keyout", str(key), "-out", str(cert)], check=True, capture_output=True,
    )  # fmt: skip
    pair = {"ca_file": str(cert)}
    for who in ("client", "worker", "scheduler"):
        pair |= {f"{who}_cert": str(cert), f"{who}_key": str(key)}
    distributed = importlib.import_module("distributed")
    return distributed.Security(require_encryption=True, **{f"tls_{name}": value for name, value in pair.items()})
