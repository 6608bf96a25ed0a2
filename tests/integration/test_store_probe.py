"""Workers that see another result store than their driver say so before they compute anything."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import ProcessRunner, cache_policies, flow, task
from anabranch.core.errors import StoreError
from anabranch.results.disk import DiskStore
from anabranch.results.probe import Probe
from anabranch.runners.dask.runner import DaskRunner

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.sampled(3, "pools of processes for each")
WAIT = 60.0


@task
def note(x: int, notes: str) -> int:
    with open(notes, "a", encoding="utf-8") as file:
        file.write(f"{x}\n")
    return x


KEPT = {
    "cached": {"cache_policy": cache_policies.INPUTS},
    "persisted": {"persist_result": True, "cache_policy": cache_policies.NO_CACHE},
}


@pytest.mark.parametrize("options", list(KEPT.values()), ids=list(KEPT))
def test_a_store_in_memory_is_not_seen_by_processes(storing: Any, tmp_path: Path, options: Any) -> None:
    made = storing("memory://probed")
    notes = tmp_path / "notes"
    kept = note.with_options(**options)

    @flow(runner=ProcessRunner(max_workers=1))
    def main() -> list[int]:
        found: list[int] = kept.map([1, 2], notes=str(notes)).result(WAIT)
        return found

    with pytest.raises(StoreError) as caught:
        main()
    host = os.uname().nodename
    me = f"results are to be stored in {made.store!r} of the driver (process {os.getpid()} on {host}), but a worker"
    assert str(caught.value).startswith(me)
    assert f"on {host}), for which that is {made.store!r}, does not find there what the driver wrote" in str(
        caught.value
    )
    assert "setting `results`" in str(caught.value)
    assert not notes.exists()


def test_a_resumable_run_goes_on_where_its_workers_see_another_store_and_says_so(
    storing: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    storing("memory://unseen")

    @flow(runner=ProcessRunner(max_workers=1), resumable=True)
    def main() -> list[int]:
        found: list[int] = note.map(range(40), notes=str(tmp_path / "notes"), chunk=1).result(WAIT)
        return found

    assert main() == list(range(40))
    said = [r.message for r in caplog.records if "not stored, so it runs again if the flow is resumed" in r.message]
    assert len(said) == 1, caplog.text
    assert "does not find there what the driver wrote" in said[0]


@pytest.mark.dask
@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="another machine's folder wants root")
def test_a_folder_of_another_machine_is_not_the_drivers(storing: Any, tmp_path: Path) -> None:
    """A Dask worker with a file system of its own, where the folder has the same name and is another one."""
    distributed = pytest.importorskip("distributed")
    folder, notes = tmp_path / "results", tmp_path / "notes"
    folder.mkdir()
    made = storing(str(folder))
    kept = note.with_options(persist_result=True)
    with distributed.LocalCluster(
        n_workers=0, processes=False, dashboard_address=":0", silence_logs=50, protocol="tcp"
    ) as cluster:
        command = f"mount -t tmpfs tmpfs {folder} && exec {sys.executable} -m distributed.cli.dask_worker"
        options = f"{cluster.scheduler_address} --no-nanny --nthreads 1 --no-dashboard --local-directory {tmp_path}"
        worker = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", f"{command} {options}"], stderr=subprocess.DEVNULL, cwd=tmp_path
        )
        try:

            @flow(runner=DaskRunner(address=cluster.scheduler_address))
            def main() -> list[int]:
                found: list[int] = kept.map([1, 2], notes=str(notes)).result(WAIT)
                return found

            with pytest.raises(
                StoreError, match=f"process {worker.pid} on .* does not find there what the driver wrote"
            ):
                main()
        finally:
            worker.kill()
            worker.wait()
    assert not notes.exists()
    assert made.store.usage().entries == 1  # the driver's probe


def test_processes_see_the_folder_and_the_probe_goes(storing: Any, tmp_path: Path) -> None:
    made = storing(str(tmp_path / "results"))
    kept = note.with_options(persist_result=True)

    @flow(runner=ProcessRunner(max_workers=2))
    def main() -> list[int]:
        found: list[int] = kept.map(range(4), notes=str(tmp_path / "notes"), chunk=1).result(WAIT)
        return found

    assert main() == [0, 1, 2, 3]
    before = made.store.usage().entries
    made.close()
    assert made.store.usage().entries == before - 1


class Counting(DiskStore):
    """Counts what it is asked."""

    asked = 0

    def read(self, key: str) -> Any:
        self.asked += 1
        return super().read(key)


def test_a_process_looks_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Counting(tmp_path)
    probe = Probe(store)
    probe.see(store)
    assert store.asked == 0  # the driver knows
    monkeypatch.setattr("anabranch.results.probe._seen", set())
    for _ in range(3):
        probe.see(store)
    assert store.asked == 1
    assert store.usage().entries == 1


def test_a_store_that_may_only_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = DiskStore(tmp_path / "store")
    probe = Probe(store)
    monkeypatch.setattr("anabranch.results.probe._seen", set())

    class ReadOnly(DiskStore):
        def write(self, key: str, value: Any, *, expires: float | None = None) -> int:
            raise StoreError("cannot write: Read-only file system")

    with pytest.raises(StoreError, match="cannot write to it: cannot write: Read-only file system; give the setting"):
        probe.see(ReadOnly(tmp_path / "store"))
