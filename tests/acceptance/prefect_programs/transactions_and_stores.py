"""Transactions with rollback hooks, result stores, serializers, locks."""

import tempfile

from prefect import flow, task
from prefect.exceptions import ConfigurationError
from prefect.filesystems import LocalFileSystem
from prefect.locking.filesystem import FileSystemLockManager
from prefect.locking.memory import MemoryLockManager
from prefect.results import ResultStore
from prefect.serializers import JSONSerializer, Serializer
from prefect.transactions import IsolationLevel, get_transaction, transaction

events = []


@task
def write(name: str) -> str:
    events.append(f"wrote {name}")
    return name


@write.on_rollback
def remove(txn) -> None:
    events.append(f"removed {txn.get('name')}")


@task
def check(ok: bool) -> None:
    if not ok:
        raise ValueError("not good")


@flow
def pipeline(ok: bool) -> str:
    with transaction() as txn:
        txn.set("name", "a file")
        write("a file")
        check(ok)
    return txn.state.name


if __name__ == "__main__":
    print(pipeline(True), events)
    try:
        pipeline(False)
    except ValueError as error:
        print(error, events, get_transaction())
    folder = tempfile.mkdtemp()
    store = ResultStore(result_storage=LocalFileSystem(folder), lock_manager=MemoryLockManager())
    store.write({"n": [1, 2]}, key="value")
    print(store.exists("value"), store.exists("none"), store.read("value").result)
    with transaction(key="once", store=store) as txn:
        txn.stage("first")
    with transaction(key="once", store=store) as again:
        print(again.is_committed(), again.read().result)
    try:
        with transaction(key="k", store=ResultStore(), isolation_level=IsolationLevel.SERIALIZABLE):
            pass
    except ConfigurationError as error:
        print(str(error)[:60])
    locks = FileSystemLockManager(folder)
    print(locks.acquire_lock("k", "me"), locks.acquire_lock("k", "you", 0), locks.is_lock_holder("k", "me"))
    locks.release_lock("k", "me")
    print(locks.is_locked("k"))
    for one in (JSONSerializer(), Serializer(type="compressed/pickle")):
        print(one.type, one.loads(one.dumps([1, "two", {"three": None}])))
# expected:
# COMMITTED ['wrote a file']
# not good ['wrote a file', 'wrote a file', 'removed a file'] None
# True False {'n': [1, 2]}
# True first
# Isolation level SERIALIZABLE is not supported by provided co
# True False True
# False
# json [1, 'two', {'three': None}]
# compressed/pickle [1, 'two', {'three': None}]
