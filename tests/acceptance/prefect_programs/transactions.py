import asyncio
import os
import tempfile

from prefect import flow, task
from prefect.transactions import CommitMode, atransaction, get_transaction, transaction

folder = tempfile.mkdtemp()


@task
def write_file(name: str, contents: str) -> None:
    path = os.path.join(folder, name)
    get_transaction().set("path", path)
    with open(path, "w") as file:
        file.write(contents)


@write_file.on_rollback
def delete_file(txn) -> None:
    print("rolling back", os.path.basename(txn.get("path")), "for", txn.get("who"))
    os.unlink(txn.get("path"))


@write_file.on_commit
def confirm(txn) -> None:
    print("committed", os.path.basename(txn.get("path")))


@task
def quality_test(name: str) -> None:
    with open(os.path.join(folder, name)) as file:
        if len(file.readlines()) < 2:
            raise ValueError("Not enough data!")


@flow
def pipeline(contents: str) -> None:
    with transaction() as txn:
        txn.set("who", "pipeline")
        write_file("a.txt", contents)
        write_file("b.txt", contents)
        quality_test("a.txt")


@flow
async def later() -> str:
    async with atransaction(commit_mode=CommitMode.EAGER) as txn:
        txn.set("who", "later")
        write_file("c.txt", "1")
    return txn.state.name


@flow
def once() -> str:
    with transaction(key="once") as txn:
        if txn.is_committed():
            return f"read {txn.read().result}"
        txn.stage("the value")
    return "written"


if __name__ == "__main__":
    pipeline("1\n2\n")
    print(sorted(os.listdir(folder)))
    for name in os.listdir(folder):
        os.unlink(os.path.join(folder, name))
    print(pipeline("1\n", return_state=True).name, sorted(os.listdir(folder)))
    print(asyncio.run(later()))
    print(once(), once())
# expected:
# committed a.txt
# committed b.txt
# ['a.txt', 'b.txt']
# rolling back b.txt for pipeline
# rolling back a.txt for pipeline
# Failed []
# committed c.txt
# COMMITTED
# written read the value
