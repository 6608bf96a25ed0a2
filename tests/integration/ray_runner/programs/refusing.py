"""A Ray that refuses drivers: of a wrong token, of none, of another version. Prints what each was told, as JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ray._private import ray_constants
from ray._raylet import GcsClient
from ray.cluster_utils import Cluster

JOINING = Path(__file__).with_name("joining.py")


def join(address: str, **environment: str) -> Any:
    """What a driver of its own says; a variable that is empty is not set."""
    env = {name: value for name, value in {**os.environ, **environment}.items() if value}
    done = subprocess.run([sys.executable, str(JOINING), address], env=env, capture_output=True, text=True, timeout=150)
    if done.returncode:
        return [f"exit {done.returncode}", done.stdout + done.stderr]
    return json.loads(done.stdout.splitlines()[-1])


def say_another_python(address: str) -> None:
    """The cluster tells drivers that join what it was started with."""
    head = GcsClient(address=address)
    namespace = ray_constants.KV_NAMESPACE_CLUSTER
    told = json.loads(head.internal_kv_get(b"CLUSTER_METADATA", namespace))
    told["python_version"] = "3.99.0"
    head.internal_kv_put(b"CLUSTER_METADATA", json.dumps(told).encode(), True, namespace)


def main() -> None:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    with ThreadPoolExecutor() as threads:  # a refusal takes Ray 20 s
        wrong = threads.submit(join, cluster.address, RAY_AUTH_TOKEN="f" * 32)
        none = threads.submit(join, cluster.address, RAY_AUTH_MODE="disabled", RAY_AUTH_TOKEN="")
        saw = {"right token": join(cluster.address), "wrong token": wrong.result(), "no token": none.result()}
    say_another_python(cluster.address)
    saw["another Python"] = join(cluster.address)
    cluster.shutdown()
    print(json.dumps(saw))


if __name__ == "__main__":
    main()
