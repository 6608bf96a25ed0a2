"""Where values of Prefect's programs are kept: storages, serializers, key storages, locks, and what flows hand on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

import anabranch.compat.prefect  # noqa: F401 - the names come first
from anabranch.compat.prefect import flow, task
from anabranch.compat.prefect.cache_policies import INPUTS, NO_CACHE
from anabranch.compat.prefect.exceptions import ConfigurationError
from anabranch.compat.prefect.filesystems import LocalFileSystem
from anabranch.compat.prefect.locking.filesystem import FileSystemLockManager
from anabranch.compat.prefect.results import ResultStore
from anabranch.core.errors import StoreError

if TYPE_CHECKING:
    from pathlib import Path


def values_in(folder: Path) -> list[Any]:
    """The values below a folder, as Prefect's own store reads them."""
    store = ResultStore(LocalFileSystem(str(folder)))
    return sorted((store.read(file.name).result for file in folder.glob("*")), key=repr)


@pytest.mark.parametrize("way", ["call", "submit", "map"])
def test_a_tasks_value_lies_in_its_storage_as_its_serializer_writes_it(way: str, runner: str, tmp_path: Path) -> None:
    @task(result_storage=LocalFileSystem(str(tmp_path)), result_serializer="json", cache_policy=NO_CACHE)
    def double(x: int) -> dict[str, int]:
        return {"doubled": 2 * x}

    @flow
    def doubles() -> Any:
        if way == "map":
            return double.map([3]).result()[0]
        return double(3) if way == "call" else double.submit(3).result()

    assert doubles() == {"doubled": 6}
    [file] = tmp_path.iterdir()
    assert json.loads(file.read_bytes())["metadata"]["serializer"]["type"] == "json"
    assert values_in(tmp_path) == [{"doubled": 6}]


def test_a_value_that_is_kept_and_not_cached_is_not_looked_for(tmp_path: Path) -> None:
    reads: list[str] = []

    class Noted(LocalFileSystem):
        def read_path(self, path: str, **given: Any) -> Any:
            reads.append(path)
            return super().read_path(path, **given)

    @task(result_storage=Noted(str(tmp_path)), cache_policy=NO_CACHE)
    def double(x: int) -> int:
        return 2 * x

    @task(result_storage=Noted(str(tmp_path)), cache_policy=INPUTS)
    def cached(x: int) -> int:
        return 2 * x

    assert (double(3), reads) == (6, [])
    assert (cached(3), bool(reads)) == (6, True)


def test_the_storage_key_is_the_files_name(tmp_path: Path) -> None:
    @task(result_storage=tmp_path, result_storage_key="of-{parameters[x]}.txt")
    def double(x: int) -> int:
        return 2 * x

    assert [double(1), double(2), double(1, return_state=True).name] == [2, 4, "Cached"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["of-1.txt", "of-2.txt"]


def test_a_value_that_its_serializer_does_not_take_fails_the_run(tmp_path: Path) -> None:
    @task(result_storage=tmp_path, result_serializer="json")
    def made() -> object:
        return object()

    state = made(return_state=True)
    assert state.is_failed()
    with pytest.raises(StoreError, match="ResultStore"):
        state.result()
    assert list(tmp_path.iterdir()) == []


def test_a_policys_keys_and_locks_are_where_it_says(tmp_path: Path) -> None:
    policy = INPUTS.configure(
        key_storage=tmp_path / "keys", lock_manager=FileSystemLockManager(tmp_path / "locks"),
        isolation_level="SERIALIZABLE",
    )  # fmt: skip
    key = policy.compute_key(None, {"x": 1}, None)
    seen = []

    @task(cache_policy=policy, result_storage=tmp_path / "values")
    def double(x: int) -> int:
        seen.append((tmp_path / "locks" / f"{key}.lock").exists())
        return 2 * x

    assert [double(1), double(1, return_state=True).name] == [2, "Cached"]
    assert seen == [True]
    assert [file.name for file in (tmp_path / "keys").iterdir()] == [key]
    assert [file.name for file in (tmp_path / "values").iterdir()] == [key]
    assert list((tmp_path / "locks").iterdir()) == []


def test_a_policy_that_must_lock_and_cannot_fails_the_run() -> None:
    @task(cache_policy=INPUTS.configure(isolation_level="SERIALIZABLE"))
    def double(x: int) -> int:
        return 2 * x

    with pytest.raises(ConfigurationError, match="lock manager"):
        double(1)


def test_a_flow_hands_on_how_results_are_kept(tmp_path: Path) -> None:
    @task
    def number(x: int) -> int:
        return x

    @task(persist_result=False)
    def lost(x: int) -> int:
        return x

    @flow
    def inner() -> int:
        return number(4)

    @flow(persist_result=False)
    def forgets() -> int:
        return number(5)

    @flow(persist_result=True, result_storage=tmp_path)
    def outer() -> list[int]:
        called, submitted = number(1), number.submit(2).result()
        return [called, submitted, *number.map([3]).result(), inner(), forgets(), lost(6)]

    assert outer() == [1, 2, 3, 4, 5, 6]
    # The values of three tasks, of one in the inner flow and of that flow, of the outer one.
    assert values_in(tmp_path) == [1, 2, 3, 4, 4, [1, 2, 3, 4, 5, 6]]
    assert number(7) == 7  # outside of the flow nothing is kept
    assert len(values_in(tmp_path)) == 6


def test_hooks_given_by_decorators_stay_with_other_options() -> None:
    seen = []

    @task
    def one() -> int:
        return 1

    @one.on_completion
    def note(task: Any, run: Any, state: Any) -> None:
        seen.append(task.name)

    @flow
    def whole() -> int:
        return one.with_options(name="again")()

    @whole.on_completion
    def note_flow(flow: Any, run: Any, state: Any) -> None:
        seen.append(flow.name)

    assert whole.with_options(name="wholly")() == 1
    assert seen == ["again", "wholly"]
