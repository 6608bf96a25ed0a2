"""Results at an S3 address that Ray's workers can log in to, and then cannot. Prints what was seen, as JSON.

The nodes of this cluster know nothing of the S3; the driver says what it takes in its `ray.init`.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import ray
from ray.cluster_utils import Cluster

from anabranch import RayRunner, cache_policies, flow, task
from anabranch import session as sessions
from anabranch.core.errors import StoreError
from anabranch.records.memory import MemoryRecords
from anabranch.results.remote import RemoteStore
from anabranch.session import Session
from anabranch.settings import Settings

WAIT = 60.0
ITEMS = 300


@task(persist_result=True, cache_policy=cache_policies.NO_CACHE)
def kept(n: int) -> tuple[int, int]:
    return n, os.getpid()


@task(cache_policy=cache_policies.INPUTS)
def cached(n: int, notes: str) -> tuple[int, int]:
    with open(notes, "a", encoding="utf-8") as file:
        file.write(f"{n}\n")
    return n * n, os.getpid()


def session_at(results: str, home: str) -> Session:
    settings = Settings(home=home, results=results, runner=RayRunner(), progress=False)
    made = Session(settings, records=MemoryRecords())
    sessions.use(made)
    return made


def persisted() -> dict[str, Any]:
    """A map whose values nobody holds: they are read from the store."""
    made = sessions.current()

    @flow
    def main() -> Any:
        futures = kept.map(range(ITEMS), keep="none")
        return futures.result(WAIT), [futures._map.values.stored.find(n) for n in range(ITEMS)]

    values, places = main()
    fs, root = made.store.files._open()
    blocks = [path for path in fs.find(f"{root}/blocks") if path.endswith(".block")]
    again = RemoteStore(made.settings.results)
    found = [next(iter(again.blocks.read(name, [slot]))).value for name, slot in places]
    return {
        "values": [n for n, _ in values] == list(range(ITEMS)),
        "by the driver": os.getpid() in {pid for _, pid in values},
        "blocks": len(blocks),
        "read anew": found == values,
    }


def from_the_cache(notes: str) -> tuple[list[Any], list[str]]:
    fresh = cached.with_options()  # a task's store is that of the session it was first used in

    @flow
    def main() -> Any:
        futures = fresh.map(range(ITEMS), notes=notes)
        return futures.result(WAIT), sorted({state.name for state in futures.states})

    return main()  # type: ignore[no-any-return]


def main(results: str, folder: str) -> None:
    logging_in = {name: os.environ.pop(name) for name in [*os.environ] if name.startswith("AWS_")}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    os.environ.update(logging_in)
    saw: dict[str, Any] = {}
    notes, refused = os.path.join(folder, "notes"), os.path.join(folder, "refused")

    quiet: dict[str, Any] = {"address": cluster.address, "log_to_driver": False, "configure_logging": False}
    ray.init(**quiet, runtime_env={"env_vars": logging_in})
    first = session_at(results, folder)
    saw["persisted"] = persisted()
    values, saw["first states"] = from_the_cache(notes)
    first.close()
    second = session_at(results, os.path.join(folder, "other"))
    again, saw["second states"] = from_the_cache(notes)
    second.close()
    saw["squares"] = [value for value, _ in values] == [n * n for n in range(ITEMS)]
    saw["the same"] = again == values
    with open(notes, encoding="utf-8") as file:
        saw["computed once"] = sorted(map(int, file)) == list(range(ITEMS))
    ray.shutdown()

    ray.init(**quiet)
    third = session_at(f"{results}/unseen", os.path.join(folder, "third"))
    try:
        from_the_cache(refused)
    except StoreError as error:
        saw["refused"] = str(error)
    third.close()
    saw["ran all the same"] = os.path.exists(refused)
    ray.shutdown()
    cluster.shutdown()
    print(json.dumps(saw))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
